"""Runs services as processes of their own: starts them together, restarts one that dies, stops them cleanly."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from services.runtime import lifeline
from services.runtime.errors import ConfigurationError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Child:
    """A service to run: `python ARGUMENTS...` with these environment variables beside the inherited ones.

    `without` names inherited variables it does not get. `healthy` tells whether it answers. All children are started at
    once: one that needs another waits for it.
    """

    name: str
    arguments: Sequence[str]
    healthy: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    without: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """Times of a supervisor, in seconds."""

    start_seconds: float = 60.0
    """How long a service may take to become healthy at the start."""
    stop_seconds: float = 35.0
    """How long a service may take to stop before it is killed."""
    first_restart_seconds: float = 0.2
    """Pause before a service that died is started again; doubled each time, up to `last_restart_seconds`."""
    last_restart_seconds: float = 5.0
    steady_seconds: float = 30.0
    """A service that ran this long has its pause start over."""
    poll_seconds: float = 0.05


class StartError(ConfigurationError):
    """A service did not become healthy; the message says which."""


class Supervisor:
    """Runs children until it is told to stop."""

    def __init__(self, children: Sequence[Child], settings: SupervisorSettings) -> None:
        self.children = children
        self.settings = settings
        self._stopping = asyncio.Event()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._failed_starts: set[str] = set()

    def stop(self) -> None:
        """Begin to stop; `run` returns once every child has."""
        self._stopping.set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Start the children, call `on_ready` once all are healthy, and keep them running.

        Raises `StartError` when a child ends before it is healthy, or does not become healthy in time; the others
        are stopped first.
        """
        keepers = [asyncio.create_task(self._keep(child)) for child in self.children]
        try:
            # They start their processes before the first of these checks, whose imports take a while.
            await asyncio.sleep(0)
            for child in self.children:
                await self._until_healthy(child)
            if not self._stopping.is_set():
                on_ready()
            await self._stopping.wait()
        finally:
            self._stopping.set()
            for child in reversed(self.children):
                await self._end(child)
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep(self, child: Child) -> None:
        pause = self.settings.first_restart_seconds
        while not self._stopping.is_set():
            started = time.monotonic()
            process = await self._start(child)
            code = await process.wait()
            if self._stopping.is_set():
                return
            self._failed_starts.add(child.name)
            if time.monotonic() - started > self.settings.steady_seconds:
                pause = self.settings.first_restart_seconds
            log.warning("service ended; starting it again", child=child.name, exit_code=code, pause=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, self.settings.last_restart_seconds)

    async def _start(self, child: Child) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if name not in child.without}
        environment |= {lifeline.VARIABLE: "stdin", **child.environment}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *child.arguments,
            stdin=asyncio.subprocess.PIPE,
            env=environment,
            # Ctrl-C goes to the supervisor alone, which stops the children in order.
            start_new_session=True,
        )
        self._processes[child.name] = process
        return process

    async def _until_healthy(self, child: Child) -> None:
        deadline = time.monotonic() + self.settings.start_seconds
        while not self._stopping.is_set():
            if await child.healthy():
                return
            if child.name in self._failed_starts:
                raise StartError(f"the {child.name} ended while it was starting; its own message is above")
            if time.monotonic() > deadline:
                raise StartError(f"the {child.name} did not become healthy within {self.settings.start_seconds:g} s")
            await asyncio.sleep(self.settings.poll_seconds)

    async def _end(self, child: Child) -> None:
        process = self._processes.get(child.name)
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self.settings.stop_seconds)
        except TimeoutError:
            log.warning("service did not stop; killing it", child=child.name)
            process.kill()
            await process.wait()
