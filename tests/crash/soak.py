"""A mixed load on a store of its own for some minutes: memory, files and latency have to be flat in the end.

`python -m tests.crash.soak --minutes 10` prints a line for each window and ends with status 1 where something grows.
Documents come and go, so that their number stays within bounds; what grows then is kept for nothing.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc

from tests.crash.model import equals, with_id
from tests.crash.process import StoreProcess

WORKERS = 4
DIMENSION = 64
#: Live documents of a worker.
MOST = 600
_KINDS = 50
_COLLECTION = pb.CollectionRef(database="d", keyspace="k", name="c")
#: Graphs that are built anew and written to disk many times in a soak of minutes.
ENVIRONMENT = {
    "ORRERY_STORE_INDEX_EXACT_BELOW": "500",
    "ORRERY_STORE_INDEX_TAIL": "200",
    "ORRERY_STORE_INDEX_SNAPSHOT_AFTER": "500",
}
#: Growth over the second half that is noise: as a share of what there is, and in any case.
_MOST_GROWTH, _MOST_SLOWER = 0.05, 0.5
_LEAST_BYTES, _LEAST_SECONDS = 8 * 1024 * 1024, 0.005


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen in a window: at its end the memory and the files, latencies by operation."""

    seconds: float
    resident_bytes: int
    file_bytes: Mapping[str, int]
    documents: int
    latencies: Mapping[str, Sequence[float]]

    @property
    def operations(self) -> int:
        """Return how many operations there were."""
        return sum(map(len, self.latencies.values()))

    def latency(self, share: float) -> float:
        """Return the seconds that such a share of all operations took at most."""
        every = [seconds for kind in self.latencies.values() for seconds in kind]
        return float(np.quantile(every, share)) if every else 0.0


class Worker:
    """Does one operation after another on documents of its own, as many of them as there may be at most."""

    def __init__(self, rpc: store_pb2_grpc.StoreServiceStub, number: int, stop: threading.Event) -> None:
        self.rpc = rpc
        self.random = random.Random(number)
        self.numbers = np.random.default_rng(number)
        self.stop = stop
        self.next_id = number * 100_000_000
        self.live: list[int] = []
        self.latencies: dict[str, list[float]] = defaultdict(list)

    def run(self) -> None:
        """Work until stopped."""
        operations = [self.insert, self.update, self.delete, self.by_id, self.by_filter, self.by_vector, self.in_order]
        while not self.stop.is_set():
            operation = self.random.choice([self.insert, *operations])
            if not self.live or len(self.live) >= MOST:
                operation = self.delete if self.live else self.insert
            start = time.perf_counter()
            operation()
            self.latencies[operation.__name__].append(time.perf_counter() - start)

    def taken(self) -> dict[str, list[float]]:
        """Return the latencies since the last call."""
        taken, self.latencies = self.latencies, defaultdict(list)
        return taken

    def insert(self) -> None:
        """Insert ten documents."""
        documents = [self._document(self.next_id + at) for at in range(10)]
        self.rpc.InsertDocuments(pb.InsertDocumentsRequest(collection=_COLLECTION, documents=documents))
        self.live.extend(range(self.next_id, self.next_id + 10))
        self.next_id += 10

    def update(self) -> None:
        """Change a document and its vector."""
        operation = pb.UpdateOperation(path=pb.Path(segments=["rank"]), set=str(self.random.random()).encode())
        special = pb.SpecialAssignments(vector=pb.Vector(values=self._vector()))
        request = pb.UpdateDocumentsRequest(
            collection=_COLLECTION,
            filter=with_id(self.random.choice(self.live)),
            operations=[operation],
            specials=[special],
            limit=1,
        )
        assert self.rpc.UpdateDocuments(request).modified_count == 1

    def delete(self) -> None:
        """Delete ten documents."""
        for _ in range(min(10, len(self.live))):
            at = self.random.randrange(len(self.live))
            self.live[at], self.live[-1] = self.live[-1], self.live[at]
            request = pb.DeleteDocumentsRequest(collection=_COLLECTION, filter=with_id(self.live.pop()), limit=1)
            assert self.rpc.DeleteDocuments(request).deleted_count == 1

    def by_id(self) -> None:
        """Find a document by its id."""
        assert self._find(filter=with_id(self.random.choice(self.live)), limit=1) == 1

    def by_filter(self) -> None:
        """Find the documents of a kind."""
        self._find(filter=self._of_a_kind(), limit=20)

    def by_vector(self) -> None:
        """Find the nearest documents."""
        self._find(sort=pb.Sort(vector=self._vector()), limit=10)

    def in_order(self) -> None:
        """Find the documents of a kind in order."""
        fields = pb.FieldSort(fields=[pb.SortField(path=pb.Path(segments=["rank"]))])
        self._find(filter=self._of_a_kind(), sort=pb.Sort(fields=fields), limit=20)

    def _find(self, *, limit: int, filter: pb.Filter | None = None, sort: pb.Sort | None = None) -> int:
        request = pb.FindDocumentsRequest(collection=_COLLECTION, filter=filter, sort=sort, limit=limit)
        return len(self.rpc.FindDocuments(request).documents)

    def _of_a_kind(self) -> pb.Filter:
        return equals("kind", pb.Value(text=f"kind {self.random.randrange(_KINDS)}"))

    def _document(self, identifier: int) -> pb.Document:
        kind = f"kind {self.random.randrange(_KINDS)}"
        # A value that never comes again, as an index of values must not keep it.
        content = {"_id": identifier, "kind": kind, "rank": self.random.random(), "tag": f"tag {identifier}"}
        return pb.Document(json=json.dumps(content).encode(), vector=pb.Vector(values=self._vector()))

    def _vector(self) -> bytes:
        return self.numbers.standard_normal(DIMENSION).astype("<f4").tobytes()


def soak(folder: Path, seconds: float, windows: int, storage: str = "float32") -> list[Window]:
    """Have a store in a folder under load and return what was seen, window by window."""
    store = StoreProcess(folder, {**ENVIRONMENT, "ORRERY_STORE_INDEX_STORAGE": storage})
    try:
        store.rpc.CreateKeyspace(pb.CreateKeyspaceRequest(database="d", keyspace="k"))
        settings = pb.CollectionSettings(vector=pb.VectorSettings(dimension=DIMENSION, metric=pb.METRIC_COSINE))
        store.rpc.CreateCollection(pb.CreateCollectionRequest(database="d", keyspace="k", name="c", settings=settings))
        stop = threading.Event()
        workers = [Worker(store.rpc, number, stop) for number in range(1, WORKERS + 1)]
        with ThreadPoolExecutor(WORKERS) as threads:
            runs = [threads.submit(worker.run) for worker in workers]
            try:
                seen = _watched(store, workers, seconds, windows)
            finally:
                stop.set()
            for run in runs:
                run.result()
        return seen
    finally:
        store.stop()


def _watched(store: StoreProcess, workers: Sequence[Worker], seconds: float, windows: int) -> list[Window]:
    seen = []
    start = time.monotonic()
    for number in range(1, windows + 1):
        time.sleep(max(0.0, start + number * seconds / windows - time.monotonic()))
        latencies: dict[str, list[float]] = defaultdict(list)
        for worker in workers:
            for kind, values in worker.taken().items():
                latencies[kind].extend(values)
        request = pb.GetCollectionStatisticsRequest(collection=_COLLECTION)
        documents = store.rpc.GetCollectionStatistics(request).documents
        elapsed = time.monotonic() - start
        seen.append(Window(elapsed, store.resident_bytes(), _sizes(store.data), documents, latencies))
    return seen


def _sizes(data: Path) -> dict[str, int]:
    """Return the bytes of a collection's files by what they are."""
    sizes = {"documents": 0, "log": 0, "graph": 0}
    for path in data.glob("collections/*/*"):
        name = "graph" if path.name.startswith("vectors.") else "log" if path.name.endswith("-wal") else "documents"
        try:
            sizes[name] += path.stat().st_size
        except FileNotFoundError:
            # A snapshot took its place.
            continue
    return sizes


def growing(windows: Sequence[Window]) -> list[str]:
    """Return what grows over the second half of a soak, a line each."""
    half = windows[len(windows) // 2 :]
    series: dict[str, tuple[list[float], float, float]] = {
        "resident memory": ([window.resident_bytes for window in half], _MOST_GROWTH, _LEAST_BYTES),
        "median latency": ([window.latency(0.5) for window in half], _MOST_SLOWER, _LEAST_SECONDS),
        "latency of 99 %": ([window.latency(0.99) for window in half], _MOST_SLOWER, 10 * _LEAST_SECONDS),
    }
    for name in half[0].file_bytes:
        sizes: list[float] = [window.file_bytes[name] for window in half]
        series[f"files ({name})"] = (sizes, _MOST_GROWTH, _LEAST_BYTES)
    lines = []
    for name, (values, share, least) in series.items():
        grown = slope(values) * (len(values) - 1)
        if grown > max(share * statistics.median(values), least):
            lines.append(f"{name} grew by {grown:g} over the second half, from {values[0]:g} to {values[-1]:g}")
    return lines


def slope(values: Sequence[float]) -> float:
    """Return the growth from one value to the next: the median over all pairs, which single outliers do not move."""
    pairs = [
        (later - value) / (at - number)
        for number, value in enumerate(values)
        for at, later in enumerate(values[number + 1 :], start=number + 1)
    ]
    return statistics.median(pairs) if pairs else 0.0


def table(windows: Sequence[Window]) -> str:
    """Return what was seen as lines of text."""
    mib = 1024 * 1024
    lines = ["seconds  operations  documents  memory MiB  documents MiB  log MiB  graph MiB  p50 ms  p99 ms"]
    for window in windows:
        files = window.file_bytes
        lines.append(
            f"{window.seconds:7.0f}  {window.operations:10}  {window.documents:9}  {window.resident_bytes / mib:10.1f}"
            f"  {files['documents'] / mib:13.1f}  {files['log'] / mib:7.1f}  {files['graph'] / mib:9.1f}"
            f"  {1000 * window.latency(0.5):6.2f}  {1000 * window.latency(0.99):6.2f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak a store, print what was seen, and return 1 where something grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--windows", type=int, default=24, help="how many times figures are taken")
    parser.add_argument("--storage", choices=["float32", "float16", "int8"], default="float32")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        windows = soak(Path(folder), 60 * options.minutes, options.windows, options.storage)
    lines = growing(windows)
    sys.stdout.write("\n".join([table(windows), *lines, "" if lines else "nothing grows\n"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
