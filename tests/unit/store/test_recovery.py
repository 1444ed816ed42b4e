"""Opening a collection: the graph on disk is used where it is one of its documents, and only there."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from services.store.collection import Collection
from services.store.engine import Engine
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.settings import IndexSettings, Settings
from services.store.vectors.similarity import Metric

SETTINGS = Settings(index=IndexSettings(exact_below=50, tail=20, snapshot_after=10))


def opened(folder: Path) -> tuple[Engine, Collection]:
    """Return an engine and its collection `k.c` of vectors, made where it is missing."""
    engine = Engine(folder, SETTINGS)
    engine.catalog.create_keyspace("d", "k")
    vectors = CollectionSettings(vector=VectorSettings(8, Metric.EUCLIDEAN))
    engine.catalog.create_collection("d", "k", "c", vectors, b"", None)
    return engine, engine.collection("d", "k", "c", "")


def insert(collection: Collection, first: int, count: int) -> None:
    """Insert documents with random vectors."""
    random = np.random.default_rng(first)
    records = [
        Record(b'{"_id":%d}' % number, StoredVector(random.standard_normal(8).astype("<f4").tobytes()))
        for number in range(first, first + count)
    ]
    collection.insert(records, ordered=True)


def graph_vectors(collection: Collection) -> int:
    """Return how many vectors are in the graph."""
    statistics = collection.index_statistics()
    assert statistics is not None
    return statistics.graph_vectors


def test_a_graph_newer_than_the_documents_is_not_used_and_does_not_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, collection = opened(tmp_path)
    insert(collection, 0, 40)
    folder = engine.folder(collection.entry.uid)
    engine.close()
    shutil.copy(folder / "documents.db", tmp_path / "older.db")
    engine, collection = opened(tmp_path)
    insert(collection, 40, 40)
    collection.compact_index()
    engine.close()
    assert (folder / "vectors.json").exists()

    shutil.copy(tmp_path / "older.db", folder / "documents.db")
    engine, collection = opened(tmp_path)

    assert collection.totals() == (40, 40)
    assert graph_vectors(collection) == 0
    assert not list(folder.glob("vectors.*"))
    engine.close()
