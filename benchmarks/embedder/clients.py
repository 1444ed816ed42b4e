"""How the load asks each contender for vectors. All of them ask for the same thing, and read all of the answer."""

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Protocol

import aiohttp
import grpc
import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from benchmarks.embedder.cases import CREDENTIAL, DATABASE, MODEL, Task
from benchmarks.embedder.vectors import DIMENSION

Vectors = NDArray[np.float32]

#: Requests for one call of those who ask the provider themselves: as many as LiteLLM and Orrery are given.
_ATTEMPTS = 4
_MESSAGE_BYTES = 64 * 1024 * 1024


class CallFailedError(Exception):
    """A call that gave no vectors."""


class Client(Protocol):
    """Asks one contender; used by all callers at once."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors float32[n, d] of some texts. Raises `CallFailedError`."""

    async def close(self) -> None:
        """Close the connections."""


class _Item(msgspec.Struct):
    index: int
    embedding: str


class _Embeddings(msgspec.Struct):
    data: list[_Item]


_decoder = msgspec.json.Decoder(_Embeddings)


def _request(texts: Sequence[str]) -> bytes:
    # Base64 is the smaller and cheaper form; OpenAI's own client asks for it too.
    body = {"model": MODEL, "input": texts, "dimensions": DIMENSION, "encoding_format": "base64"}
    return msgspec.json.encode(body)


def _vectors(body: bytes) -> Vectors:
    try:
        items = _decoder.decode(body).data
    except msgspec.MsgspecError as problem:
        raise CallFailedError(f"unreadable answer: {problem}") from None
    items.sort(key=lambda item: item.index)
    joined = b"".join(base64.b64decode(item.embedding) for item in items)
    return np.frombuffer(joined, "<f4").reshape(len(items), -1)


class _Http:
    """What HTTP clients share: a request, perhaps again when it was refused, and its answer."""

    def __init__(self, task: Task, attempts: int) -> None:
        self._url = task.target
        self._headers = {"Authorization": f"Bearer {task.key}", "Content-Type": "application/json"}
        self._seconds = task.call_seconds
        self._attempts = attempts

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of some texts."""
        deadline = time.monotonic() + self._seconds
        body = _request(texts)
        for attempt in range(1, self._attempts + 1):
            status, retry_after, answer = await self._post(body)
            if status == 200:
                return _vectors(answer)
            pause = float(retry_after or 1)
            if status != 429 or attempt == self._attempts or time.monotonic() + pause > deadline:
                break
            await asyncio.sleep(pause)
        raise CallFailedError(f"HTTP {status}")

    async def _post(self, body: bytes) -> tuple[int, str | None, bytes]:
        raise NotImplementedError


class Httpx(_Http):
    """httpx with its own connection pool: a connection for each caller, the best of the limits that were tried."""

    def __init__(self, task: Task, attempts: int) -> None:
        super().__init__(task, attempts)
        callers = task.case.callers
        limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
        self._client = httpx.AsyncClient(limits=limits, timeout=task.call_seconds, trust_env=False)

    async def _post(self, body: bytes) -> tuple[int, str | None, bytes]:
        try:
            response = await self._client.post(self._url, content=body, headers=self._headers)
        except httpx.HTTPError as problem:
            raise CallFailedError(type(problem).__name__) from None
        return response.status_code, response.headers.get("retry-after"), response.content

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class Aiohttp(_Http):
    """Aiohttp without a limit on connections."""

    def __init__(self, task: Task, attempts: int) -> None:
        super().__init__(task, attempts)
        timeout = aiohttp.ClientTimeout(total=task.call_seconds)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)

    async def _post(self, body: bytes) -> tuple[int, str | None, bytes]:
        try:
            async with self._session.post(self._url, data=body, headers=self._headers) as response:
                return response.status, response.headers.get("retry-after"), await response.read()
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise CallFailedError(type(problem).__name__) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class Orrery:
    """The embedder's RPC, with a stored credential."""

    def __init__(self, task: Task) -> None:
        options = [("grpc.max_receive_message_length", _MESSAGE_BYTES)]
        self._channel = grpc.aio.insecure_channel(task.target, options=options)
        self._stub = embedder_pb2_grpc.EmbedderServiceStub(self._channel)
        self._seconds = task.call_seconds
        self._service = embedder_pb2.Service(
            provider="openai", model=MODEL, dimension=DIMENSION, authentication={"providerKey": CREDENTIAL}
        )

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of some texts."""
        request = embedder_pb2.EmbedRequest(
            database=DATABASE, service=self._service, input_type=embedder_pb2.INPUT_TYPE_INDEX, texts=texts
        )
        try:
            response = await self._stub.Embed(request, timeout=self._seconds)
        except grpc.aio.AioRpcError as problem:
            raise CallFailedError(f"{problem.code().name}: {(problem.details() or '')[:120]}") from None
        return np.frombuffer(response.vectors, "<f4").reshape(-1, response.dimension)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def make_client(task: Task) -> Client:
    """Return the client for a task's contender."""
    if task.speech == "httpx":
        return Httpx(task, _ATTEMPTS)
    if task.speech == "aiohttp":
        return Aiohttp(task, _ATTEMPTS)
    if task.speech == "litellm":
        return Aiohttp(task, 1)  # the proxy asks again itself
    return Orrery(task)
