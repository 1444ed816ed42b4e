"""A live Orrery for tests: `orrery up` as a process of its own, on a free port, in a temporary folder."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType

STOP_SECONDS = 30


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orrery:
    """`orrery up`, started with the object and stopped with it.

    What the services log goes to the file `log` where one is given. `token` None makes one and passes it by the
    environment; with `own_token` the server makes and keeps its own.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        own_token: bool = False,
        log: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.url = f"http://127.0.0.1:{free_port()}"
        self.token = "" if own_token else secrets.token_urlsafe(16)
        self.environment = {**os.environ, **(environment or {})}
        if not own_token:
            self.environment["ORRERY_TOKEN"] = self.token
        self.arguments = arguments
        self.log = log
        self.lines: list[str] = []
        self.start()

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        address = self.url.removeprefix("http://")
        command = [sys.executable, "-m", "services.cli", "up", "--data-dir", str(self.data_dir), "--http", address]
        with nullcontext() if self.log is None else self.log.open("a") as errors:
            self.process = subprocess.Popen(
                [*command, *self.arguments], env=self.environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith("orrery: ready"):
                assert line.strip() == f"orrery: ready {self.url}"
                return
        raise AssertionError(f"orrery up ended with {self.process.wait()}: {self.lines}")

    def stop(self) -> int:
        """Stop the server as Ctrl-C does and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)

    def child(self, service: str) -> int:
        """Return the process id of a service."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if service.encode() in arguments:
                return int(pid)
        raise AssertionError(f"no {service} among {children}")

    def command(self, *arguments: str, secret: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run an `orrery` command on this server's data directory, a secret on its standard input."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments, "--data-dir", str(self.data_dir)],
            input=secret,
            stdin=subprocess.DEVNULL if secret is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def add_key(self, provider: str, name: str, secret: str, *databases: str) -> None:
        """Store a key for some databases."""
        scope = [part for database in databases or ("default",) for part in ("--database", database)]
        done = self.command("keys", "add", provider, name, *scope, secret=secret)
        assert done.returncode == 0, done.stderr

    def __enter__(self) -> "Orrery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
