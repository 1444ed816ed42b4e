"""Credentials of a mounted directory, as Kubernetes projects Secrets: `<provider>/<name>/{token,databases}`.

A provider of several secrets has one file for each, named as a collection's `authentication` names it; `token` stands
for a provider's only one. `databases` has a database a line. Symbolic links are followed, and names that begin with a
dot are passed over: kubelet keeps `..data` there, a link that it exchanges to change all files at once.
"""

import errno
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from services.embedder.catalogue import Catalogue
from services.embedder.entries import Provider
from services.embedder.names import NAME, NAME_RULE
from services.embedder.secret import Secret
from services.runtime.errors import ConfigurationError

VARIABLE = "ORRERY_CREDENTIALS_DIR"
TOKEN_FILE, DATABASES_FILE = "token", "databases"

_MAX_FILE_BYTES = 64 * 1024
_START_ATTEMPTS = 5
_DEPTH = 3

Key = tuple[str, str]
#: What tells that files have changed: for each its path, identity, mode, size and times, or why it cannot be seen.
Fingerprint = tuple[tuple[object, ...], ...]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MountedCredential:
    """A credential of the directory: secrets by token name; `created` is its newest file's time, in seconds."""

    databases: tuple[str, ...]
    created: int
    secrets: Mapping[str, Secret]

    def same_as(self, other: "MountedCredential") -> bool:
        """Tell whether databases and secrets are the same, whatever the files' times."""
        mine = {token: secret.reveal() for token, secret in self.secrets.items()}
        return self.databases == other.databases and mine == {
            token: secret.reveal() for token, secret in other.secrets.items()
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload changed; `before` is None for a credential that was added, `after` for one that is gone."""

    key: Key
    before: MountedCredential | None
    after: MountedCredential | None


@dataclass(frozen=True, slots=True)
class _Reading:
    entries: dict[Key, MountedCredential] = field(default_factory=dict)
    bad: set[Key] = field(default_factory=set)
    #: Path in the directory, what is wrong there, and what helps.
    problems: list[tuple[str, str, str]] = field(default_factory=list)


class _BadEntryError(Exception):
    """An entry cannot be used; the arguments are the problem and the remedy, which hold nothing of a file."""


class CredentialDirectory:
    """The directory as it was last read. `entries` is replaced as a whole, so whoever has it sees one state."""

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self.path = path
        self.entries: Mapping[Key, MountedCredential] = {}
        self.bad: frozenset[Key] = frozenset()
        self._catalogue = catalogue
        self._applied: Fingerprint | None = None
        self._seen: Fingerprint | None = None

    def start(self) -> list[Change]:
        """Read the directory for the first time. Raises `ConfigurationError` when it cannot be read at all."""
        try:
            list(self.path.iterdir())
        except OSError as problem:
            raise ConfigurationError(
                f"the directory of {VARIABLE}, {self.path}, cannot be read: {problem.strerror}; mount it or unset the "
                "variable"
            ) from None
        for _ in range(_START_ATTEMPTS - 1):
            seen = _fingerprint(self.path)
            reading = self._read()
            if _fingerprint(self.path) == seen:
                break
        return self._apply(seen, reading)

    def poll(self) -> list[Change]:
        """Read the directory again if it has changed since, and has stopped changing; return what is different.

        A change is taken when two polls have seen the same, so that files written one after the other are read
        together.
        """
        seen = _fingerprint(self.path)
        if seen in (self._applied, None) or seen != self._seen:
            self._note(seen)
            return []
        reading = self._read()
        if _fingerprint(self.path) != seen:
            return []
        return self._apply(seen, reading)

    def _note(self, seen: Fingerprint | None) -> None:
        if seen is None and self._seen is not None:
            log.error(
                "the directory of credentials cannot be read; what was read last goes on being used",
                directory=str(self.path),
                remedy=f"mount it again, or restart the embedder without {VARIABLE}",
            )
        self._seen = seen

    def _apply(self, seen: Fingerprint | None, reading: _Reading) -> list[Change]:
        old, new = self.entries, reading.entries
        changes = []
        for key in sorted({*old, *new}):
            before, after = old.get(key), new.get(key)
            if before is None or after is None or not before.same_as(after):
                changes.append(Change(key, before, after))
        self.entries, self.bad = new, frozenset(reading.bad)
        self._applied = self._seen = seen
        for entry, problem, remedy in reading.problems:
            log.error(
                "an entry of the directory of credentials is ignored",
                directory=str(self.path),
                entry=entry,
                problem=problem,
                remedy=remedy,
            )
        return changes

    # --- reading ---

    def _read(self) -> _Reading:
        reading = _Reading()
        for folder in _visible(self.path):
            try:
                provider = self._provider(folder)
                names = _visible(folder)
            except _BadEntryError as bad:
                reading.problems.append((folder.name, *bad.args))
                continue
            for entry in names:
                key = (provider.id, entry.name)
                try:
                    reading.entries[key] = _credential(entry, provider)
                except _BadEntryError as bad:
                    reading.bad.add(key)
                    reading.problems.append((f"{provider.id}/{entry.name}", *bad.args))
        return reading

    def _provider(self, folder: Path) -> Provider:
        provider = self._catalogue.get(folder.name)
        if provider is None:
            raise _BadEntryError(
                f"there is no such provider: {self._catalogue.why_not(folder.name)}",
                "name the folder after the provider's id, or switch the provider on",
            )
        if not provider.authentication.shared_secret:
            raise _BadEntryError("the provider takes no stored keys", "remove the folder")
        return provider


def _visible(folder: Path) -> list[Path]:
    """Return what is in a folder, but for hidden names; nothing where it has just gone. Raises `_BadEntryError`."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise _BadEntryError(*_unreadable(problem, "a folder")) from None


def _unreadable(problem: OSError, wanted: str) -> tuple[str, str]:
    if problem.errno == errno.EACCES:
        return (
            "it may not be read by the embedder's user",
            "let that user read it (fsGroup or defaultMode of the mount)",
        )
    if problem.errno == errno.ENOTDIR:
        return f"it is not {wanted}", f"make it {wanted}, or remove it"
    return f"it cannot be read: {problem.strerror}", "mend it, or remove it"


def _credential(folder: Path, provider: Provider) -> MountedCredential:
    """Return the credential of a folder. Raises `_BadEntryError`."""
    if not NAME.fullmatch(folder.name):
        raise _BadEntryError(f"its name is not allowed: {NAME_RULE}", "give it another name")
    tokens = [token.accepted_token for token in provider.authentication.tokens]
    present = {path.name: path for path in _visible(folder)}
    if len(tokens) == 1 and TOKEN_FILE in present:
        if tokens[0] in present:
            raise _BadEntryError(f"it has both {TOKEN_FILE} and {tokens[0]}", "keep one of the two")
        present[tokens[0]] = present[TOKEN_FILE]
    missing = [name for name in (*tokens, DATABASES_FILE) if name not in present]
    if missing:
        wanted = f"{TOKEN_FILE} and {DATABASES_FILE}" if len(tokens) == 1 else ", ".join((*tokens, DATABASES_FILE))
        raise _BadEntryError(f"it has no {' and no '.join(missing)}", f"put the files {wanted} there")
    secrets = {}
    for token in tokens:
        text = _text(present[token]).strip()
        if not text or "\n" in text:
            raise _BadEntryError(f"its file {present[token].name} does not hold one line", "put the secret alone there")
        secrets[token] = Secret(text)
    databases = {line.strip() for line in _text(present[DATABASES_FILE]).split("\n")} - {""}
    if not databases:
        raise _BadEntryError(f"its file {DATABASES_FILE} names no database", "put a database a line there")
    try:
        newest = max(present[name].stat().st_mtime for name in (*tokens, DATABASES_FILE))
    except OSError as problem:
        raise _BadEntryError(*_unreadable(problem, "a file")) from None
    return MountedCredential(tuple(sorted(databases)), int(newest), secrets)


def _text(path: Path) -> str:
    """Return the text of a small file. Raises `_BadEntryError`, which names the file and holds nothing of it."""
    try:
        state = path.stat()
        # A pipe would be waited for.
        if not stat.S_ISREG(state.st_mode) or state.st_size > _MAX_FILE_BYTES:
            limit = f"a plain file of at most {_MAX_FILE_BYTES} bytes"
            raise _BadEntryError(f"its {path.name} is not {limit}", f"make it {limit}")
        return path.read_bytes().decode()
    except OSError as problem:
        what, remedy = _unreadable(problem, "a file")
        raise _BadEntryError(f"its file {path.name}: {what}", remedy) from None
    except UnicodeDecodeError:
        raise _BadEntryError(f"its file {path.name} is not UTF-8", "write it as UTF-8") from None


def _fingerprint(root: Path) -> Fingerprint | None:
    """Return what changes when anything below the directory does, None when it cannot be listed."""
    try:
        level = sorted(root.iterdir())
    except OSError:
        return None
    seen: list[tuple[object, ...]] = []
    for depth in range(_DEPTH):
        below: list[Path] = []
        for path in level:
            if path.name.startswith("."):
                continue
            try:
                state = path.stat()
                seen.append(
                    (str(path), state.st_ino, state.st_mode, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
                )
                if stat.S_ISDIR(state.st_mode) and depth < _DEPTH - 1:
                    below.extend(sorted(path.iterdir()))
            except OSError as problem:
                seen.append((str(path), problem.errno))
        level = below
    return tuple(seen)
