"""The store's metrics: what it does, counted as it happens, and what it holds, looked at when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.runtime.admission import Lane
from services.runtime.metrics import DURATIONS, CallMetrics, process_metrics

if TYPE_CHECKING:
    from services.store.engine import Engine

_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_COLLECTION = ("database", "keyspace", "collection")
#: Labels of the collections that have none of their own.
_OTHERS = ("", "", "(others)")
#: What is told of collections: the end of the name, and what it is. Of several together the sum is told.
_OPEN = {
    "documents": "Documents of the collection.",
    "vectors": "Vectors that searches find.",
    "index_bytes": "Memory of the vector index.",
    "index_tombstones": "Removed vectors that still take room in the vector index.",
    "index_graph_vectors": "Vectors that a graph leads to; the others are compared one by one.",
    "filter_cache_bytes": "Memory of what filters found lately.",
    "writes_refused": "1 where the collection takes no writes because of its file or disk.",
}
_FILES = {
    "file_bytes": "Size of the collection's file.",
    "wal_bytes": "Size of its write-ahead log.",
    "other_bytes": "Size of what else is in its folder, such as snapshots of the vector index.",
}


class StoreMetrics:
    """What is counted as it happens, in a registry of its own. Safe to use from many threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = CallMetrics("store", self.registry)
        process_metrics(self.registry)
        self._commit_writes = self._histogram("commit_writes", "Writes that one commit made durable.", _COUNTS)
        self._commit_seconds = self._histogram(
            "commit_seconds", "Duration of a commit: writing the log, and waiting for the disk (fsync).", DURATIONS
        )
        self._searches = self._histogram("search_queries", "Searches that were answered together.", _COUNTS)

    def committed(self, writes: int, seconds: float) -> None:
        """Count a commit of so many writes."""
        self._commit_writes.observe(writes)
        self._commit_seconds.observe(seconds)

    def searched(self, queries: int) -> None:
        """Count so many searches of an index that were answered together."""
        self._searches.observe(queries)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"orrery_store_{name}", text, registry=self.registry, buckets=buckets)


class LaneMetrics(Collector):
    """How many calls each lane has."""

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._lanes = list(dict.fromkeys(lanes.values()))

    def collect(self) -> Iterator[Metric]:
        """Yield what each lane has now."""
        running = GaugeMetricFamily("orrery_store_lane_running", "Calls that are answered.", labels=["lane"])
        waiting = GaugeMetricFamily("orrery_store_lane_waiting", "Calls that wait for their turn.", labels=["lane"])
        refused = CounterMetricFamily(
            "orrery_store_lane_refused", "Calls that were refused because there were too many.", labels=["lane"]
        )
        for lane in self._lanes:
            running.add_metric([lane.name], min(lane.inside, lane.running))
            waiting.add_metric([lane.name], max(0, lane.inside - lane.running))
            refused.add_metric([lane.name], lane.refused)
        yield from (running, waiting, refused)


@dataclass(slots=True)
class _Figures:
    """Figures of a collection, or of several together."""

    values: dict[str, float] = field(default_factory=dict)
    recall: float | None = None
    kind: str | None = None

    def add(self, other: _Figures) -> None:
        for name, value in other.values.items():
            self.values[name] = self.values.get(name, 0) + value


class CollectionMetrics(Collector):
    """What the collections hold. `most` of them have labels of their own, the others are added up.

    Nothing is opened or read from disk for it, but for the sizes of files.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine = engine
        self._most = most

    def collect(self) -> Iterator[Metric]:
        """Yield figures of now."""
        budget = self._engine.budget
        yield GaugeMetricFamily("orrery_store_memory_bytes", "Memory in use and reserved.", value=budget.used())
        yield GaugeMetricFamily("orrery_store_memory_budget_bytes", "Memory it may use.", value=budget.limit)
        states = {"open": 0, "not opened": 0, "damaged": 0}
        figures: dict[tuple[str, str, str], _Figures] = {}
        for labels, uid in self._collections():
            state = "open" if self._engine.opened(uid) else "damaged" if self._engine.problem(uid) else "not opened"
            states[state] += 1
            own = self._figures(uid)
            if len(figures) < self._most:
                figures[labels] = own
            else:
                figures.setdefault(_OTHERS, _Figures()).add(own)
        counts = GaugeMetricFamily("orrery_store_collections", "Collections by their state.", labels=["state"])
        for state, count in states.items():
            counts.add_metric([state], count)
        yield counts
        yield from _families(figures)

    def _collections(self) -> Iterator[tuple[tuple[str, str, str], str]]:
        catalog = self._engine.catalog
        for database in catalog.databases():
            for keyspace, entries in catalog.contents(database).items():
                for entry in entries:
                    yield (database, keyspace, entry.name), entry.uid

    def _figures(self, uid: str) -> _Figures:
        found = _Figures(dict(self._engine.file_sizes(uid)))
        collection = self._engine.opened(uid)
        if collection is None:
            return found
        found.values["documents"], found.values["vectors"] = collection.totals()
        found.values["filter_cache_bytes"] = collection.filter_cache_bytes()
        found.values["writes_refused"] = float(bool(collection.write_refusal()))
        index = collection.index_statistics()
        if index is not None:
            found.kind, found.recall = index.kind, index.recall
            found.values["index_bytes"] = index.memory_bytes
            found.values["index_tombstones"] = index.tombstones
            found.values["index_graph_vectors"] = index.graph_vectors
        return found


def _families(figures: Mapping[tuple[str, str, str], _Figures]) -> Iterator[Metric]:
    prefix = "orrery_store_collection_"
    for name, text in {**_OPEN, **_FILES}.items():
        family = GaugeMetricFamily(prefix + name, text, labels=_COLLECTION)
        for labels, found in figures.items():
            if name in found.values:
                family.add_metric(labels, found.values[name])
        yield family
    recall = GaugeMetricFamily(
        f"{prefix}recall", "Measured share of the truly nearest that searches find.", labels=_COLLECTION
    )
    kind = GaugeMetricFamily(
        f"{prefix}index", "1 by how searches compare vectors, `exact` or `graph`.", labels=(*_COLLECTION, "kind")
    )
    for labels, found in figures.items():
        if found.recall is not None:
            recall.add_metric(labels, found.recall)
        if found.kind is not None:
            kind.add_metric((*labels, found.kind), 1)
    yield from (recall, kind)
