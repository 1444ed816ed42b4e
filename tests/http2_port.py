"""A port that speaks nothing but HTTP/2, in the event loop of a test, and applications behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps

import uvloop

from services.gateway.exchange import Request, Respond, Response
from services.gateway.http.connections import Serving
from services.gateway.http.http2 import Http2Connection
from services.gateway.settings import HttpSettings
from tests.http2_caller import PATIENCE

MB = 1024 * 1024
LIMIT = 20 * MB


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - of what is under test, nothing tells when it changes
            await asyncio.sleep(0.01)


class Port:
    """A port that speaks nothing but HTTP/2 with prior knowledge."""

    def __init__(self, application: Respond, settings: HttpSettings) -> None:
        self.serving = Serving(application, settings, lambda: None)
        self.number = 0
        self.made: list[Http2Connection] = []
        self.problems: list[str] = []

    @property
    def connection(self) -> Http2Connection:
        """The connection that was made last."""
        return self.made[-1]

    def make(self) -> Http2Connection:
        self.made.append(Http2Connection(self.serving))
        return self.made[-1]

    def look(self, seconds: float) -> None:
        """Have the connections look for what takes too long, so many seconds from now."""
        for connection in tuple(self.serving.connections):
            connection.look(time.monotonic() + seconds)

    async def none_left(self) -> None:
        """Return when every connection has closed."""
        await until(lambda: not self.serving.connections)


@asynccontextmanager
async def port(application: Respond, **settings: float) -> AsyncIterator[Port]:
    made = Port(application, HttpSettings(**settings))  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: made.problems.append(str(context)))
    server = await loop.create_server(made.make, "127.0.0.1", 0)
    made.number = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for connection in tuple(made.serving.connections):
            connection.abort()
    await made.none_left()
    assert not made.problems


def scenario(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a test in the event loop of the gateway."""

    @wraps(test)
    def run(*arguments: object, **named: object) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*arguments, **named))

    return run


async def echo(request: Request) -> Response:
    return Response(200, await request.body.read(LIMIT), ((b"x-method", request.method.encode()),))


async def refuse(request: Request) -> Response:
    return Response(401, b"no" * 1000)


def large(length: int) -> Respond:
    async def respond(request: Request) -> Response:
        return Response(200, b"x" * length)

    return respond


class Held:
    """An application whose answers wait until they may go; `begun` and `done` have the paths of the requests."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.done: list[str] = []

    async def __call__(self, request: Request) -> Response:
        self.begun.append(request.path)
        body = await request.body.read(LIMIT)
        await self.go.wait()
        self.done.append(request.path)
        return Response(200, body)

    async def has_begun(self, number: int) -> None:
        await until(lambda: len(self.begun) >= number)

    async def has_done(self, number: int) -> None:
        await until(lambda: len(self.done) >= number)
