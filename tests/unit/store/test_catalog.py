"""The catalogue: databases, keyspaces and collections, kept."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from services.documents.indexing import Indexing
from services.documents.rules import DocumentLimits
from services.runtime.errors import DataApiError
from services.store.catalog import FORMAT, Catalog
from services.store.migrations import FormatError
from services.store.records import CollectionSettings, VectorSettings
from services.store.vectors.similarity import Metric

PLAIN = CollectionSettings()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.db")
    catalog.create_keyspace("d", "k")
    yield catalog
    catalog.close()


def create(catalog: Catalog, name: str, *, keyspace: str = "k", most: int | None = None) -> tuple[str, bool]:
    entry, created = catalog.create_collection("d", keyspace, name, PLAIN, b"", most)
    return entry.uid, created


def test_keyspaces_are_listed_by_name_and_database(catalog: Catalog) -> None:
    for database, name in (("d", "z"), ("d", "a"), ("d", "a"), ("other", "x")):
        catalog.create_keyspace(database, name)

    assert catalog.keyspaces("d") == ["a", "k", "z"]
    assert catalog.keyspaces("other") == ["x"]
    assert catalog.keyspaces("none") == []


def test_settings_and_attributes_are_kept(tmp_path: Path) -> None:
    settings = CollectionSettings(
        VectorSettings(384, Metric.DOT_PRODUCT),
        Indexing(allow=frozenset({("a", "b.c"), ("d",)})),
        DocumentLimits(max_depth=3, max_characters=None),
    )
    first = Catalog(tmp_path / "catalog.db")
    first.create_keyspace("d", "k")
    made, _ = first.create_collection("d", "k", "c", settings, b"\x00attributes", None)
    first.close()

    again = Catalog(tmp_path / "catalog.db")

    assert again.collection("d", "k", "c") == made
    assert made.settings == settings
    again.close()


def test_creating_again_returns_the_one_that_is_there(catalog: Catalog) -> None:
    first, created = create(catalog, "c")
    again, created_again = create(catalog, "c")

    assert created
    assert not created_again
    assert again == first


def test_collections_are_listed_by_name(catalog: Catalog) -> None:
    for name in ("b", "a", "B"):
        create(catalog, name)

    assert [entry.name for entry in catalog.collections("d", "k")] == ["B", "a", "b"]


def test_a_missing_keyspace_is_named(catalog: Catalog) -> None:
    for ask in (
        lambda: catalog.collections("d", "none"),
        lambda: catalog.collection("d", "none", "c"),
        lambda: create(catalog, "c", keyspace="none"),
        lambda: catalog.drop_collection("d", "none", "c"),
    ):
        with pytest.raises(DataApiError, match="none") as refused:
            ask()
        assert refused.value.code == "UNKNOWN_KEYSPACE"


def test_a_missing_collection_is_named_with_those_there_are(catalog: Catalog) -> None:
    create(catalog, "planets")
    create(catalog, "moons")

    with pytest.raises(DataApiError) as refused:
        catalog.collection("d", "k", "comets")

    assert refused.value.code == "UNKNOWN_COLLECTION_OR_TABLE"
    assert refused.value.details == {"collection": "comets", "keyspace": "k", "known": "moons, planets"}


def test_the_number_of_collections_is_limited_over_the_whole_database(catalog: Catalog) -> None:
    catalog.create_keyspace("d", "other")
    create(catalog, "one")
    create(catalog, "two", keyspace="other")

    with pytest.raises(DataApiError) as refused:
        create(catalog, "three", most=2)
    assert refused.value.code == "TOO_MANY_COLLECTIONS"
    assert create(catalog, "one", most=2)[1] is False
    assert create(catalog, "three", most=3)[1] is True


def test_another_collection_of_the_name_is_told_by_its_uid(catalog: Catalog) -> None:
    uid, _ = create(catalog, "c")
    assert catalog.drop_collection("d", "k", "c") == uid
    new, _ = create(catalog, "c")

    with pytest.raises(DataApiError) as refused:
        catalog.collection("d", "k", "c", uid)
    assert refused.value.code == "COLLECTION_CHANGED"
    assert catalog.collection("d", "k", "c", new).uid == new


def test_dropping_a_keyspace_drops_its_collections(catalog: Catalog) -> None:
    uids = {create(catalog, name)[0] for name in ("a", "b")}

    assert set(catalog.drop_keyspace("d", "k")) == uids
    assert catalog.keyspaces("d") == []
    assert catalog.drop_keyspace("d", "k") == []
    assert catalog.uids() == set()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    Catalog(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {FORMAT.version + 1}")
    connection.close()

    with pytest.raises(FormatError, match="newer Orrery"):
        Catalog(path)
