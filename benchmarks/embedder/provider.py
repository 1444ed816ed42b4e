"""A provider that answers embedding requests after a fixed time, up to a fixed number a minute, and counts them.

A process of its own: `python -m benchmarks.embedder.provider --key KEY` prints the port of 127.0.0.1 that it took.
It speaks the wire format of OpenAI at `POST /v1/embeddings`. `POST /_settings` sets latency and limit and zeroes the
counts, `GET /_counts` gives them. One event loop and hand-made HTTP/1.1 keep it cheaper than whoever calls it.
"""

import argparse
import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, cast

from benchmarks.embedder.vectors import DIMENSION, as_base64, as_numbers


@dataclass
class Counts:
    """What came since the settings were last made."""

    requests: int = 0
    """Embedding requests, the refused ones among them."""
    refused: int = 0
    """Requests over the limit, answered with 429."""
    invalid: int = 0
    """Requests with a wrong key, path or body."""
    texts: int = 0
    """Texts that were embedded."""
    largest_batch: int = 0
    """Most texts of one request."""
    most_at_once: int = 0
    """Most requests in work at a time."""
    answered: int = 0
    """Requests whose vectors were sent."""
    held_seconds: float = 0.0
    """Time between the arrival of a request and its vectors, summed over those."""


@dataclass
class State:
    """Settings and counts of the provider; `requests_per_minute` is 0 for no limit."""

    key: str
    latency_seconds: float = 0.02
    requests_per_minute: float = 0.0
    counts: Counts = field(default_factory=Counts)
    in_work: int = 0
    _tokens: float = 0.0
    _refilled: float = 0.0

    def set(self, latency_seconds: float, requests_per_minute: float) -> None:
        """Change how requests are answered, and count from zero."""
        self.latency_seconds, self.requests_per_minute = latency_seconds, requests_per_minute
        self._tokens, self._refilled = self._burst, time.perf_counter()
        self.counts = Counts()

    @property
    def _burst(self) -> float:
        """Requests that may come at once: what the limit allows in a second."""
        return max(1.0, self.requests_per_minute / 60)

    def seconds_over_limit(self) -> float:
        """Take one request from the limit; return 0, or the seconds until there is one to take."""
        if not self.requests_per_minute:
            return 0.0
        now, rate = time.perf_counter(), self.requests_per_minute / 60
        self._tokens = min(self._burst, self._tokens + (now - self._refilled) * rate)
        self._refilled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / rate


def _response(status: int, body: bytes, headers: str = "") -> bytes:
    reason = HTTPStatus(status).phrase
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def _error(status: int, message: str, headers: str = "") -> bytes:
    body = {"error": {"message": message, "type": "benchmark", "param": None, "code": str(status)}}
    return _response(status, json.dumps(body).encode(), headers)


def _answer(texts: list[str], model: str, encoding: str) -> bytes:
    encode = as_base64 if encoding == "base64" else as_numbers
    data = ",".join(
        f'{{"object":"embedding","index":{at},"embedding":{encode(text)}}}' for at, text in enumerate(texts)
    )
    tokens = sum(text.count(" ") + 1 for text in texts)
    usage = f'{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
    return _response(200, f'{{"object":"list","data":[{data}],"model":{json.dumps(model)},"usage":{usage}}}'.encode())


class Connection(asyncio.Protocol):
    """One connection of HTTP/1.1: a request is answered before the next one is read."""

    def __init__(self, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self._state = state
        self._loop = loop
        self._buffer = bytearray()
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer nothing any more."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Collect a request."""
        self._buffer += data
        if not self._busy:
            self._read()

    def _read(self) -> None:
        arrived = time.perf_counter()
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        line, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in lines)}
        length = int(headers.get("content-length", "0"))
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        method, path, _ = line.split(" ", 2)
        if (method, path) == ("POST", "/v1/embeddings"):
            self._embed(arrived, headers.get("authorization", ""), body)
        elif (method, path) == ("POST", "/_settings"):
            self._state.set(**json.loads(body))
            self._send(_response(200, b"{}"))
        elif (method, path) == ("GET", "/_counts"):
            self._send(_response(200, json.dumps(asdict(self._state.counts)).encode()))
        else:
            self._state.counts.invalid += 1
            self._send(_error(404, f"there is no {method} {path}"))

    def _embed(self, arrived: float, authorization: str, body: bytes) -> None:
        state, counts = self._state, self._state.counts
        counts.requests += 1
        wait = state.seconds_over_limit()
        if wait:
            counts.refused += 1
            self._send(_error(429, "too many requests", f"Retry-After: {math.ceil(wait)}\r\n"))
            return
        try:
            answer, size = _embeddings(json.loads(body))
        except ValueError as problem:
            answer, size = _error(400, str(problem)), 0
        if authorization != f"Bearer {state.key}":
            answer, size = _error(401, "wrong key"), 0
        if not size:
            counts.invalid += 1
            self._send(answer)
            return
        counts.texts += size
        counts.largest_batch = max(counts.largest_batch, size)
        state.in_work += 1
        counts.most_at_once = max(counts.most_at_once, state.in_work)
        self._busy = True
        # The time for making the answer is part of the latency, not on top of it.
        left = state.latency_seconds - (time.perf_counter() - arrived)
        self._loop.call_later(max(0.0, left), self._finish, arrived, answer)

    def _finish(self, arrived: float, answer: bytes) -> None:
        self._state.in_work -= 1
        self._state.counts.answered += 1
        self._state.counts.held_seconds += time.perf_counter() - arrived
        self._busy = False
        self._send(answer)
        if self._buffer:
            self._read()

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)


def _embeddings(body: dict[str, Any]) -> tuple[bytes, int]:
    """Return the answer to a request's body, and how many texts it has. Raises `ValueError`."""
    texts = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("`input` must be texts")
    if len(texts) > 2048:
        raise ValueError("more than 2048 texts")
    if body.get("dimensions") != DIMENSION:
        raise ValueError(f"`dimensions` must be {DIMENSION}")
    return _answer(texts, str(body.get("model")), body.get("encoding_format", "float")), len(texts)


async def _serve(state: State, announce: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state, loop), "127.0.0.1", 0, backlog=1024)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", required=True, help="the key that requests must have")
    key = parser.parse_args().key
    try:
        import uvloop
    except ModuleNotFoundError:
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    else:
        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(State(key), lambda port: print(port, flush=True)))


if __name__ == "__main__":
    main()
