"""Starting and ending the processes of a benchmark.

Each process gets an environment without proxies and without settings of its own kind, writes to a log of its own, and
is ended by its id. Temporary folders go with them.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.machine import ROOT

BUILD = ROOT / "build" / "benchmarks"

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0


class StartError(Exception):
    """A process that did not start, or ended."""


class Processes:
    """The processes and temporary folders of a run; leaving it ends and removes them all."""

    def __init__(self, logs: Path, hidden: Sequence[str] = ("ORRERY_",)) -> None:
        """Keep logs in a folder; variables that begin with one of `hidden` are not passed on."""
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self._hidden = tuple(hidden)
        self._stack = ExitStack()
        self._started: set[str] = set()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process: this one's without what would change the measurement."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(self._hidden) and not name.lower().endswith("_proxy")
        }
        return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}", **(variables or {})}

    def folder(self) -> Path:
        """Return a new folder; not below the repository, because a socket's path may have no more than 108 bytes."""
        folder = Path(tempfile.mkdtemp(prefix="orrery-benchmark-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def start(
        self,
        name: str,
        command: Sequence[str],
        variables: Mapping[str, str] | None = None,
        *,
        pipe: bool = False,
        commanded: bool = False,
        user: str | None = None,
    ) -> subprocess.Popen[str]:
        """Start a process; with `pipe` its output can be read.

        With `commanded` it can be written to; with `user` it runs as that one.
        """
        # What a process says when it is started again belongs to the same run.
        log = self._stack.enter_context(self.log(name).open("a" if name in self._started else "w"))
        self._started.add(name)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment(variables),
            stdin=subprocess.PIPE if commanded else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else log,
            stderr=log,
            text=True,
            user=user,
            group=None if user is None else group_of(user),
            extra_groups=None if user is None else [],
        )
        self._stack.callback(end, process)
        return process

    def wait(self, name: str, process: subprocess.Popen[str], ready: Callable[[], bool], pause: float = 0.1) -> None:
        """Wait until a process is ready. Raises `StartError`."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{name} did not start; {self.log(name)} ends with:\n{self.log_end(name)}")
            time.sleep(pause)

    def log(self, name: str) -> Path:
        """Return the file a process writes to."""
        return self.logs / f"{name}.log"

    def log_end(self, name: str) -> str:
        """Return the last of what a process wrote."""
        return self.log(name).read_text(errors="replace")[-2000:]


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> None:
    """End a process, and wait for it."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def group_of(user: str) -> int:
    """Return the id of a user's first group."""
    import pwd

    return pwd.getpwnam(user).pw_gid


def connects(path: Path) -> bool:
    """Tell whether something listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def answers(url: str) -> bool:
    """Tell whether a URL is answered with status 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
