"""Which heads are requests, and what becomes of those that fail."""

import asyncio

import pytest

from services.gateway.exchange import Request, Response
from services.gateway.http.body import Body
from services.gateway.http.requests import answer, read_request
from services.gateway.settings import HttpSettings

Headers = list[tuple[bytes, bytes]]
HOST = (b"host", b"a")


def read(target: bytes = b"/", headers: Headers | None = None, host_needed: bool = True) -> Request | None:
    body = Body(HttpSettings(), 0, False, lambda: None)
    return read_request(b"POST", target, [HOST] if headers is None else headers, body, "127.0.0.1", host_needed)


@pytest.mark.parametrize(
    ("headers", "clear"),
    [
        ([HOST, (b"accept", b"x"), (b"accept", b"y")], True),
        ([HOST, HOST], False),
        ([HOST, (b"content-length", b"1"), (b"content-length", b"1")], False),
        ([HOST, (b"accept", b"x"), (b"accept", b"y"), (b"content-type", b""), (b"content-type", b"")], False),
        ([(b"host", b"")], False),
        ([], False),
    ],
)
def test_what_decides_how_a_request_is_read_is_there_once(headers: Headers, clear: bool) -> None:
    assert (read(headers=headers) is not None) is clear


def test_the_first_version_of_http_needs_no_host() -> None:
    assert read(headers=[], host_needed=False) is not None


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "query"),
    [
        (b"/v1/a%2fb%20c?x=%31?y", "/v1/a%2fb%20c", "/v1/a/b c", b"x=%31?y"),
        (b"/v1/%C3%A9/%zz/%ff", "/v1/%C3%A9/%zz/%ff", "/v1/é/%zz/\ufffd", b""),
        (b"http://A/v1?q", "/v1", "/v1", b"q"),
        (b"HTTPS://a", "/", "/", b""),
        (b"http://a?q", "/", "/", b"q"),
    ],
)
def test_a_path_is_there_as_it_was_sent_and_as_it_reads(target: bytes, raw_path: str, path: str, query: bytes) -> None:
    request = read(target)
    assert request is not None
    assert (request.raw_path, request.path, request.query) == (raw_path, path, query)


@pytest.mark.parametrize("target", [b"", b"*", b"a:1", b"v1", b"/a%00", b"/a%0d%0aX:y", b"/a#b", b"http://b/v1"])
def test_a_target_that_is_no_path_or_of_another_host_is_refused(target: bytes) -> None:
    assert read(target) is None


def test_a_fault_of_ours_is_answered_and_told_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async def failing(request: Request) -> Response:
        raise ZeroDivisionError

    response, whole = asyncio.run(answer(failing, read()))

    assert (response.status, whole) == (500, True)
    assert "ZeroDivisionError" in capsys.readouterr().out
