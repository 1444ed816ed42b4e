"""`orrery audit`: what was created and dropped, by whom, and who was refused."""

import heapq
from collections.abc import Iterator
from pathlib import Path

import msgspec
import typer

from services.cli.calls import RunningDataDir

#: Where the services keep their audit logs below the directory of `orrery up`: the gateway, the store, the embedder.
_FILES = ("audit.log", "store/audit.log", "embedder/audit.log")


class _Timed(msgspec.Struct):
    time: str = ""


def audit(data_dir: RunningDataDir = Path(".orrery")) -> None:
    """Print the audit logs, by time: a line of JSON for each action, never a secret. No server has to run."""
    paths = [data_dir / name for name in _FILES]
    if not any(path.exists() for path in paths):
        raise FileNotFoundError(f"there is no audit log below {data_dir}: nothing has been changed yet")
    # Each file is in the order of time already.
    for _, line in heapq.merge(*(_lines(path) for path in paths if path.exists())):
        typer.echo(line, nl=False)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield msgspec.json.decode(line.encode(), type=_Timed).time, line
            except msgspec.DecodeError:
                continue  # a line that a crash cut off
