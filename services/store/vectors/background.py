"""The thread that builds the graphs of all collections, one at a time."""

import threading

import structlog

from services.store.vectors.builder import IndexBuilder

log = structlog.get_logger(__name__)


class Background:
    """Works for indexes that have work to do, in the order in which they said so, from the first `wake` on."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[IndexBuilder] = []
        self._working: IndexBuilder | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def wake(self, builder: IndexBuilder) -> None:
        """Have an index worked for soon."""
        with self._condition:
            if builder in self._waiting or self._closed:
                return
            self._waiting.append(builder)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="index-builder", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def forget(self, builder: IndexBuilder) -> None:
        """Stop working for an index; return once nothing does."""
        builder.stop()
        with self._condition:
            self._waiting = [other for other in self._waiting if other is not builder]
            self._condition.wait_for(lambda: self._working is not builder)

    def settle(self, builder: IndexBuilder, seconds: float) -> bool:
        """Wait until there is no work for an index; False where that takes longer."""
        with self._condition:
            return self._condition.wait_for(
                lambda: self._working is not builder and builder not in self._waiting, seconds
            )

    def close(self) -> None:
        """Stop once the index worked for has been forgotten."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                builder = self._working = self._waiting.pop(0)
            try:
                builder.work()
            except Exception:
                # Searches go on with what there is; the next write that makes work due tries again.
                log.exception("building an index failed")
            finally:
                with self._condition:
                    self._working = None
                    self._condition.notify_all()
