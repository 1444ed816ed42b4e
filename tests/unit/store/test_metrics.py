"""The store's metrics: what collections hold, lanes, commits, and how many have figures of their own."""

import threading
from concurrent import futures

import pytest
from prometheus_client import CollectorRegistry

from services.runtime.admission import Lane
from services.runtime.errors import ConfigurationError
from services.runtime.metrics import serve_metrics
from services.store.engine import Engine
from services.store.metrics import CollectionMetrics, LaneMetrics
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.vectors.similarity import Metric
from tests.unit.store.conftest import Make

VECTORS = CollectionSettings(VectorSettings(2, Metric.EUCLIDEAN))


def record(number: int, *, vector: bool = False) -> Record:
    values = StoredVector(b"\0\0\x80\x3f\0\0\x80\x3f") if vector else None
    return Record(b'{"_id":%d}' % number, values)


def test_figures_of_a_collection(engine: Engine, make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([record(number, vector=True) for number in range(5)], ordered=True)
    labels = {"database": "d", "keyspace": "k", "collection": "c"}

    def value(name: str, **more: str) -> float | None:
        return engine.metrics.registry.get_sample_value(f"orrery_store_{name}", {**labels, **more})

    assert value("collection_documents") == 5
    assert value("collection_vectors") == 5
    assert value("collection_writes_refused") == 0
    assert value("collection_index", kind="exact") == 1
    assert value("collection_recall") is None
    assert (value("collection_file_bytes") or 0) + (value("collection_wal_bytes") or 0) > 0
    whole = engine.metrics.registry.get_sample_value
    assert whole("orrery_store_collections", {"state": "open"}) == 1
    assert whole("orrery_store_commit_writes_count") == 1
    assert (whole("orrery_store_commit_seconds_sum") or 0) > 0


def test_a_collection_that_is_not_open_is_not_opened_for_it(engine: Engine) -> None:
    entry, _ = engine.catalog.create_collection("d", "k", "unused", CollectionSettings(), b"", None)
    labels = {"database": "d", "keyspace": "k", "collection": "unused"}

    assert engine.metrics.registry.get_sample_value("orrery_store_collection_file_bytes", labels) == 0
    assert engine.metrics.registry.get_sample_value("orrery_store_collection_documents", labels) is None
    assert engine.metrics.registry.get_sample_value("orrery_store_collections", {"state": "not opened"}) == 1
    assert engine.opened(entry.uid) is None


def test_past_a_number_of_collections_the_others_are_added_up(engine: Engine, make: Make) -> None:
    for number in range(5):
        make(name=f"c{number}").insert([record(1), record(2)], ordered=True)
    registry = CollectorRegistry()
    registry.register(CollectionMetrics(engine, 2))

    documents = {
        sample.labels["collection"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "orrery_store_collection_documents"
    }
    assert documents == {"c0": 2, "c1": 2, "(others)": 6}


def test_lanes_tell_who_runs_and_who_waits() -> None:
    lane = Lane("reads", 1, 5)
    registry = CollectorRegistry()
    registry.register(LaneMetrics({"/a": lane, "/b": lane}))
    done = threading.Event()
    calls = [lane.submit(done.wait) for _ in range(3)]

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"orrery_store_lane_{name}", {"lane": "reads"})

    assert (value("running"), value("waiting"), value("refused_total")) == (1, 2, 0)
    done.set()
    futures.wait(calls)
    lane.shutdown()
    assert (value("running"), value("waiting")) == (0, 0)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "192.0.2.1:9999"])
def test_an_address_that_cannot_be_used_ends_the_start_and_is_named(address: str) -> None:
    with pytest.raises(ConfigurationError, match=f"ORRERY_STORE_METRICS: cannot serve metrics at {address}"):
        serve_metrics(address, "ORRERY_STORE_METRICS", CollectorRegistry())
