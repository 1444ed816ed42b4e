"""The progress bar: how far, how fast, how many rejected, how long still."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_SHOWN_HZ = 4


class Meter:
    """A progress bar on standard error, where that is a terminal. Used as a context manager.

    `total` is in any unit that `advance` is told of; None where nobody knows it.
    """

    def __init__(self, what: str, total: int | None, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[documents]:,} documents"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TextColumn("[red]{task.fields[rejected]:,} rejected" if console.is_terminal else ""),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=_SHOWN_HZ,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=total, documents=0, rejected=0, rate=0.0)
        self._documents = self._rejected = 0

    def __enter__(self) -> "Meter":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def skip(self, units: int) -> None:
        """Begin further on: what was done before counts as done, and not for the rate."""
        self._progress.update(self._task, advance=units)

    def advance(self, units: int, documents: int = 0, rejected: int = 0) -> None:
        """Note work that is done."""
        self._documents += documents
        self._rejected += rejected
        elapsed = self._progress.tasks[0].elapsed or 0.0
        rate = (self._documents + self._rejected) / elapsed if elapsed else 0.0
        self._progress.update(self._task, advance=units, documents=self._documents, rejected=self._rejected, rate=rate)
