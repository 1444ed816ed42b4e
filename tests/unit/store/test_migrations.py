"""Files of earlier forms are brought up as a whole or not at all, and later ones refused."""

from pathlib import Path

import apsw
import pytest

from services.runtime.errors import DataApiError
from services.store import documents
from services.store.catalog import FORMAT as CATALOGUE_FORMAT
from services.store.catalog import Catalog
from services.store.engine import Engine
from services.store.filters import EVERYTHING
from services.store.migrations import FileFormat, FormatError, format_version
from services.store.records import CollectionSettings, Record

#: The catalogue as its first version wrote it. Never changed: such files are out there.
CATALOGUE_1 = """
CREATE TABLE keyspaces (database TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (database, name)) WITHOUT ROWID;
CREATE TABLE collections (
    uid TEXT PRIMARY KEY,
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    name TEXT NOT NULL,
    settings BLOB NOT NULL,
    attributes BLOB NOT NULL,
    UNIQUE (database, keyspace, name),
    FOREIGN KEY (database, keyspace) REFERENCES keyspaces (database, name)
);
INSERT INTO keyspaces VALUES ('d', 'k');
INSERT INTO collections VALUES ('0123', 'd', 'k', 'c', CAST('{}' AS BLOB), x'00ff');
PRAGMA user_version = 1;
"""
#: A collection's file as its first version wrote it, with one document.
COLLECTION_1 = """
CREATE TABLE documents (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id_key BLOB NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    json BLOB NOT NULL,
    vector BLOB,
    literal BLOB,
    vectorize BLOB,
    lexical BLOB
);
CREATE TABLE paths (number INTEGER PRIMARY KEY, segments TEXT NOT NULL UNIQUE);
CREATE TABLE postings (
    path INTEGER NOT NULL,
    key BLOB NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (path, key, document)
) WITHOUT ROWID;
CREATE INDEX postings_by_document ON postings (document, path, key);
CREATE TABLE writes (sequence INTEGER NOT NULL);
INSERT INTO writes VALUES (1);
INSERT INTO documents (id_key, sequence, json) VALUES (x'01', 1, CAST('{"_id":1}' AS BLOB));
PRAGMA user_version = 1;
"""


def written(path: Path, sql: str) -> Path:
    """Write a file as another version would have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()
    return path


def tables(path: Path) -> set[tuple[str, str]]:
    """Return the tables and indexes of a file with their columns, whatever the order they were made in."""
    connection = apsw.Connection(str(path))
    names = [str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
    found = {(name, str(connection.execute(f"PRAGMA table_xinfo('{name}')").fetchall())) for name in names}
    connection.close()
    return found


def test_a_catalogue_of_the_first_version_is_brought_up_with_what_it_holds(tmp_path: Path) -> None:
    old = written(tmp_path / "old.db", CATALOGUE_1)

    catalog = Catalog(old)
    (entry,) = catalog.collections("d", "k")
    catalog.note_backup("/b")
    assert catalog.noted_backups() == ["/b"]
    assert catalog.databases() == ["d"]
    catalog.close()

    assert (entry.name, entry.uid, entry.attributes) == ("c", "0123", b"\x00\xff")
    Catalog(tmp_path / "new.db").close()
    assert tables(old) == tables(tmp_path / "new.db")


def test_a_catalogue_of_the_first_version_that_can_only_be_read_names_its_databases(tmp_path: Path) -> None:
    old = written(tmp_path / "old.db", CATALOGUE_1)

    catalog = Catalog(old, read_only=True)

    assert catalog.databases() == ["d"]
    catalog.close()
    assert {name for name, _ in tables(old)}.isdisjoint({"databases", "tokens"})


def test_a_store_of_the_first_version_serves_its_documents(tmp_path: Path) -> None:
    written(tmp_path / "catalog.db", CATALOGUE_1)
    file = written(tmp_path / "collections" / "0123" / "documents.db", COLLECTION_1)
    engine = Engine(tmp_path)

    collection = engine.collection("d", "k", "c", "0123")

    assert collection.totals() == (1, 0)
    collection.insert([Record(b'{"_id":2}')], ordered=True)
    assert collection.count(EVERYTHING, 0) == (2, False)
    engine.catalog.create_collection("d", "k", "new", CollectionSettings(), b"", None)
    engine.collection("d", "k", "new", "").totals()
    new = engine.folder(engine.catalog.collection("d", "k", "new").uid) / "documents.db"
    engine.close()
    assert tables(file) == tables(new)


def test_migrations_follow_one_another_from_any_version(tmp_path: Path) -> None:
    newest = FileFormat(
        "CREATE TABLE t (a, b, c)",
        (
            lambda connection: connection.execute("ALTER TABLE t ADD COLUMN b DEFAULT 2"),
            lambda connection: connection.execute("ALTER TABLE t ADD COLUMN c DEFAULT 3"),
        ),
    )
    for version, columns in ((1, "a"), (2, "a, b")):
        path = tmp_path / f"{version}.db"
        written(path, f"CREATE TABLE t ({columns}); INSERT INTO t (a) VALUES (1); PRAGMA user_version = {version}")
        connection = apsw.Connection(str(path))

        newest.prepare(connection, "it")

        assert format_version(connection) == newest.version == 3
        assert [row[0] for row in connection.execute("SELECT a FROM t WHERE c = 3")] == [1]


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    def fail(connection: apsw.Connection) -> None:
        connection.execute("ALTER TABLE t ADD COLUMN c")
        raise OSError("disk full")

    format_ = FileFormat("", (lambda connection: connection.execute("ALTER TABLE t ADD COLUMN b"), fail))
    connection = apsw.Connection(str(written(tmp_path / "t.db", "CREATE TABLE t (a); PRAGMA user_version = 1")))

    with pytest.raises(OSError, match="disk full"):
        format_.prepare(connection, "it")

    assert format_version(connection) == 2
    assert [name for _, name, *_ in connection.execute("PRAGMA table_info(t)")] == ["a", "b"]
    assert not connection.in_transaction


def test_a_newer_catalogue_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "catalog.db", f"PRAGMA user_version = {CATALOGUE_FORMAT.version + 1}")

    with pytest.raises(FormatError, match=r"catalog\.db has format version 4, written by a newer Orrery"):
        Engine(tmp_path)


def test_a_newer_collection_answers_so_and_the_others_go_on(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.catalog.create_keyspace("d", "k")
    for name in ("newer", "other"):
        engine.catalog.create_collection("d", "k", name, CollectionSettings(), b"", None)
    uid = engine.catalog.collection("d", "k", "newer").uid
    newer = documents.FORMAT.version + 1
    written(engine.folder(uid) / "documents.db", f"PRAGMA user_version = {newer}")

    for _ in range(2):
        with pytest.raises(DataApiError, match=f"format version {newer}, written by a newer Orrery") as refused:
            engine.collection("d", "k", "newer", "")
        assert refused.value.code == "CORRUPTED_COLLECTION_SCHEMA"
    engine.collection("d", "k", "other", "").insert([Record(b'{"_id":1}')], ordered=True)
    engine.close()
