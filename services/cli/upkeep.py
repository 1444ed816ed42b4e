"""`orrery stats` and `orrery compact`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToJson
from orrery.store.v1 import operations_pb2 as pb
from orrery.store.v1 import store_pb2
from rich.table import Table

from services.cli.calls import Running, RunningDataDir, print_table
from services.cli.store import Database, StoreAddress, human_bytes, last_event, operations, running_store

_STATES = {
    pb.COLLECTION_STATE_OPEN: "open",
    pb.COLLECTION_STATE_NOT_OPENED: "not opened",
    pb.COLLECTION_STATE_READ_ONLY: "read-only",
    pb.COLLECTION_STATE_DAMAGED: "damaged",
}
_KINDS = {pb.INDEX_KIND_EXACT: "exact", pb.INDEX_KIND_GRAPH: "graph"}
_UNKNOWN = "-"
#: Documents of collections that are not open are counted in their files.
_SECONDS = 120.0


def stats(
    collection: Annotated[
        str | None, typer.Argument(metavar="[KEYSPACE.COLLECTION]", help="Only this one, with all its figures.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; figures that are not known are left out.")
    ] = False,
    database: Database = "default",
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """Show documents, vectors, index, memory, disk and state of collections, without opening any.

    A collection that was not opened since the start is "not opened": its vectors are not in memory, and not counted.
    """
    running = running_store(data_dir, store)
    if collection is None:
        answer = _inspect_database(running, database)
        if not as_json:
            _print_all(database, answer.collections)
            return
    else:
        request = pb.InspectCollectionRequest(collection=_reference(database, collection))
        answer = running.call(lambda channel: operations(channel).InspectCollection, request, seconds=_SECONDS)
        if not as_json:
            _print_one(answer.figures)
            return
    typer.echo(MessageToJson(answer, preserving_proto_field_name=True))


def compact(
    collection: Annotated[str | None, typer.Argument(metavar="[KEYSPACE.COLLECTION]", help="The collection.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All collections of the database, one by one.")] = False,
    database: Database = "default",
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """Give back the disk space and memory that deleted documents took. Reads and writes go on.

    A collection that is not open is opened for it.
    """
    if everything == (collection is not None):
        raise typer.BadParameter("give KEYSPACE.COLLECTION, or --all for all of the database")
    running = running_store(data_dir, store)
    if collection is not None:
        references = [_reference(database, collection)]
    else:
        references = [
            store_pb2.CollectionRef(database=database, keyspace=item.keyspace, name=item.name, uid=item.uid)
            for item in _inspect_database(running, database).collections
        ]
    for reference in references:
        name = f"{reference.keyspace}.{reference.name}"
        request = pb.CompactCollectionRequest(collection=reference)
        done = last_event(running, "CompactCollection", request, f"compacting {name}").compaction
        typer.echo(f"compacted {name}: {human_bytes(done.before_bytes)} -> {human_bytes(done.after_bytes)}")


def _reference(database: str, name: str) -> store_pb2.CollectionRef:
    keyspace, separator, collection = name.partition(".")
    if not separator or not keyspace or not collection:
        raise typer.BadParameter(f"{name!r}: write KEYSPACE.COLLECTION, such as default_keyspace.planets")
    return store_pb2.CollectionRef(database=database, keyspace=keyspace, name=collection)


def _inspect_database(running: Running, database: str) -> Any:
    request = pb.InspectDatabaseRequest(database=database)
    return running.call(lambda channel: operations(channel).InspectDatabase, request, seconds=_SECONDS)


def _print_all(database: str, collections: Any) -> None:
    if not collections:
        typer.echo(f"the database '{database}' has no collections")
        return
    table = Table("collection", "state", "documents", "vectors", "index", "memory", "disk", "last write")
    for name in ("documents", "vectors", "memory", "disk", "last write"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for item in collections:
        table.add_row(
            f"{item.keyspace}.{item.name}",
            _state(item),
            _count(item, "documents"),
            _count(item, "vectors"),
            _KINDS[item.index.kind] if item.HasField("index") else _UNKNOWN,
            human_bytes(item.index.memory_bytes + item.filter_cache_bytes) if item.HasField("index") else _UNKNOWN,
            human_bytes(item.file_bytes + item.wal_bytes + item.other_bytes),
            _count(item, "sequence"),
        )
    print_table(table)


def _print_one(item: Any) -> None:
    table = Table(f"{item.keyspace}.{item.name}", "", show_header=True)
    rows = {
        "state": _state(item),
        "uid": item.uid,
        "documents": _count(item, "documents"),
        "vectors": _count(item, "vectors"),
        "last write": _count(item, "sequence"),
    }
    if item.HasField("index"):
        index = item.index
        rows["index"] = _KINDS[index.kind]
        rows["tombstones"] = f"{index.tombstones:,}"
        rows["vectors in the graph"] = f"{index.graph_vectors:,}"
        rows["search effort"] = f"{index.search_effort:,}" if index.search_effort else _UNKNOWN
        rows["measured recall"] = f"{index.recall:.4f}" if index.HasField("recall") else "never measured"
        rows["memory of the index"] = human_bytes(index.memory_bytes)
    rows["memory of filters"] = human_bytes(item.filter_cache_bytes)
    rows["file"] = f"{human_bytes(item.file_bytes)}, of which free {human_bytes(item.free_bytes)}"
    rows["write-ahead log"] = human_bytes(item.wal_bytes)
    rows["other files"] = human_bytes(item.other_bytes)
    for name, value in rows.items():
        table.add_row(name, value)
    print_table(table)


def _state(item: Any) -> str:
    state = _STATES.get(item.state, _UNKNOWN)
    return f"{state}: {item.problem}" if item.problem else state


def _count(item: Any, field: str) -> str:
    return f"{getattr(item, field):,}" if item.HasField(field) else _UNKNOWN
