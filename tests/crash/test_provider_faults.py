"""A provider that fails, stalls and recovers at random under load: callers get the right vectors or a named error.

ORRERY_FAULT_SECONDS sets how long the load lasts.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from orrery.embedder.v1 import embedder_pb2 as pb
from orrery.embedder.v1 import embedder_pb2_grpc

from services.runtime.rpc import error_from_call
from tests.live import free_port
from tests.upstream.unsteady import DIMENSION, vector_of

SECONDS = float(os.environ.get("ORRERY_FAULT_SECONDS", "12"))
CALLERS = 48
#: A call is over this much after its deadline, at most.
LATE_SECONDS = 0.1
SERVICE = pb.Service(provider="openai", model="text-embedding-3-small", dimension=DIMENSION)
SECRETS = pb.RequestSecrets(api_key="sk-unsteady-5f21")


@pytest.fixture
def embedder(tmp_path: Path) -> Iterator[tuple[str, str, int]]:
    """An embedder in front of an unsteady provider: its address, that of its metrics, and its process."""
    provider = subprocess.Popen([sys.executable, "-m", "tests.upstream.unsteady"], stdout=subprocess.PIPE, text=True)
    assert provider.stdout is not None
    port = int(provider.stdout.readline())
    address, metrics = f"unix:{tmp_path}/e.sock", f"127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "ORRERY_PROVIDER_OPENAI_URL": f"http://127.0.0.1:{port}/v1/embeddings",
        "ORRERY_EMBEDDER_METRICS": metrics,
        "ORRERY_EMBEDDER_REQUESTS_READ_SECONDS": "1",
        "ORRERY_EMBEDDER_BREAKER_FIRST_SECONDS": "0.2",
    }
    command = ["-m", "services.cli", "embedder", "--data-dir", str(tmp_path), "--listen", address]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], env=environment, stderr=log)
    yield address, f"http://{metrics}/metrics", process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    provider.terminate()
    provider.wait(10)
    assert "sk-unsteady-5f21" not in (tmp_path / "log").read_text()
    assert "unexpected error" not in (tmp_path / "log").read_text()


def resident_megabytes(pid: int) -> float:
    """Return the memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def caller(stub: Any, number: int, until: float, ends: Counter[str]) -> None:
    """Embed texts until the end, checking every answer; texts come again, and deadlines are short and long."""
    chosen = random.Random(number)
    while time.monotonic() < until:
        texts = [f"text {chosen.randrange(3000)}" for _ in range(chosen.choice([1, 1, 1, 2, 5, 40]))]
        seconds = chosen.uniform(0.2, 4)
        request = pb.EmbedRequest(
            database=f"d{number % 3}", service=SERVICE, request_secrets=SECRETS, texts=texts, skip_cache=number % 2 == 0
        )
        started = time.monotonic()
        try:
            answer = await stub.Embed(request, timeout=seconds)
        except grpc.aio.AioRpcError as failure:
            error = error_from_call(failure)
            ends[error.code if error is not None else failure.code().name] += 1
            # A caller that is told at once is not to ask again at once.
            await asyncio.sleep(0.02)
        else:
            ends["OK"] += 1
            vectors = np.frombuffer(answer.vectors, "<f4").reshape(len(texts), DIMENSION)
            assert np.array_equal(vectors, np.array([vector_of(text) for text in texts]))
        assert time.monotonic() - started < seconds + LATE_SECONDS


@pytest.mark.timeout(SECONDS + 90)
def test_callers_get_the_right_vectors_or_a_named_error(embedder: tuple[str, str, int]) -> None:
    address, metrics, pid = embedder
    ends: Counter[str] = Counter()

    async def load() -> float:
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.channel_ready()
            stub: Any = embedder_pb2_grpc.EmbedderServiceStub(channel)
            before = resident_megabytes(pid)
            until = time.monotonic() + SECONDS
            await asyncio.gather(*(caller(stub, number, until, ends) for number in range(CALLERS)))
            return resident_megabytes(pid) - before

    grown = asyncio.run(load())

    assert ends["OK"] > 0.5 * ends.total()
    # Every failure has a code of the catalogue; a deadline that the embedder itself could not meet is a rare thing.
    assert ends["DEADLINE_EXCEEDED"] < 0.02 * ends.total()
    allowed = {"OK", "DEADLINE_EXCEEDED"}
    assert all(code in allowed or code.startswith("EMBEDDING_") for code in ends)
    assert grown < 60
    for _ in range(100):
        if "orrery_embedder_queued_texts 0.0" in httpx.get(metrics, trust_env=False).text:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("texts wait that nobody waits for")
