"""What somebody may send to the HTTP port who has no good intentions, byte by byte."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live import Orrery
from tests.security.sockets import send

#: What idle and slow callers are given in these tests, in seconds; the answer has to come well before `LONG`.
SHORT, LONG = 1.5, 15.0
LIMITS = {
    "ORRERY_GATEWAY_HTTP_IDLE_SECONDS": str(SHORT),
    "ORRERY_GATEWAY_HTTP_BODY_SECONDS": str(SHORT),
    "ORRERY_GATEWAY_HTTP_HEADER_BYTES": "16384",
    "ORRERY_GATEWAY_HTTP_CONNECTIONS": "128",
}
BODY = b'{"findKeyspaces":{}}'


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orrery]:
    with Orrery(tmp_path_factory.mktemp("attacked") / "data", environment=LIMITS) as server:
        yield server


@pytest.fixture
def port(live: Orrery) -> int:
    return int(live.url.rpartition(":")[2])


def head(live: Orrery, *lines: str, path: str = "/v1", host: str = "Host: localhost") -> bytes:
    """The head of a request that would be answered, with further lines."""
    fixed = (f"POST {path} HTTP/1.1", host, f"Token: {live.token}", "Content-Type: application/json")
    return "\r\n".join((*filter(None, fixed), *lines, "", "")).encode("latin-1")


def alive(live: Orrery, port: int) -> bool:
    heard = send(port, head(live, f"Content-Length: {len(BODY)}", "Connection: close") + BODY)
    return heard.statuses == [200] and b"default_keyspace" in heard.content


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"
AS_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def test_the_requests_below_are_answered_without_their_faults(live: Orrery, port: int) -> None:
    assert alive(live, port)
    assert send(port, head(live, CHUNKED, "Connection: close") + AS_CHUNK).statuses == [200]


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ((LENGTH, "Content-Length: 5"), BODY),
        ((f"Content-Length: {len(BODY)}, {len(BODY)}",), BODY),
        ((f"Content-Length: +{len(BODY)}",), BODY),
        ((f"Content-Length: 0x{len(BODY):x}",), BODY),
        (("Content-Length: -1",), BODY),
        (("Content-Length: 99999999999999999999",), BODY),
        (("Transfer-Encoding: identity",), BODY),
        (("Transfer-Encoding: xchunked",), AS_CHUNK),
        (("Transfer-Encoding: chunked, gzip",), AS_CHUNK),
        ((CHUNKED, "Transfer-Encoding: identity"), AS_CHUNK),
        (("Content-Length : 5",), BODY),
        (("X-Folded: a", " b", LENGTH), BODY),
        (("X-Return: a\rContent-Length: 5", LENGTH), BODY),
        (("X-Null: a\0b", LENGTH), BODY),
        (("X-\xe9: a", LENGTH), BODY),
        ((LENGTH, "Host: other"), BODY),
        ((LENGTH, "Token: other"), BODY),
        ((LENGTH, "Content-Type: text/plain"), BODY),
    ],
)
def test_a_request_that_two_readers_could_take_for_two_things_is_refused(
    live: Orrery, port: int, lines: tuple[str, ...], body: bytes
) -> None:
    heard = send(port, head(live, *lines) + body)

    assert heard.statuses in ([400], [401], [413])
    assert heard.closed
    assert b"default_keyspace" not in heard.content


def test_a_request_without_a_host_is_refused(live: Orrery, port: int) -> None:
    assert send(port, head(live, LENGTH, host="") + BODY).statuses == [400]


@pytest.mark.parametrize("lines", [(CHUNKED, "Content-Length: 5"), ("Content-Length: 5", CHUNKED)])
def test_a_request_hidden_behind_another_is_not_answered(live: Orrery, port: int, lines: tuple[str, ...]) -> None:
    """Both lengths: whoever reads the one would take for a request what is a body for who reads the other."""
    heard = send(port, head(live, *lines) + AS_CHUNK + head(live, LENGTH) + BODY)

    assert heard.statuses == [400]
    assert heard.closed


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"-1\r\n",
        b"0x14\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"f" * 17 + b"\r\n",
        b"14\n" + BODY + b"\n0\n\n",
        b"14;" + b"x" * 20_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    ],
)
def test_a_body_in_bad_chunks_is_not_run(live: Orrery, port: int, chunks: bytes) -> None:
    heard = send(port, head(live, CHUNKED) + chunks)

    assert heard.statuses in ([400], [])
    assert heard.closed


def test_half_a_body_is_not_run_though_it_is_a_whole_command(live: Orrery, port: int) -> None:
    creation = b'{"createKeyspace":{"name":"half"}}'
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head(live, f"Content-Length: {len(creation) + 10}") + creation)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LONG)
        while connection.recv(65536):
            pass
    heard = send(port, head(live, f"Content-Length: {len(BODY)}", "Connection: close") + BODY)
    assert b'"default_keyspace"' in heard.content
    assert b'"half"' not in heard.content


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    ],
    ids=["long header", "many headers", "long path"],
)
def test_large_heads_are_refused(port: int, request_head: bytes, status: int) -> None:
    heard = send(port, request_head)

    assert heard.statuses == [status]
    assert heard.closed


def test_a_body_over_the_limit_is_refused_unread(live: Orrery, port: int) -> None:
    assert send(port, head(live, "Content-Length: 999999999")).statuses == [413]


def test_a_connection_that_nobody_uses_is_closed(port: int) -> None:
    begun = {
        "nothing": b"",
        "a byte": b"P",
        "half of HTTP/2": b"PRI * HTTP/2.0\r\n",
        "half a head": b"GET / HTTP/1.1\r\nHost: a\r\nX",
        "a request and no more": b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    }
    with ThreadPoolExecutor(len(begun)) as threads:
        heard = threads.map(lambda content: send(port, content, seconds=LONG), begun.values())
    closed = dict(zip(begun, (each.closed for each in heard), strict=True))

    assert closed == dict.fromkeys(begun, True)


def test_a_connection_that_is_used_stays(live: Orrery, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=LONG) as connection:
        for _ in range(8):
            connection.sendall(head(live, LENGTH) + BODY)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(SHORT / 4)


def test_a_head_that_comes_byte_by_byte_is_given_up(live: Orrery, port: int) -> None:
    request = head(live, LENGTH)
    heard = send(port, *(request[i : i + 1] for i in range(len(request))), pause=SHORT / 4, seconds=LONG)

    assert heard.closed
    assert 200 not in heard.statuses


def test_a_body_that_comes_byte_by_byte_is_given_up(live: Orrery, port: int) -> None:
    heard = send(port, head(live, LENGTH), *(BODY[i : i + 1] for i in range(len(BODY))), pause=SHORT / 4, seconds=LONG)

    assert heard.statuses == [408]
    assert heard.closed


def test_callers_that_take_every_connection_do_not_keep_others_out_for_long(live: Orrery, port: int) -> None:
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(128)]
    try:
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(alive, live, port).result(LONG)
    finally:
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../../etc/passwd",
        "/v1/..%2f..%2f..%2fescaped",
        "/v1/%2e%2e/escaped",
        "/v1/default_keyspace/..%2f..%2fescaped",
        "/v1/default_keyspace/%2fescaped",
        "/v1/default_keyspace/escaped%00",
        "/v1/default_keyspace/escaped%0d%0aX-Injected:%20yes",
        "/v1/default_keyspace/escaped%5c..%5c",
        "/v1/default_keyspace/%c0%ae%c0%ae",
        "/v1/default_keyspace/%zz",
        "/v1//escaped",
    ],
)
@pytest.mark.parametrize("command", ["createCollection", "findOne", "deleteCollection"])
def test_names_in_paths_reach_no_file_and_no_header(live: Orrery, port: int, path: str, command: str) -> None:
    before = files_of(live.data_dir)
    body = json.dumps({command: {"name": "x/../../escaped"} if command != "findOne" else {}}).encode()
    heard = send(port, head(live, f"Content-Length: {len(body)}", "Connection: close", path=path) + body)

    assert len(heard.statuses) == 1
    assert b'"status":{"ok"' not in heard.content
    assert b"root:" not in heard.content
    assert b"x-injected" not in heard.content.partition(b"\r\n\r\n")[0].lower()
    assert files_of(live.data_dir) == before


def files_of(data: Path) -> set[str]:
    """Every file of the data directory's parent, but for those that come and go by themselves."""
    own = ("-wal", "-shm", "-journal", "audit.log")
    return {str(path) for path in data.parent.rglob("*") if not path.name.endswith(own)}


def test_after_all_that_the_gateway_is_well(live: Orrery, port: int) -> None:
    assert alive(live, port)
