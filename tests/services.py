"""Single services as processes, for tests that secure, stop and restart them: on loopback ports or unix sockets."""

import http.client
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType

from tests.live import free_port

_SECONDS = 30
#: What a service logs when it can be called.
SERVING = '"event": "serving"'


class Service:
    """`orrery NAME` as a process, started with the object and stopped with it; it logs to `log`."""

    def __init__(self, name: str, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.arguments = arguments
        self.environment = dict(environment or {})
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        """Start the service, without waiting for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", self.name, *self.arguments, "--log-level", "debug"],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start_again(self) -> None:
        """Start the service after it has ended, and wait until it serves."""
        times = self.log.read_text().count(SERVING)
        self.start()
        self.logged(SERVING, times=times + 1)

    def terminate(self) -> None:
        """Ask it to stop, as Kubernetes does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has ended and return its exit status."""
        return self.process.wait(_SECONDS)

    def logged(self, text: str, *, times: int = 1, seconds: float = _SECONDS) -> None:
        """Wait until it has logged a text so many times."""
        deadline = time.monotonic() + seconds
        while self.log.read_text().count(text) < times:
            assert time.monotonic() < deadline, f"no {text!r} in {self.log.read_text()}"
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def __enter__(self) -> "Service":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def rpc_service(name: str, folder: Path, *, environment: Mapping[str, str], port: int | None = None) -> Service:
    """Start a store or an embedder on a loopback port, `service.address`, and wait until it serves."""
    address = f"localhost:{port or free_port()}"
    service = Service(name, folder, "--data-dir", str(folder / name), "--listen", address, environment=environment)
    service.address = address
    service.logged(SERVING)
    return service


class Gateway(Service):
    """`orrery gateway` on a loopback port, with a token of its own."""

    token = "token-of-the-tests"

    def __init__(
        self,
        folder: Path,
        *,
        store: str,
        embedder: str,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port()
        super().__init__(
            "gateway",
            folder,
            *("--http", f"127.0.0.1:{self.port}", "--store", store, "--embedder", embedder, *arguments),
            environment={**(environment or {}), "ORRERY_TOKEN": self.token},
        )
        self.logged(SERVING)

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        """Return a connection to it, not opened yet."""
        if tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        return http.client.HTTPSConnection("localhost", self.port, timeout=_SECONDS, context=tls)

    def post(self, path: str, body: str, tls: ssl.SSLContext | None = None) -> tuple[int, str]:
        """Send one command over a connection of its own; return the status and the answer."""
        with closing(self.connect(tls)) as connection:
            connection.request("POST", path, body, {"Token": self.token, "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
