"""Credentials: stored by provider and name, scoped to databases, encrypted at rest; or read from a directory.

A stored credential has one version of its secrets that is in use, and maybe a second beside it: the next one or the
last one. Where a name is both stored and in the directory, the stored one is used until it is removed.
"""

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw
import structlog

from services.embedder.audit import THE_DIRECTORY, AuditLog
from services.embedder.credential_directory import Change, CredentialDirectory, Key, MountedCredential
from services.embedder.credential_rows import Credential, CredentialRows
from services.embedder.credential_schema import open_database
from services.embedder.names import NAME
from services.embedder.sealing import Sealer
from services.embedder.secret import Secret
from services.runtime.callers import NO_NAME
from services.runtime.errors import DataApiError

MAX_DATABASES_AT_ONCE = 10
_REMEMBERED_DROPS = 10_000

log = structlog.get_logger(__name__)


class CredentialStore:
    """The credentials of one embedder: those in a SQLite file, and those of a directory. Safe to use from many threads.

    Changes are in `audit.log` beside the file, with `who` asked for them; a change that cannot be written there is not
    made and raises `OSError`.
    """

    def __init__(self, path: Path, master_key: Secret, directory: CredentialDirectory | None = None) -> None:
        """Open the file, and read the directory. Raises `ConfigurationError`."""
        sealer = Sealer(master_key)
        self._lock = threading.Lock()
        self._audit = AuditLog(path.with_name("audit.log"))
        self._directory = directory
        #: The ids of databases that were dropped lately, oldest first.
        self._forgotten: dict[str, None] = {}
        self._forgetting = threading.Lock()
        #: When credentials were last used, in seconds since 1970, where that is not in the file yet.
        self._uses: dict[Key, int] = {}
        self._connection = open_database(path, sealer)
        self._rows = CredentialRows(self._connection, sealer)
        if directory is not None:
            self._take_over(directory.start(), directory)

    def close(self) -> None:
        """Write the times of use and close the file. A disk that takes no more costs the times, not the clean end."""
        try:
            self.write_uses()
        except apsw.Error:
            log.exception("it could not be written when credentials were last used")
        with self._lock:
            self._connection.close()

    # --- changes ---

    def create(
        self,
        provider: str,
        name: str,
        secrets: Mapping[str, Secret],
        databases: Sequence[str],
        *,
        who: str = NO_NAME,
    ) -> Credential:
        """Store a credential.

        Raises `CREDENTIAL_NAME_INVALID`, `CREDENTIAL_INVALID` (no secret, no or too many databases),
        `CREDENTIAL_ALREADY_EXISTS` or `CREDENTIAL_READ_ONLY`.
        """
        if not NAME.fullmatch(name):
            raise DataApiError("CREDENTIAL_NAME_INVALID", name=f"'{name}'")
        _check_secrets(provider, name, secrets)
        _check_databases(provider, name, databases)
        with self._change("created", provider, name, who) as before:
            if before is not None:
                raise DataApiError("CREDENTIAL_ALREADY_EXISTS", provider=provider, name=name)
            self._refuse_mounted(provider, name)
            self._forget_use(provider, name)
            self._rows.insert(provider, name, int(time.time()), secrets)
            self._rows.add_databases(provider, name, databases)
        return self._get(provider, name)

    def add_databases(self, provider: str, name: str, databases: Sequence[str], *, who: str = NO_NAME) -> Credential:
        """Widen a scope by 1 to 10 databases.

        Raises `CREDENTIAL_UNKNOWN`, `CREDENTIAL_READ_ONLY` or `CREDENTIAL_INVALID`.
        """
        _check_databases(provider, name, databases)
        with self._change("scope widened", provider, name, who) as before:
            self._require(before, provider, name)
            self._rows.add_databases(provider, name, databases)
        return self._get(provider, name)

    def remove_databases(self, provider: str, name: str, databases: Sequence[str], *, who: str = NO_NAME) -> Credential:
        """Narrow a scope. Raises `CREDENTIAL_UNKNOWN` or `CREDENTIAL_READ_ONLY`."""
        with self._change("scope narrowed", provider, name, who) as before:
            self._require(before, provider, name)
            self._rows.remove_databases(provider, name, databases)
        return self._get(provider, name)

    def forget_database(
        self, database: str, database_id: str, *, who: str = NO_NAME
    ) -> tuple[list[Credential], list[Credential]]:
        """Take a database out of every scope; nothing, if that was done for its id lately.

        Return the credentials that had it, and those of the directory that have it still. Each credential is a
        transaction of its own: after a kill, the rest is done by calling again.
        """
        # Several gateways may finish a drop. The name may be another database's when the last of them comes.
        changed: list[Credential] = []
        with self._forgetting:
            if database_id not in self._forgotten:
                changed = [
                    self.remove_databases(credential.provider, credential.name, [database], who=who)
                    for credential in self.list()
                    if credential.stored and database in credential.databases
                ]
                self._forgotten[database_id] = None
            if len(self._forgotten) > _REMEMBERED_DROPS:
                self._forgotten.pop(next(iter(self._forgotten)))
        return changed, [item for item in self.list() if not item.stored and database in item.databases]

    def stage(
        self,
        provider: str,
        name: str,
        secrets: Mapping[str, Secret],
        *,
        activate: bool = False,
        replace: bool = False,
        who: str = NO_NAME,
    ) -> Credential:
        """Put a second version of the secrets beside the active one; `activate` switches to it, `replace` makes room.

        Raises `CREDENTIAL_UNKNOWN`, `CREDENTIAL_READ_ONLY`, `CREDENTIAL_INVALID` (no secret), or
        `CREDENTIAL_ROTATION_INVALID` where there is a second version already.
        """
        _check_secrets(provider, name, secrets)
        with self._change("secret rotated" if activate else "secret staged", provider, name, who) as before:
            credential = self._require(before, provider, name)
            if credential.beside is not None:
                number = credential.beside.number
                if not replace:
                    raise _not_rotated(
                        credential,
                        f"version {number} is there already, beside version {credential.active}, which is in use",
                        f"Drop it with `orrery keys rotate {provider} {name} --drop`, or replace it with --replace",
                    )
                self._rows.delete_version(provider, name, number)
            number = self._rows.add_version(provider, name, int(time.time()), secrets)
            if activate:
                self._rows.set_active(provider, name, number)
        return self._get(provider, name)

    def activate(self, provider: str, name: str, version: int, *, who: str = NO_NAME) -> Credential:
        """Use a version of the secrets from the next call on; nothing changes where it is the active one.

        Raises `CREDENTIAL_UNKNOWN`, `CREDENTIAL_READ_ONLY`, or `CREDENTIAL_ROTATION_INVALID` for a version that is not
        there.
        """
        with self._change("secret activated", provider, name, who) as before:
            _require_version(self._require(before, provider, name), version)
            self._rows.set_active(provider, name, version)
        return self._get(provider, name)

    def drop(self, provider: str, name: str, version: int, *, who: str = NO_NAME) -> Credential:
        """Drop the version of the secrets that is not active.

        Raises `CREDENTIAL_UNKNOWN`, `CREDENTIAL_READ_ONLY`, or `CREDENTIAL_ROTATION_INVALID` for the active version and
        one that is not there.
        """
        with self._change("secret dropped", provider, name, who) as before:
            credential = self._require(before, provider, name)
            _require_version(credential, version)
            if version == credential.active:
                switch = f"Switch to another first with `orrery keys rotate {provider} {name} --switch`"
                raise _not_rotated(credential, f"version {version} is the one in use", switch)
            self._rows.delete_version(provider, name, version)
        return self._get(provider, name)

    def delete(self, provider: str, name: str, *, who: str = NO_NAME) -> None:
        """Delete a credential and its secrets. Raises `CREDENTIAL_UNKNOWN` or `CREDENTIAL_READ_ONLY`."""
        with self._change("deleted", provider, name, who) as before:
            self._require(before, provider, name)
            self._rows.delete(provider, name)
            self._forget_use(provider, name)

    def reload_directory(self) -> None:
        """Take over what has changed in the directory."""
        if self._directory is not None:
            self._take_over(self._directory.poll(), self._directory)

    # --- use ---

    def list(self, provider: str = "") -> list[Credential]:
        """Return the credentials of a provider, or all, by provider and name."""
        mounted = self._mounted()
        with self._lock:
            keys = sorted(key for key in {*self._rows.keys(), *mounted} if provider in ("", key[0]))
            return [self._find(*key) or self._found_mounted(key, mounted[key]) for key in keys]

    def check(self, provider: str, name: str, token: str, database: str) -> None:
        """Refuse a credential that a database may not use. Raises `VECTORIZE_CREDENTIAL_INVALID`."""
        with self._lock:
            self._secret(provider, name, token, database, self._mounted())

    def secret(self, provider: str, name: str, token: str, database: str) -> Secret:
        """Return one secret of a credential for a database that may use it. Raises as `secrets` does."""
        return self.secrets(provider, {token: name}, database)[token]

    def secrets(self, provider: str, names: Mapping[str, str], database: str) -> dict[str, Secret]:
        """Return the secrets of the credentials that `names` has by token, for a database that may use them.

        Those of one credential are of one version, even while it is rotated.

        Raises `VECTORIZE_CREDENTIAL_INVALID`, which names the credential, the database and the remedy.
        """
        with self._lock:
            mounted = self._mounted()
            found = {token: self._secret(provider, name, token, database, mounted) for token, name in names.items()}
            now = int(time.time())
            self._uses.update(((provider, name), now) for name in names.values())
        return found

    def write_uses(self) -> None:
        """Write when credentials were last used, if any was since the last time."""
        with self._lock:
            if self._uses:
                with self._connection:
                    self._rows.write_uses((*key, seconds) for key, seconds in self._uses.items())
                self._uses.clear()

    # --- details; under the lock, but for `_mounted`, `_get`, `_change` and `_take_over` ---

    def _mounted(self) -> Mapping[Key, MountedCredential]:
        return self._directory.entries if self._directory is not None else {}

    def _get(self, provider: str, name: str) -> Credential:
        with self._lock:
            return self._require(self._find(provider, name), provider, name)

    def _find(self, provider: str, name: str) -> Credential | None:
        credential = self._rows.find(provider, name)
        used = self._uses.get((provider, name))
        return credential if credential is None or used is None else dataclasses.replace(credential, last_used=used)

    def _found_mounted(self, key: Key, entry: MountedCredential) -> Credential:
        used = self._uses.get(key, self._rows.last_used(*key))
        return Credential(*key, entry.databases, entry.created, used)

    def _secret(
        self, provider: str, name: str, token: str, database: str, mounted: Mapping[Key, MountedCredential]
    ) -> Secret:
        version = self._rows.active(provider, name)
        if version is None:
            entry = mounted.get((provider, name))
            if entry is None or database not in entry.databases:
                raise self._no_such_key(provider, name, database)
            # Every token of the provider is there: an entry that lacks one is not taken.
            return entry.secrets[token]
        if not self._rows.in_scope(provider, name, database):
            raise self._no_such_key(provider, name, database)
        secret = self._rows.secret(provider, name, version, token)
        if secret is None:
            remedy = f"Remove it and create it with {_adding(provider, name, database)}"
            raise _not_usable(provider, name, database, f"it has no {token}", remedy)
        return secret

    def _no_such_key(self, provider: str, name: str, database: str) -> DataApiError:
        """Return one error for a key that is not there and for one of other databases, which do not show it."""
        remedy = (
            f"Create it with {_adding(provider, name, database)}, or widen its scope with "
            f"`orrery keys scope {provider} {name} --add {database}`"
        )
        if self._directory is not None:
            remedy += (
                f". Add a line {database} to the file databases of {provider}/{name} where keys come from the "
                "directory of credentials. The embedder's log says what to mend there"
            )
        problem = "it does not exist, or its scope does not hold the database"
        return _not_usable(provider, name, database, problem, remedy)

    @contextmanager
    def _change(self, what: str, provider: str, name: str, who: str) -> Iterator[Credential | None]:
        """Hold the lock and a transaction; what is done in it is in the audit log before it is committed."""
        with self._lock, self._connection:
            before = self._find(provider, name)
            yield before
            after = self._find(provider, name)
            if before != after:
                self._audit.add(
                    what,
                    provider,
                    name,
                    before=before.databases if before else (),
                    after=after.databases if after else (),
                    version=after.active if after else None,
                    who=who,
                )

    def _require(self, credential: Credential | None, provider: str, name: str) -> Credential:
        if credential is None:
            self._refuse_mounted(provider, name)
            raise DataApiError("CREDENTIAL_UNKNOWN", provider=provider, name=name)
        return credential

    def _refuse_mounted(self, provider: str, name: str) -> None:
        if self._directory is not None and (provider, name) in {*self._directory.entries, *self._directory.bad}:
            raise DataApiError("CREDENTIAL_READ_ONLY", provider=provider, name=name, directory=self._directory.path)

    def _forget_use(self, provider: str, name: str) -> None:
        self._uses.pop((provider, name), None)
        self._rows.forget_uses(provider, name)

    def _take_over(self, changes: Sequence[Change], directory: CredentialDirectory) -> None:
        """Log and audit what a reading of the directory has changed; it is in use already."""
        with self._lock:
            stored = set(self._rows.keys())
        for change in changes:
            (provider, name), before, after = change.key, change.before, change.after
            what = f"directory {'added' if before is None else 'removed' if after is None else 'changed'}"
            databases = list(after.databases) if after else []
            log.warning(f"credential: {what}", provider=provider, name=name, databases=databases)
            if change.key in stored and after is not None:
                log.error(
                    "an entry of the directory of credentials is not used: a stored key has its name",
                    directory=str(directory.path),
                    entry=f"{provider}/{name}",
                    remedy=f"remove the stored one with `orrery keys remove {provider} {name}`, or rename the entry",
                )
            try:
                self._audit.add(
                    what,
                    provider,
                    name,
                    before=before.databases if before else (),
                    after=databases,
                    who=THE_DIRECTORY,
                )
            except OSError:
                # The change has been made, by whoever changed the directory; the warning above has it.
                log.exception("the audit log cannot be written", provider=provider, name=name)


# --- refusals ---------------------------------------------------------------


def _check_secrets(provider: str, name: str, secrets: Mapping[str, Secret]) -> None:
    if not secrets or not all(secret.reveal() for secret in secrets.values()):
        raise DataApiError("CREDENTIAL_INVALID", provider=provider, name=name, problem="the secret is empty")


def _check_databases(provider: str, name: str, databases: Sequence[str]) -> None:
    if not 1 <= len(databases) <= MAX_DATABASES_AT_ONCE or not all(databases):
        raise DataApiError(
            "CREDENTIAL_INVALID",
            provider=provider,
            name=name,
            problem=f"1 to {MAX_DATABASES_AT_ONCE} databases can be added at once, found {len(databases)}",
        )


def _require_version(credential: Credential, version: int) -> None:
    numbers = [item.number for item in credential.versions]
    if version not in numbers:
        there = " and ".join(map(str, numbers))
        raise _not_rotated(
            credential, f"there is no version {version}, only {there}", "`orrery keys list` shows what is there"
        )


def _not_rotated(credential: Credential, problem: str, remedy: str) -> DataApiError:
    return DataApiError(
        "CREDENTIAL_ROTATION_INVALID",
        provider=credential.provider,
        name=credential.name,
        problem=problem,
        remedy=f"{remedy}.",
    )


def _adding(provider: str, name: str, database: str) -> str:
    return f"`orrery keys add {provider} {name} --database {database}`"


def _not_usable(provider: str, name: str, database: str, problem: str, remedy: str) -> DataApiError:
    return DataApiError(
        "VECTORIZE_CREDENTIAL_INVALID",
        provider=provider,
        name=name,
        database=database,
        problem=problem,
        remedy=f"{remedy}.",
    )
