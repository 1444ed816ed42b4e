"""A store as a process of its own, that tests kill and start again on the same folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
from orrery.store.v1 import store_pb2_grpc

from services.runtime.channels import CHANNEL_OPTIONS

START_SECONDS = 30


class StoreProcess:
    """`orrery store`, with variables of its own; `environment` may be changed between a `kill` and a `start`."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "store.log"
        self.environment = dict(environment or {})
        self.address = f"unix:{folder}/run/s"
        self.start()

    def start(self) -> None:
        """Start the store and wait until it answers."""
        command = [sys.executable, "-m", "services.cli", "store", "--data-dir", str(self.data)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", self.address, "--log-level", "info"],
                env={**os.environ, **self.environment},
                stderr=log,
            )
        self.channel = grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        ready = grpc.channel_ready_future(self.channel)
        for _ in range(START_SECONDS * 10):
            try:
                ready.result(0.1)
                break
            except grpc.FutureTimeoutError:
                assert self.process.poll() is None, self.log.read_text()
        self.rpc = store_pb2_grpc.StoreServiceStub(self.channel)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.channel.close()

    def stop(self) -> int:
        """End it as SIGTERM does; return its exit status."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(START_SECONDS)

    def resident_bytes(self) -> int:
        """Return the memory that the process has."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
