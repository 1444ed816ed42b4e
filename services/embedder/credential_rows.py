"""The rows of stored credentials. Whoever calls holds the store's lock, and a transaction for what changes rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from services.embedder.sealing import Sealer
from services.embedder.secret import Secret


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """A version of a credential's secrets; `created` is in seconds since 1970."""

    number: int
    created: int


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential without its secret; times are in seconds since 1970, `last_used` is None if it never was.

    `active` is the number of the version in use; one of the directory has no versions, and 0 there.
    """

    provider: str
    name: str
    databases: tuple[str, ...]
    created: int
    last_used: int | None = None
    active: int = 0
    versions: tuple[SecretVersion, ...] = ()

    @property
    def stored(self) -> bool:
        """Whether it is stored here and not in the directory."""
        return bool(self.versions)

    @property
    def beside(self) -> SecretVersion | None:
        """The version that is not in use, if there is one."""
        return next((version for version in self.versions if version.number != self.active), None)


class CredentialRows:
    """Reads and writes the tables of `credential_schema`."""

    def __init__(self, connection: apsw.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def _run(self, sql: str, *values: str | int | bytes) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()

    def keys(self) -> list[tuple[str, str]]:
        """Return provider and name of every credential."""
        return [(str(provider), str(name)) for provider, name in self._run("SELECT provider, name FROM credentials")]

    def find(self, provider: str, name: str) -> Credential | None:
        """Return a credential, None when there is none of that name."""
        rows = self._run("SELECT created, active FROM credentials WHERE provider = ? AND name = ?", provider, name)
        if not rows:
            return None
        created, active = rows[0]
        sql = "SELECT database FROM scopes WHERE provider = ? AND name = ? ORDER BY database"
        databases = tuple(str(database) for (database,) in self._run(sql, provider, name))
        sql = "SELECT version, created FROM versions WHERE provider = ? AND name = ? ORDER BY version"
        versions = tuple(SecretVersion(*row) for row in self._run(sql, provider, name))
        return Credential(provider, name, databases, created, self.last_used(provider, name), active, versions)

    def active(self, provider: str, name: str) -> int | None:
        """Return the number of the version in use, None when there is no such credential."""
        rows = self._run("SELECT active FROM credentials WHERE provider = ? AND name = ?", provider, name)
        return int(rows[0][0]) if rows else None

    def in_scope(self, provider: str, name: str, database: str) -> bool:
        """Tell whether a database may use a credential."""
        sql = "SELECT 1 FROM scopes WHERE provider = ? AND name = ? AND database = ?"
        return bool(self._run(sql, provider, name, database))

    def secret(self, provider: str, name: str, version: int, token: str) -> Secret | None:
        """Return one secret of a version, None where it has none of that token.

        Raises `InvalidTag` for a row that is not what was stored under this name.
        """
        sql = "SELECT sealed FROM secrets WHERE provider = ? AND name = ? AND version = ? AND token = ?"
        rows = self._run(sql, provider, name, version, token)
        return self._sealer.open(bytes(rows[0][0]), provider, name, str(version), token) if rows else None

    def last_used(self, provider: str, name: str) -> int | None:
        """Return when a credential was last used as far as it is written, in seconds since 1970."""
        rows = self._run("SELECT last_used FROM uses WHERE provider = ? AND name = ?", provider, name)
        return int(rows[0][0]) if rows else None

    # --- changes ---

    def insert(self, provider: str, name: str, created: int, secrets: Mapping[str, Secret]) -> None:
        """Add a credential with the first version of its secrets and an empty scope."""
        self._run("INSERT INTO credentials VALUES (?, ?, ?, 1, 1)", provider, name, created)
        self._insert_version(provider, name, 1, created, secrets)

    def add_version(self, provider: str, name: str, created: int, secrets: Mapping[str, Secret]) -> int:
        """Add a version of the secrets, which is not active, and return its number."""
        sql = "UPDATE credentials SET last_version = last_version + 1 WHERE provider = ? AND name = ?"
        ((number,),) = self._run(f"{sql} RETURNING last_version", provider, name)
        self._insert_version(provider, name, int(number), created, secrets)
        return int(number)

    def _insert_version(
        self, provider: str, name: str, number: int, created: int, secrets: Mapping[str, Secret]
    ) -> None:
        self._run("INSERT INTO versions VALUES (?, ?, ?, ?)", provider, name, number, created)
        for token, secret in secrets.items():
            sealed = self._sealer.seal(secret, provider, name, str(number), token)
            self._run("INSERT INTO secrets VALUES (?, ?, ?, ?, ?)", provider, name, number, token, sealed)

    def set_active(self, provider: str, name: str, number: int) -> None:
        """Make a version the one in use."""
        self._run("UPDATE credentials SET active = ? WHERE provider = ? AND name = ?", number, provider, name)

    def delete_version(self, provider: str, name: str, number: int) -> None:
        """Delete a version and its secrets."""
        self._run("DELETE FROM versions WHERE provider = ? AND name = ? AND version = ?", provider, name, number)

    def add_databases(self, provider: str, name: str, databases: Sequence[str]) -> None:
        """Widen a scope; databases that are in it stay."""
        for database in databases:
            self._run("INSERT OR IGNORE INTO scopes VALUES (?, ?, ?)", provider, name, database)

    def remove_databases(self, provider: str, name: str, databases: Sequence[str]) -> None:
        """Narrow a scope."""
        for database in databases:
            sql = "DELETE FROM scopes WHERE provider = ? AND name = ? AND database = ?"
            self._run(sql, provider, name, database)

    def delete(self, provider: str, name: str) -> None:
        """Delete a credential with all that is kept of it, but when it was used."""
        self._run("DELETE FROM credentials WHERE provider = ? AND name = ?", provider, name)

    def write_uses(self, uses: Iterable[tuple[str, str, int]]) -> None:
        """Write when credentials were used: provider, name and seconds since 1970. Later times stay."""
        sql = (
            "INSERT INTO uses VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last_used = max(last_used, excluded.last_used)"
        )
        self._connection.executemany(sql, uses)

    def forget_uses(self, provider: str, name: str) -> None:
        """Forget when a credential was used: another one may get the name."""
        self._run("DELETE FROM uses WHERE provider = ? AND name = ?", provider, name)
