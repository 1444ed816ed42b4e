"""How commands reach a running service, and how they print what it answers."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from rich.console import Console
from rich.table import Table

from services.runtime.addresses import socket_address
from services.runtime.channels import open_blocking_channel
from services.runtime.errors import DataApiError
from services.runtime.rpc import error_from_call
from services.runtime.tls import CertificateFiles

_CALL_SECONDS = 10.0
#: Columns of a table that goes to a file or a pipe, where none is to be broken.
_WIDE = 250

RunningDataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ORRERY_DATA_DIR", help="Data directory of a running `orrery up`.")
]


@dataclass(frozen=True, slots=True)
class Running:
    """A running service: at an address, or by default at its socket below a data directory.

    Its methods raise the catalogue's errors, and `ConnectionError` where nothing answers.
    """

    service: str
    data_dir: Path
    address: str | None

    def call(self, method: Callable[[grpc.Channel], Any], request: object, *, seconds: float = _CALL_SECONDS) -> Any:
        """Call an RPC that answers once."""
        with self._channel() as channel:
            return method(channel)(request, timeout=seconds)

    def stream(self, method: Callable[[grpc.Channel], Any], request: object) -> Iterator[Any]:
        """Yield the answers of an RPC, however long it takes; it is given up with the iteration."""
        with self._channel() as channel:
            yield from method(channel)(request)

    @contextmanager
    def _channel(self) -> Iterator[grpc.Channel]:
        target = self.address or socket_address(self.data_dir, self.service)
        with open_blocking_channel(target, CertificateFiles.of_rpcs(os.environ)) as channel:
            try:
                yield channel
            except grpc.RpcError as failure:
                raise self._error(failure, target) from None

    def _error(self, failure: grpc.RpcError, target: str) -> DataApiError | ConnectionError:
        error = error_from_call(failure)
        if error is not None:
            return error
        return ConnectionError(
            f"no {self.service} answers at {target}: start one with `orrery up --data-dir {self.data_dir}`"
        )


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or unbroken where there is none."""
    Console(width=shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE).print(table)
