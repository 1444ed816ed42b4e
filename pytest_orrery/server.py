"""`orrery up` for tests: a process of its own on a free port, started once and ended with the tests."""

import contextlib
import functools
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_orrery.database import OrreryDatabase
from pytest_orrery.localhost import localhost_names

if TYPE_CHECKING:
    from pytest_orrery.databases import Databases

_DATABASE, _KEYSPACE = "default", "default_keyspace"
_PREFIX = "ORRERY_"
#: What makes `orrery up` end when its standard input closes (services/runtime/lifeline.py).
_LIFELINE = {"ORRERY_LIFELINE": "stdin"}
#: Where Orrery is installed.
_HOME = Path(__file__).parents[1]
_START_SECONDS, _STOP_SECONDS, _CALL_SECONDS = 60.0, 30.0, 30.0
_POLL_SECONDS = 0.02
#: What the log tells of the plugin's own doing.
_OWN_EVENTS = (
    *("database created", "database dropped", "database gone"),
    *("credential created", "credential deleted", "credential scope widened", "credential scope narrowed"),
)
_EXPECTED = ("orrery: ready", *(f'"event": "{event}"' for event in _OWN_EVENTS))
#: What a test is given: a database of a host name of its own, or a keyspace of the default one.
ISOLATIONS = ("database", "keyspace")
#: How often the gateway looks for new databases, and how long one may take to be found.
_LOOK_SECONDS, _FOUND_SECONDS = 0.05, 10.0
#: What a key's secret is while nobody is asked with it.
_NO_SECRET = "recorded"  # noqa: S105 - it is none


class ServerError(Exception):
    """The server did not start, or did not do what it was asked; the message says what it said."""


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A key to store when the server starts, as `orrery keys add` does; its secrets are in variables."""

    provider: str
    name: str
    secrets: tuple[tuple[str, str], ...]
    """Name of the secret, empty where the provider has one, and the variable that holds it."""

    @classmethod
    def parse(cls, line: str) -> "ProviderKey":
        """Read `PROVIDER NAME VARIABLE` or `PROVIDER NAME SECRET=VARIABLE ...`. Raises `ValueError`."""
        parts = line.split()
        if len(parts) < 3:
            raise ValueError(f"{line!r} is no key: write PROVIDER NAME VARIABLE, such as openai my-key OPENAI_API_KEY")
        provider, name, *variables = parts
        pairs = (item.rpartition("=") for item in variables)
        return cls(provider, name, tuple((secret, variable) for secret, _, variable in pairs))


class OrreryServer:
    """A running server. Leaving it ends it; the data in its folder stays."""

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        keys: Sequence[ProviderKey] = (),
        recordings: Path | None = None,
        record: bool = False,
        isolation: str = "database",
    ) -> None:
        """Prepare to start `orrery up` with more variables and arguments.

        Variables of this process that begin with `ORRERY_` are not passed on. With `recordings`, vectors come from
        that file alone, and no provider is asked; with `record` too, providers are asked and the file is written.
        `isolation` is one of `ISOLATIONS`. Raises `ValueError` for another.
        """
        if isolation not in ISOLATIONS:
            raise ValueError(f"orrery_isolation is {isolation!r}; it may be {' or '.join(ISOLATIONS)}")
        self.data_dir = data_dir
        self.log_file = data_dir / "up.log"
        self.token = f"orrery-{secrets.token_urlsafe(24)}"
        self.url = ""
        self.keys: tuple[str, ...] = ()
        self._arguments = tuple(arguments)
        self._wanted_keys = tuple(keys)
        self._replays = recordings is not None and not record
        self._environment = {
            "ORRERY_ALLOW_PROVIDERS": "deterministic",
            "ORRERY_GATEWAY_ACCESS_POLL_SECONDS": str(_LOOK_SECONDS),
            **_recording(recordings, record),
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._isolation = isolation
        self._used_before = False
        self._databases: Databases | None = None
        self._stored: list[tuple[str, str]] = []
        self._names = contextlib.ExitStack()

    def start(self) -> None:
        """Start, and return once it is ready. Raises `ServerError` with what the server said."""
        self._used_before = (self.data_dir / "embedder").exists()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        address = f"127.0.0.1:{_free_port()}"
        command = [sys.executable, "-m", "services.cli", "up", "--data-dir", str(self.data_dir), "--http", address]
        # Its standard input closes when this process ends, however it does, and then the server ends too.
        variables = {**_LIFELINE, "ORRERY_TOKEN": self.token}
        self.log_file.write_bytes(b"")
        # Appended to, so that a line which a test adds of its own is not overwritten by the server's next one.
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [*command, *self._arguments],
                env=self._variables(variables),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to pytest alone, which ends the server after the last teardown.
                start_new_session=True,
            )
        self.url = f"http://{address}"
        self._wait()
        self._stored = [(key.provider, key.name) for key in self._wanted_keys if self._store(key)]
        self.keys = tuple(name for _, name in self._stored)
        if self._isolation == "database":
            from pytest_orrery.databases import Databases

            self._databases = Databases(str(self.data_dir), self._variables({}))
            self._names.enter_context(localhost_names())

    def stop(self) -> None:
        """End the server in order; kill it where it does not."""
        self._names.close()
        if self._databases is not None:
            self._databases.close()
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def __enter__(self) -> "OrreryServer":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextlib.contextmanager
    def database(self) -> Iterator[OrreryDatabase]:
        """Give an empty database of a new name; it goes with all that is in it afterwards."""
        give = self._own_keyspace if self._databases is None else functools.partial(self._own_database, self._databases)
        with give() as database:
            yield database

    @contextlib.contextmanager
    def _own_database(self, databases: "Databases") -> Iterator[OrreryDatabase]:
        name = f"test-{secrets.token_hex(8)}"
        databases.create(name, self._stored)
        host = f"{name}.localhost:{self.url.rpartition(':')[2]}"
        try:
            self._wait_for(host)
            yield OrreryDatabase(f"http://{host}", self.token, _KEYSPACE, name, self.keys)
        finally:
            if self._runs():
                databases.drop(name)

    @contextlib.contextmanager
    def _own_keyspace(self) -> Iterator[OrreryDatabase]:
        keyspace = f"test_{secrets.token_hex(8)}"
        self._command({"createKeyspace": {"name": keyspace}})
        try:
            yield OrreryDatabase(self.url, self.token, keyspace, _DATABASE, self.keys)
        finally:
            if self._runs():
                self._command({"dropKeyspace": {"name": keyspace}})

    def _runs(self) -> bool:
        """Tell whether the server runs: where a test has ended it, or it has failed, there is nothing to drop."""
        return self._process is not None and self._process.poll() is None

    def _wait_for(self, host: str) -> None:
        """Return once the gateway serves the database of a host. Raises `ServerError`."""
        deadline = time.monotonic() + _FOUND_SECONDS
        while True:
            try:
                return self._command({"findKeyspaces": {}}, host)
            except ServerError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK_SECONDS / 2)

    def log(self, since: int = 0) -> str:
        """Return what the server said, from a byte on, but what it says of the plugin's own doing."""
        text = self.log_file.read_bytes()[since:].decode(errors="replace") if self.log_file.exists() else ""
        lines = text.splitlines(keepends=True)
        return "".join(line for line in lines if not any(expected in line for expected in _EXPECTED))

    def log_bytes(self) -> int:
        """Return how much the server has said."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def _variables(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
        # A folder `services` of the project, where the tests are run or on the path, is not the one to be found.
        kept["PYTHONSAFEPATH"] = "1"
        if "PYTHONPATH" in kept:
            kept["PYTHONPATH"] = f"{_HOME}{os.pathsep}{kept['PYTHONPATH']}"
        return {**kept, **self._environment, **more}

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while b"orrery: ready" not in self.log_file.read_bytes():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                how = "was not ready in time" if ended is None else f"ended with status {ended}"
                raise ServerError(f"orrery up {how}; it said:\n{self.log()}")
            time.sleep(_POLL_SECONDS)

    def _store(self, key: ProviderKey) -> bool:
        """Store a key and tell whether it is; it is not where a variable is missing, unless nobody is asked anyway."""
        values = {variable: os.environ.get(variable, "") for _, variable in key.secrets}
        if not all(values.values()) and not self._replays:
            return False
        if self._used_before:
            # An earlier run may have stored it, with another secret; where none has, there is nothing to remove.
            self._keys("remove", key)
        named = [f"{secret}={variable}" if secret else variable for secret, variable in key.secrets]
        sources = [part for item in named for part in ("--from-env", item)]
        secrets_given = {variable: value or _NO_SECRET for variable, value in values.items()}
        done = self._keys("add", key, "--database", _DATABASE, *sources, variables=secrets_given)
        if done.returncode:
            raise ServerError(f"the key {key.name} of {key.provider} was not stored: {done.stderr.strip()}")
        return True

    def _keys(
        self, verb: str, key: ProviderKey, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `orrery keys`; secrets travel in variables."""
        command = [sys.executable, "-m", "services.cli", "keys", verb, key.provider, key.name]
        return subprocess.run(  # noqa: S603 - our own command line
            [*command, "--data-dir", str(self.data_dir), *arguments],
            env=self._variables(variables or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CALL_SECONDS,
            check=False,
        )

    def _command(self, command: Mapping[str, Any], host: str | None = None) -> None:
        """Run a command of a host's database or the default one. Raises `ServerError` with the server's error."""
        headers = {"Content-Type": "application/json", "Token": self.token, **({"Host": host} if host else {})}
        request = urllib.request.Request(f"{self.url}/v1", json.dumps(command).encode(), headers)  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            response = opener.open(request, timeout=_CALL_SECONDS)
        except urllib.error.HTTPError as refusal:
            # Its body is an answer like others.
            response = refusal
        with response:
            answer = json.loads(response.read())
        if "errors" in answer:
            raise ServerError(f"{next(iter(command))} failed: {answer['errors'][0]['message']}")


def _recording(recordings: Path | None, record: bool) -> dict[str, str]:
    """Return the embedder's variables for vectors that come from a file, or go to it."""
    if recordings is None:
        return {}
    return {
        "ORRERY_EMBEDDER_CACHE_FILE": str(recordings),
        "ORRERY_EMBEDDER_CACHE_MODE": "on" if record else "recorded",
        "ORRERY_EMBEDDER_CACHE_SHARED": "true",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
