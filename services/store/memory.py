"""The memory budget: what would grow the process past it is refused before it begins."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from services.runtime.errors import DataApiError
from services.runtime.memory import available_bytes, give_back_free_memory, resident_bytes
from services.store.settings import MemorySettings

#: Share of the budget that reads, and what else is not reserved, may still take.
_HEADROOM = 1 / 16
_SAMPLE_SECONDS = 0.02
_TRIM_SECONDS = 1.0

log = structlog.get_logger(__name__)


class MemoryBudget:
    """What the process may use, what it uses and what is reserved beyond that. Safe to use from many threads.

    What counts is what the operating system says the process has, plus the reservations of what is under way.
    """

    def __init__(self, limit: int, resident: Callable[[], int] = resident_bytes) -> None:
        self.limit = limit
        self._resident = resident
        self._reserved = 0
        self._shared: dict[object, list[int]] = {}
        self._sampled = 0
        self._next_sample = 0.0
        self._next_trim = 0.0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: MemorySettings) -> "MemoryBudget":
        """Return the budget that settings ask for; the log says how much it is."""
        limit = settings.bytes or int(available_bytes() * settings.share)
        budget = cls(limit)
        log.info("memory", budget_bytes=limit, used_bytes=budget.used())
        return budget

    def used(self) -> int:
        """Return what the process has and what is reserved, in bytes; up to 20 milliseconds old."""
        with self._lock:
            return self._used()

    def would_fit(self, size: int) -> bool:
        """Tell whether so many more bytes fit, after giving back what is free."""
        with self._lock:
            return self._fits(size)

    @contextmanager
    def reserve(
        self, size: int, purpose: str = "the request", *, shared: object = None, reading: bool = False
    ) -> Iterator[None]:
        """Count so many bytes as used while something that will take them is under way.

        Of reservations with the same `shared` only the largest counts. Raises `FAILED_WRITE_REQUEST` when they do
        not fit, `UNAVAILABLE_DATABASE` where it is for `reading`.
        """
        with self._lock:
            together = self._shared.get(shared, []) if shared is not None else []
            if not self._fits(size - max(together, default=0)):
                raise self._refusal(size, purpose, reading)
            before = max(together, default=0)
            together.append(size)
            self._reserved += max(together) - before
            if shared is not None:
                self._shared[shared] = together
        try:
            yield
        finally:
            with self._lock:
                before = max(together)
                together.remove(size)
                self._reserved += max(together, default=0) - before
                if not together:
                    self._shared.pop(shared, None)
                # What was reserved is there by now: it is not to be missing from both.
                self._next_sample = 0.0

    def _refusal(self, size: int, purpose: str, reading: bool) -> DataApiError:
        problem = (
            f"{purpose} needs about {_megabytes(size)} of memory, and of the {_megabytes(self.limit)} that the store "
            f"may use {_megabytes(self._used())} are taken"
        )
        remedy = "Delete documents or collections, or give the store more memory."
        if reading:
            return DataApiError("UNAVAILABLE_DATABASE", problem=problem, advice=remedy)
        return DataApiError("FAILED_WRITE_REQUEST", problem=problem, consequence=f"Nothing was changed. {remedy}")

    def _fits(self, size: int) -> bool:
        most = self.limit * (1 - _HEADROOM) - size
        if self._used() <= most:
            return True
        now = time.monotonic()
        if now >= self._next_trim:
            self._next_trim = now + _TRIM_SECONDS
            give_back_free_memory()
            self._next_sample = 0.0
        return self._used() <= most

    def _used(self) -> int:
        now = time.monotonic()
        if now >= self._next_sample:
            self._sampled = self._resident()
            self._next_sample = now + _SAMPLE_SECONDS
        return self._sampled + self._reserved


#: For whoever has no budget.
UNLIMITED = MemoryBudget(1 << 62, lambda: 0)


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
