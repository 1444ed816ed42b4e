"""Databases and tokens: what the catalogue keeps of them, each change in the audit log before it is committed."""

import hashlib
import math
import re
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import apsw

from services.runtime.errors import DataApiError
from services.runtime.roles import Role
from services.store.catalog import CollectionEntry
from services.store.engine import Engine

DEFAULT_KEYSPACE = "default_keyspace"
#: What a token begins with, so that one that was leaked is recognised for what it is.
TOKEN_PREFIX = "orrery"  # noqa: S105 - no secret

_DATABASE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN_NAME_CHARACTERS = 100
#: 256 bits: so many that neither guessing the secret nor hashing guesses comes to an end.
_SECRET_BYTES = 32
_ID_BYTES = 6
#: Every gateway holds all of them.
_MOST_TOKENS = _MOST_DATABASES = 10_000
#: How long a token that expired is still listed.
_EXPIRED_SECONDS = 30 * 24 * 3600

_DATABASES = "SELECT name, id, created, dropping FROM databases"
_TOKENS = "SELECT id, name, role, all_databases, rate, created, expires, digest FROM tokens"
_NAMES = """
SELECT token_databases.token, databases.name FROM token_databases
JOIN databases ON databases.id = token_databases.database ORDER BY databases.name
"""
#: The tokens that a database's end leaves without any.
_ORPHANS = """
SELECT id FROM tokens WHERE NOT all_databases
AND EXISTS (SELECT 1 FROM token_databases WHERE token = id AND database = ?1)
AND NOT EXISTS (SELECT 1 FROM token_databases WHERE token = id AND database <> ?1)
"""


@dataclass(frozen=True, slots=True)
class Database:
    """A database. `created` is in seconds since 1970; `dropping` tells that its name alone is left of it."""

    name: str
    id: str
    created: int
    dropping: bool


@dataclass(frozen=True, slots=True)
class Token:
    """A token: `databases` are names; `rate` is in requests a second; times are in seconds since 1970."""

    id: str
    name: str
    role: Role
    all_databases: bool
    databases: tuple[str, ...]
    rate: float | None
    created: int
    expires: int | None
    digest: bytes = field(repr=False)


class Access:
    """The databases and tokens of a store. Safe to use from many threads.

    `who` of a change is its caller, for the audit log. Every method raises `FAILED_READ_REQUEST` or
    `FAILED_WRITE_REQUEST` where the disk fails or the audit log cannot be written: then nothing was changed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._audit = engine.catalog.audit
        #: Told apart from those of an earlier process, whose count began anew as well.
        self._era = secrets.token_hex(8)

    # --- databases ---

    def create_database(self, name: str, keyspaces: Sequence[str], who: str) -> Database:
        """Create a database with keyspaces. Raises `DATABASE_NAME_INVALID` or `DATABASE_ALREADY_EXISTS`."""
        check_database_name(name)
        with self._changing() as connection:
            existing = self._database(connection, name)
            if existing is not None:
                state = "is still being dropped" if existing.dropping else "exists already"
                raise DataApiError("DATABASE_ALREADY_EXISTS", database=name, state=state)
            if _count(connection, "databases") >= _MOST_DATABASES:
                state = f"would be one more than the {_MOST_DATABASES} that a store may have"
                raise DataApiError("DATABASE_ALREADY_EXISTS", database=name, state=state)
            database = Database(name, str(uuid.uuid4()), int(time.time()), dropping=False)
            sql = "INSERT INTO databases (name, id, created) VALUES (?, ?, ?)"
            connection.execute(sql, (database.name, database.id, database.created))
            rows = ((name, keyspace) for keyspace in keyspaces or [DEFAULT_KEYSPACE])
            connection.executemany("INSERT OR IGNORE INTO keyspaces VALUES (?, ?)", rows)
            self._audit.note("database created", who, database=name, database_id=database.id)
        return database

    def databases(self) -> list[Database]:
        """Return the databases by name."""
        with self._catalog.reading() as connection:
            return _databases(connection)

    def contents(self, name: str) -> dict[str, list[CollectionEntry]]:
        """Return the collections of a database by keyspace."""
        return self._catalog.contents(name)

    def drop_database(self, name: str, database_id: str, who: str) -> tuple[Database, list[Token]]:
        """Drop a database with what is in it, and return it with the tokens that were revoked with it.

        Where it is being dropped already, nothing changes. Raises `UNKNOWN_DATABASE`, also for another one than that
        of the id, where one is given.
        """
        with self._changing() as connection:
            database = self._database(connection, name)
            if database is None or database_id not in ("", database.id):
                raise DataApiError("UNKNOWN_DATABASE", database=name)
            if database.dropping:
                return database, []
            found = connection.execute("SELECT uid FROM collections WHERE database = ?", (name,))
            uids = [str(uid) for (uid,) in found]
            orphans = {str(token) for (token,) in connection.execute(_ORPHANS, (database.id,))}
            revoked = [token for token in _tokens(connection) if token.id in orphans]
            connection.execute("DELETE FROM collections WHERE database = ?", (name,))
            connection.execute("DELETE FROM keyspaces WHERE database = ?", (name,))
            connection.executemany("DELETE FROM tokens WHERE id = ?", ((token,) for token in orphans))
            connection.execute("DELETE FROM token_databases WHERE database = ?", (database.id,))
            connection.execute("UPDATE databases SET dropping = 1 WHERE name = ?", (name,))
            self._audit.note(
                "database dropped",
                who,
                database=name,
                database_id=database.id,
                collections=len(uids),
                revoked_tokens=sorted(orphans),
            )
        # A kill before this leaves files that the next start removes.
        self._engine.discard(uids)
        return Database(name, database.id, database.created, dropping=True), revoked

    def finish_drop(self, database_id: str) -> None:
        """Give the name of a dropped database free; one that is not being dropped is left as it is."""
        with self._changing() as connection:
            connection.execute("DELETE FROM databases WHERE id = ? AND dropping", (database_id,))

    # --- tokens ---

    def create_token(
        self,
        name: str,
        role: Role,
        databases: Sequence[str],
        who: str,
        *,
        rate: float | None = None,
        lifetime_seconds: int | None = None,
    ) -> tuple[Token, str]:
        """Make a token for some databases, or with none given for all; return it with what callers send.

        Raises `TOKEN_INVALID` or `UNKNOWN_DATABASE`.
        """
        _check_token(name, rate, lifetime_seconds)
        token_id = secrets.token_hex(_ID_BYTES)
        secret = f"{TOKEN_PREFIX}:{token_id}:{secrets.token_urlsafe(_SECRET_BYTES)}"
        now = int(time.time())
        expires = None if lifetime_seconds is None else now + lifetime_seconds
        names = tuple(sorted(set(databases)))
        token = Token(token_id, name, role, not names, names, rate, now, expires, digest_of(secret))
        with self._changing() as connection:
            connection.execute("DELETE FROM tokens WHERE expires < ?", (now - _EXPIRED_SECONDS,))
            if _count(connection, "tokens") >= _MOST_TOKENS:
                raise _invalid(f"there are {_MOST_TOKENS} already; revoke those that are not used any more")
            ids = [self._known_database(connection, database).id for database in names]
            connection.execute(
                "INSERT INTO tokens (id, name, digest, role, all_databases, rate, created, expires) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (token.id, name, token.digest, role.value, token.all_databases, rate, now, expires),
            )
            connection.executemany("INSERT INTO token_databases VALUES (?, ?)", ((token.id, item) for item in ids))
            self._audit.note(
                "token created",
                who,
                token=token.id,
                token_name=name,
                role=role.value,
                databases=list(names) or "all",
                expires=expires,
            )
        return token, secret

    def tokens(self) -> list[Token]:
        """Return the tokens by time of creation, expired ones among them."""
        with self._catalog.reading() as connection:
            return _tokens(connection)

    def revoke_token(self, token_id: str, who: str) -> None:
        """Revoke a token. Raises `TOKEN_UNKNOWN`."""
        with self._changing() as connection:
            found = connection.execute("SELECT name FROM tokens WHERE id = ?", (token_id,)).fetchone()
            if found is None:
                raise DataApiError("TOKEN_UNKNOWN", id=token_id)
            connection.execute("DELETE FROM tokens WHERE id = ?", (token_id,))
            self._audit.note("token revoked", who, token=token_id, token_name=str(found[0]))

    # --- for gateways ---

    def listing(self, if_version: str) -> tuple[str, list[Database], list[Token]]:
        """Return the version, and databases and tokens of one moment; nothing of them where it is the caller's."""
        # A change is counted before it is committed: where the count is the caller's, nothing was.
        if if_version == self._version():
            return if_version, [], []
        with self._catalog.reading() as connection:
            return self._version(), _databases(connection), _tokens(connection)

    def _version(self) -> str:
        return f"{self._era}-{self._catalog.changes}"

    # --- details ---

    @contextmanager
    def _changing(self) -> Iterator[apsw.Connection]:
        with self._catalog.writing() as connection:
            self._catalog.changes += 1
            yield connection

    def _database(self, connection: apsw.Connection, name: str) -> Database | None:
        row = connection.execute(f"{_DATABASES} WHERE name = ?", (name,)).fetchone()
        return None if row is None else _database_of(row)

    def _known_database(self, connection: apsw.Connection, name: str) -> Database:
        database = self._database(connection, name)
        if database is None or database.dropping:
            raise DataApiError("UNKNOWN_DATABASE", database=name)
        return database


def check_database_name(name: str) -> None:
    """Refuse what no host name could name, or could be taken for an id. Raises `DATABASE_NAME_INVALID`."""
    if not _DATABASE_NAME.fullmatch(name) or _UUID.fullmatch(name):
        raise DataApiError("DATABASE_NAME_INVALID", name=name)


def digest_of(secret: str) -> bytes:
    """Return what is kept of a token, and compared.

    A plain SHA-256: the secret has 256 random bits, so that there are no guesses that a slow hash would slow down.
    """
    return hashlib.sha256(secret.encode()).digest()


def _check_token(name: str, rate: float | None, lifetime_seconds: int | None) -> None:
    if len(name) > _TOKEN_NAME_CHARACTERS or not name.isprintable():
        raise _invalid(f"its name is over {_TOKEN_NAME_CHARACTERS} characters long, or has some that cannot be printed")
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise _invalid(f"its rate is {rate:g} requests a second, and must be over 0")
    if lifetime_seconds is not None and lifetime_seconds <= 0:
        raise _invalid("it would have expired already")


def _invalid(problem: str) -> DataApiError:
    return DataApiError("TOKEN_INVALID", problem=problem)


def _count(connection: apsw.Connection, table: str) -> int:
    return next(int(count) for (count,) in connection.execute(f"SELECT count(*) FROM {table}"))


def _databases(connection: apsw.Connection) -> list[Database]:
    return [_database_of(row) for row in connection.execute(f"{_DATABASES} ORDER BY name")]


def _database_of(row: tuple[object, ...]) -> Database:
    name, id_, created, dropping = row
    return Database(str(name), str(id_), int(str(created)), bool(dropping))


def _tokens(connection: apsw.Connection) -> list[Token]:
    databases: dict[str, list[str]] = {}
    for token, name in connection.execute(_NAMES):
        databases.setdefault(str(token), []).append(str(name))
    rows: Iterable[tuple[object, ...]] = connection.execute(f"{_TOKENS} ORDER BY created, id")
    return [_token(row, databases) for row in rows]


def _token(row: tuple[object, ...], databases: dict[str, list[str]]) -> Token:
    id_, name, role, all_databases, rate, created, expires, digest = row
    return Token(
        str(id_),
        str(name),
        Role(str(role)),
        bool(all_databases),
        tuple(databases.get(str(id_), ())),
        None if rate is None else float(str(rate)),
        int(str(created)),
        None if expires is None else int(str(expires)),
        bytes(digest),  # type: ignore[call-overload]
    )
