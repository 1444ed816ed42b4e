"""`python -m benchmarks.gateway`: microseconds of processor that a request costs the gateway, by part.

A part's cost is the difference that it makes: the whole is run with the part, and with a stand-in that does nothing in
its place, in turns; the least of several rounds counts, for whatever else runs on the machine only adds.
"""

import argparse
import asyncio
import cProfile
import dataclasses
import pstats
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvloop

from benchmarks.gateway.stack import application, bodies, headers_of
from services.gateway.access import Access, Caller
from services.gateway.app import Application
from services.gateway.command import Level, parse_body
from services.gateway.commands import COMMANDS
from services.gateway.exchange import Request
from services.gateway.http.body import Body
from services.gateway.http.connections import Serving
from services.gateway.http.http1 import Http1Connection
from services.gateway.observation import Observation, observe
from services.gateway.observer import Observer
from services.gateway.settings import HttpSettings
from services.runtime.roles import Role

#: So many requests are answered, then the event loop has its turn, as with so many callers.
_AT_ONCE = 32
PATH = "/v1/default_keyspace/books"

Send = Callable[[], Awaitable[int]]
Reach = Callable[[Application, bytes], Awaitable[Send]]


class _NoAccess:
    """Lets everybody in."""

    def __init__(self, access: Access) -> None:
        self.audit, self.default = access.audit, access.default
        self._caller = Caller("", "", Role.ADMIN, access.default, "")

    async def admit(self, *_: Any) -> Caller:
        return self._caller


class _NoObserver:
    """Notes nothing."""

    def began(self, *_: Any) -> Observation:
        observed = Observation()
        observe(observed)
        return observed

    def answered(self, *_: Any) -> None:
        return

    def finished(self, *_: Any) -> None:
        return


async def _directly(application: Application, body: bytes) -> Send:
    """Return what has a request answered as it is handed over from memory, and returns the status."""
    headers, settings = headers_of(body), HttpSettings()
    by_name = dict(headers)

    async def send() -> int:
        whole = Body(settings, len(body), False, lambda: None)
        whole.feed(body)
        whole.end()
        request = Request("POST", PATH, PATH, whole, headers=by_name, every_header=headers)
        return (await application(request)).status

    return send


async def _over_http(application: Application, body: bytes) -> Send:
    """Return what has a request answered as it comes from a socket, and returns the status."""
    connection = Http1Connection(Serving(application, HttpSettings(), ended=lambda: None))
    caller = _Caller()
    connection.connection_made(caller)
    head = b"".join(b"%s: %s\r\n" % header for header in headers_of(body))
    request = b"POST %s HTTP/1.1\r\n%s\r\n%s" % (PATH.encode(), head, body)

    async def send() -> int:
        answer = caller.answer = asyncio.get_running_loop().create_future()
        connection.data_received(request)
        return int((await answer)[9:12])

    return send


class _Caller(asyncio.Transport):
    """The other end of a connection, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: asyncio.Future[bytes] | None = None

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        assert self.answer is not None
        self.answer.set_result(data)


def stacks() -> dict[str, tuple[Reach, Application]]:
    """Return the whole, and the whole without one part and without them all, by name."""
    whole = application()
    access: Any = {"access": cast("Access", _NoAccess(whole.access))}
    observer: Any = {"observer": cast("Observer", _NoObserver())}
    return {
        "whole": (_over_http, whole),
        "http": (_directly, whole),
        "access": (_over_http, dataclasses.replace(whole, **access)),
        "observer": (_over_http, dataclasses.replace(whole, **observer)),
        "all three": (_directly, dataclasses.replace(whole, **access, **observer)),
    }


async def answer(stack: tuple[Reach, Application], body: bytes, requests: int) -> float:
    """Answer a request so many times and return the seconds of processor that each took."""
    reach, application = stack
    send = await reach(application, body)
    statuses: set[int] = set()
    started = time.process_time()
    for number in range(requests):
        statuses.add(await send())
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    took = time.process_time() - started
    assert statuses == {200}, statuses
    return took / requests


def _parse(body: bytes, requests: int) -> float:
    limits = application().limits
    started = time.process_time()
    for _ in range(requests):
        parse_body(body, Level.COLLECTION, COMMANDS, limits)
    return (time.process_time() - started) / requests


def measure(requests: int, rounds: int) -> None:
    """Print a table of microseconds."""
    for kind, body in bodies().items():
        there = stacks()
        least = dict.fromkeys(there, float("inf"))
        parsing = float("inf")
        for _ in range(rounds):
            for name, stack in there.items():
                least[name] = min(least[name], uvloop.run(answer(stack, body, requests // rounds)))
            parsing = min(parsing, _parse(body, requests // rounds))
        whole = least.pop("whole")
        print(f"{kind}, body of {len(body)} bytes: {whole * 1e6:.1f} us")
        for name, without in least.items():
            print(f"  {name:10} {(whole - without) * 1e6:7.1f}")
        print(f"  {'parsing':10} {parsing * 1e6:7.1f}")


def profile(requests: int, shown: int) -> None:
    """Print where the time of the whole goes."""
    for kind, body in bodies().items():
        print(kind)
        stack = stacks()["whole"]
        profiler = cProfile.Profile(time.process_time)
        run: Callable[..., Any] = uvloop.run
        profiler.runcall(run, answer(stack, body, requests))
        pstats.Stats(profiler).sort_stats("tottime").print_stats(shown)


def main() -> None:
    """Measure, or profile with `--profile`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000, help="of each kind and stack")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    given = parser.parse_args()
    if given.profile:
        profile(given.requests, 45)
    else:
        measure(given.requests, given.rounds)


if __name__ == "__main__":
    main()
