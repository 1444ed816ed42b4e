"""The RPCs for whoever operates the store: messages in, backups, restores, compaction and figures, messages out."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
from orrery.store.v1 import operations_pb2 as pb
from orrery.store.v1 import operations_pb2_grpc

from services.runtime.callers import caller_name
from services.store.backup import back_up
from services.store.compaction import compact
from services.store.engine import Engine
from services.store.manifest import Manifest
from services.store.progress import Progress
from services.store.restore import restore
from services.store.statistics import CollectionStatistics, State, inspect
from services.store.vectors.statistics import IndexStatistics

_STATES = {
    State.OPEN: pb.COLLECTION_STATE_OPEN,
    State.READ_ONLY: pb.COLLECTION_STATE_READ_ONLY,
    State.NOT_OPENED: pb.COLLECTION_STATE_NOT_OPENED,
    State.DAMAGED: pb.COLLECTION_STATE_DAMAGED,
}
_KINDS = {"exact": pb.INDEX_KIND_EXACT, "graph": pb.INDEX_KIND_GRAPH}

Context = grpc.ServicerContext
Message = TypeVar("Message")
Result = TypeVar("Result")


class OperationsServicer(operations_pb2_grpc.OperationsServiceServicer):
    """`orrery.store.v1.OperationsService` over an engine. Each RPC is described in the contract.

    `caller` tells who calls, for the audit log.
    """

    def __init__(self, engine: Engine, caller: Callable[[Context], str] = caller_name) -> None:
        self._engine = engine
        self._caller = caller

    def BackupDatabase(  # noqa: N802 - the contract's name
        self, request: pb.BackupDatabaseRequest, context: Context
    ) -> Iterator[pb.BackupDatabaseResponse]:
        """Back a database up."""
        steps = back_up(self._engine, request.database, Path(request.folder))
        manifest = yield from _reported(steps, lambda progress: pb.BackupDatabaseResponse(progress=progress))
        yield pb.BackupDatabaseResponse(backup=_backup(manifest))

    def RestoreDatabase(  # noqa: N802
        self, request: pb.RestoreDatabaseRequest, context: Context
    ) -> Iterator[pb.RestoreDatabaseResponse]:
        """Restore a backup."""
        who = self._caller(context)
        steps = restore(self._engine, Path(request.folder), request.database, replace=request.replace, who=who)
        manifest = yield from _reported(steps, lambda progress: pb.RestoreDatabaseResponse(progress=progress))
        yield pb.RestoreDatabaseResponse(backup=_backup(manifest))

    def CompactCollection(  # noqa: N802
        self, request: pb.CompactCollectionRequest, context: Context
    ) -> Iterator[pb.CompactCollectionResponse]:
        """Compact a collection."""
        name = request.collection
        collection = self._engine.collection(name.database, name.keyspace, name.name, name.uid)
        steps = compact(collection, self._engine.folder(collection.entry.uid))
        done = yield from _reported(steps, lambda progress: pb.CompactCollectionResponse(progress=progress))
        compaction = pb.Compaction(before_bytes=done.before, after_bytes=done.after)
        yield pb.CompactCollectionResponse(compaction=compaction)

    def InspectCollection(  # noqa: N802
        self, request: pb.InspectCollectionRequest, context: Context
    ) -> pb.InspectCollectionResponse:
        """Return figures about a collection."""
        name = request.collection
        entry = self._engine.catalog.collection(name.database, name.keyspace, name.name, name.uid)
        return pb.InspectCollectionResponse(figures=_figures(inspect(self._engine, name.keyspace, entry)))

    def InspectDatabase(  # noqa: N802
        self, request: pb.InspectDatabaseRequest, context: Context
    ) -> pb.InspectDatabaseResponse:
        """Return figures about a database's collections."""
        contents = self._engine.catalog.contents(request.database)
        figures = [
            _figures(inspect(self._engine, keyspace, entry))
            for keyspace, entries in contents.items()
            for entry in entries
        ]
        return pb.InspectDatabaseResponse(collections=figures)


def _reported(
    steps: Generator[Progress, None, Result], message: Callable[[pb.Progress], Message]
) -> Generator[Message, None, Result]:
    """Yield messages for an operation's steps and return its result; when given up, the operation is too."""
    try:
        while True:
            progress = next(steps)
            yield message(pb.Progress(stage=progress.stage, done_bytes=progress.done, total_bytes=progress.total))
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()


def _backup(manifest: Manifest) -> pb.Backup:
    collections = [
        pb.BackupCollection(
            keyspace=saved.keyspace,
            name=saved.name,
            sequence=saved.sequence,
            documents=saved.documents,
            vectors=saved.vectors,
            bytes=saved.bytes,
        )
        for saved in manifest.collections
    ]
    return pb.Backup(database=manifest.database, created=manifest.created, collections=collections)


def _figures(statistics: CollectionStatistics) -> pb.CollectionFigures:
    return pb.CollectionFigures(
        keyspace=statistics.keyspace,
        name=statistics.name,
        uid=statistics.uid,
        state=_STATES[statistics.state],
        problem=statistics.problem,
        documents=statistics.documents,
        vectors=statistics.vectors,
        sequence=statistics.sequence,
        index=None if statistics.index is None else _index(statistics.index),
        filter_cache_bytes=statistics.filter_cache_bytes,
        file_bytes=statistics.file_bytes,
        free_bytes=statistics.free_bytes,
        wal_bytes=statistics.wal_bytes,
        other_bytes=statistics.other_bytes,
    )


def _index(statistics: IndexStatistics) -> pb.IndexFigures:
    return pb.IndexFigures(
        kind=_KINDS[statistics.kind],
        vectors=statistics.vectors,
        tombstones=statistics.tombstones,
        graph_vectors=statistics.graph_vectors,
        search_effort=statistics.search_effort,
        recall=statistics.recall,
        memory_bytes=statistics.memory_bytes,
    )
