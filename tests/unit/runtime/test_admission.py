"""Lanes: who is inside, when one is full, and what is refused without being looked at."""

import threading
from typing import Any

import grpc
import pytest

from services.runtime.admission import Admission, Lane
from services.runtime.errors import DataApiError


class Details:
    def __init__(self, method: str) -> None:
        self.method = method


def refusal(lane: Lane) -> DataApiError:
    return DataApiError("UNAVAILABLE_DATABASE", problem=lane.name, advice="again")


def handler_for(admission: Admission, method: str) -> Any:
    parsed = grpc.unary_unary_rpc_method_handler(lambda request, context: request, bytes.decode, str.encode)
    details: Any = Details(method)
    return admission.intercept_service(lambda _: parsed, details)


def test_a_lane_is_full_with_those_that_run_and_those_that_wait() -> None:
    lane = Lane("writes", 1, 2)
    leave = threading.Event()
    calls = [lane.submit(leave.wait, 10) for _ in range(3)]

    assert lane.full
    leave.set()
    assert all(call.result(10) for call in calls)
    lane.submit(int).result(10)
    assert not lane.full
    assert lane.retry_seconds >= 0.1
    lane.shutdown()


def test_a_call_that_is_cancelled_while_it_waits_makes_room() -> None:
    lane = Lane("writes", 1, 1)
    leave = threading.Event()
    lane.submit(leave.wait, 10)
    waiting = lane.submit(int)

    assert lane.full
    assert waiting.cancel()
    assert not lane.full
    leave.set()
    lane.shutdown()


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_refused_request_is_not_parsed(waiting: int) -> None:
    lane, leave = Lane("writes", 1, waiting), threading.Event()
    admission = Admission({"/s/Write": lane}, refusal)
    assert handler_for(admission, "/s/Write").request_deserializer is bytes.decode

    for _ in range(1 + waiting):
        lane.submit(leave.wait, 10)

    assert handler_for(admission, "/s/Write").request_deserializer is not bytes.decode
    assert handler_for(admission, "/grpc.health.v1.Health/Check").request_deserializer is bytes.decode
    leave.set()
    lane.shutdown()


def test_streams_have_lanes_too() -> None:
    lane, leave = Lane("streams", 1, 0), threading.Event()
    admission = Admission({"/s/Stream": lane}, refusal)
    parsed = grpc.unary_stream_rpc_method_handler(lambda request, context: iter(request), bytes.decode, str.encode)
    details: Any = Details("/s/Stream")
    admitted: Any = admission.intercept_service(lambda _: parsed, details)
    assert admitted.unary_stream.experimental_thread_pool is lane

    lane.submit(leave.wait, 10)
    refused: Any = admission.intercept_service(lambda _: parsed, details)
    assert refused.unary_stream is not None
    assert refused.request_deserializer is not bytes.decode
    leave.set()
    lane.shutdown()
