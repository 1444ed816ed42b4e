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
from collections.abc import Callable, Mapping
from typing import Any, cast

from benchmarks.gateway.stack import application, bodies, scope_of
from services.gateway.access import Access, Caller
from services.gateway.app import Application
from services.gateway.body import Body, Deadlines, Receive
from services.gateway.command import Level, parse_body
from services.gateway.commands import COMMANDS
from services.gateway.connections import Connections
from services.gateway.exchange import Request
from services.gateway.guard import Asgi, Guard, Scope, Send
from services.gateway.observation import Observation, observe
from services.gateway.observer import Observer
from services.gateway.settings import HttpSettings
from services.runtime.roles import Role

#: So many requests are answered, then the event loop has its turn, as with so many callers.
_AT_ONCE = 32


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


def _unguarded(application: Application) -> Asgi:
    """Return what takes every request as it is."""
    settings, deadlines = HttpSettings(), Deadlines(1.0)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request = Request(
            method=scope["method"],
            path=scope["path"],
            raw_path=scope["raw_path"].decode(),
            body=Body(receive, headers, settings, deadlines),
            headers=headers,
            every_header=scope["headers"],
        )
        response = await application(request)
        await send({"status": response.status})

    return answer


def stacks() -> dict[str, Asgi]:
    """Return the whole application, and the whole without one part and without them all, by name."""
    whole = application()
    access: Any = {"access": cast("Access", _NoAccess(whole.access))}
    observer: Any = {"observer": cast("Observer", _NoObserver())}

    def guarded(inner: Application) -> Guard:
        return Guard(inner, HttpSettings(), Connections(8181, 75.0))

    return {
        "whole": guarded(whole),
        "guard": _unguarded(whole),
        "access": guarded(dataclasses.replace(whole, **access)),
        "observer": guarded(dataclasses.replace(whole, **observer)),
        "all three": _unguarded(dataclasses.replace(whole, **access, **observer)),
    }


async def answer(stack: Asgi, body: bytes, requests: int) -> float:
    """Answer a request so many times and return the seconds of processor that each took."""
    scope = scope_of(body)
    event = {"type": "http.request", "body": body, "more_body": False}
    statuses: set[int] = set()

    async def receive() -> Mapping[str, Any]:
        return event

    async def send(sent: dict[str, Any]) -> None:
        if "status" in sent:
            statuses.add(sent["status"])

    started = time.process_time()
    for number in range(requests):
        await stack(scope, receive, send)
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
                least[name] = min(least[name], asyncio.run(answer(stack, body, requests // rounds)))
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
        run: Callable[..., Any] = asyncio.run
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
