"""Traces that are off cost nothing; whoever works for several requests says so."""

import subprocess
import sys

from services.runtime.request_context import REQUEST_ID
from services.runtime.traces import Origin, origin, outgoing_metadata, shared_context, span


def test_nothing_of_opentelemetry_is_imported_unless_configured() -> None:
    program = (
        "import sys, services.gateway.server, services.store.server, services.embedder.server\n"
        "from services.runtime.traces import exporting_traces\n"
        "with exporting_traces('store', {}):\n"
        "    print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_span_that_nobody_records_takes_everything() -> None:
    with span("x", "client", None, a__b=1) as traced:
        assert not traced.wanted
        traced.set(c=2)
        traced.name("y")
        traced.failed("CODE")


def test_a_task_for_several_requests_has_the_ids_of_all() -> None:
    origins = [Origin(f"request-{number}", None) for number in (1, 2, 1)]
    context = shared_context(origins)
    assert context.run(REQUEST_ID.get) == "request-1,request-2"
    assert context.run(outgoing_metadata) == (("x-request-id", "request-1,request-2"),)
    assert REQUEST_ID.get() == ""
    assert origin() == Origin("", None)


def test_ids_that_are_sent_along_are_bounded() -> None:
    context = shared_context([Origin(f"request-{number}", None) for number in range(1000)])
    assert len(context.run(REQUEST_ID.get).split(",")) == 32
