"""How commands reach a running store, and show how far it is."""

from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from orrery.store.v1 import operations_pb2_grpc
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.calls import Running

Database = Annotated[str, typer.Option("--database", envvar="ORRERY_DATABASE", help="Name of the database.")]
StoreAddress = Annotated[
    str | None, typer.Option("--store", envvar="ORRERY_STORE", help="Address of the store instead of --data-dir.")
]


def running_store(data_dir: Path, address: str | None) -> Running:
    """Return the store at an address, or at its socket below a data directory."""
    return Running("store", data_dir, address)


def operations(channel: grpc.Channel) -> Any:
    """Return the stub of the operations."""
    return operations_pb2_grpc.OperationsServiceStub(channel)


def last_event(running: Running, method: str, request: object, title: str) -> Any:
    """Return the last message of an operation, its progress shown on standard error where that is a terminal.

    Raises the catalogue's errors, and `ConnectionError`.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    event: Any = None
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        for event in running.stream(lambda channel: getattr(operations(channel), method), request):
            if event.HasField("progress"):
                now = event.progress
                bar.update(
                    task,
                    description=f"{title}: {now.stage}",
                    completed=now.done_bytes,
                    total=now.total_bytes or None,
                )
    return event


def human_bytes(count: int) -> str:
    """Return a number of bytes as people read it."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
