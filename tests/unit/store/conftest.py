"""An engine over a temporary folder, and collections in it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.store.collection import Collection
from services.store.engine import Engine
from services.store.records import CollectionSettings

Make = Callable[..., Collection]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with the keyspace `k` of the database `d`."""
    engine = Engine(tmp_path / "data")
    engine.catalog.create_keyspace("d", "k")
    yield engine
    engine.close()


@pytest.fixture
def make(engine: Engine) -> Make:
    """Make a collection: `make(settings, name="c")`."""

    def make(settings: CollectionSettings | None = None, name: str = "c") -> Collection:
        entry, _ = engine.catalog.create_collection("d", "k", name, settings or CollectionSettings(), b"", None)
        return engine.collection("d", "k", name, entry.uid)

    return make
