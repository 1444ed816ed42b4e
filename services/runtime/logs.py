"""Logs: one JSON object a line on standard error, never a secret or a document's content."""

import logging
import sys
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from services.runtime.request_context import REQUEST_ID
from services.runtime.traces import trace_ids


def configure_logs(service: str, level: str = "info") -> None:
    """Send structured logs of this process to standard error, each naming the service.

    Raises `ValueError` for a level that `logging` does not know.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"unknown log level {level!r}: use debug, info, warning or error")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_context(service),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[Processor] = [
        # Without the frames' locals: a secret may be among them.
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries log takes the same form.
    foreign = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(foreign)
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler])


def add_context(service: str) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    """Return what adds the service, and the request that the running task or thread works for."""

    def add(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event["service"] = service
        if given := REQUEST_ID.get():
            event["request_id"] = given
        event.update(trace_ids())
        return event

    return add
