"""How a transfer ends: its exit status, and its last words."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import typer

from services.transfer.errors import TransferError, UsageError

Result = TypeVar("Result")

#: Everything was done; some rows were rejected; it was asked for wrongly; it stopped before its end.
DONE, REJECTED, USAGE, STOPPED = range(4)


def run_transfer(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a transfer. Ends the process with `USAGE` or `STOPPED` and a message when it fails."""
    try:
        return asyncio.run(work)
    except UsageError as problem:
        _end(problem, USAGE)
    except (TransferError, OSError) as problem:
        _end(problem, STOPPED)
    except KeyboardInterrupt:
        _end("stopped. Run the same command again to go on", STOPPED)


def _end(message: object, status: int) -> NoReturn:
    typer.echo(f"orrery: {message}", err=True)
    sys.exit(status)
