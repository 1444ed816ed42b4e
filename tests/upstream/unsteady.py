"""A provider of OpenAI's format that fails, stalls and recovers at random; its vectors are made of the texts.

python -m tests.upstream.unsteady --seed 1        prints its port and serves until it is ended
"""

import argparse
import asyncio
import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

DIMENSION = 64
#: What it does for a while, and how much of what is asked then goes wrong.
MOODS = {"well": 0.02, "shaky": 0.3, "overloaded": 0.6, "down": 1.0}


def vector_of(text: str) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """Return the vector of a text, float32[64]."""
    digest = hashlib.shake_256(text.encode()).digest(2 * DIMENSION)
    return (np.frombuffer(digest, "<i2").astype(np.float32) + 0.5) / 32768


class Unsteady:
    """The provider. Moods change every second or so."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.mood = "well"

    async def change(self) -> None:
        """Change the mood now and then, for ever."""
        while True:
            self.mood = self._random.choices(list(MOODS), weights=[6, 3, 2, 1])[0]
            await asyncio.sleep(self._random.uniform(0.3, 1.5))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the caller hung up
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = await reader.readuntil(b"\r\n\r\n")
        lines = asked.decode().split("\r\n")[1:]
        length = next(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
        body = json.loads(await reader.readexactly(length))
        status, headers, content = 200, "", self._vectors(body["input"])
        if self._random.random() < MOODS[self.mood]:
            kind = self._random.choice(["500", "503", "429", "stall", "cut", "hang up", "half", "no json"])
            if kind == "hang up":
                return False
            if kind == "stall":
                await asyncio.sleep(self._random.uniform(0.5, 4))
            if kind in ("500", "503", "429"):
                status, content = int(kind), {"error": {"message": f"it is {self.mood}"}}
                headers = f"Retry-After: {self._random.uniform(0.05, 0.4):.2f}\r\n" if kind == "429" else ""
            if kind == "half":
                content = {"data": content["data"][: len(content["data"]) // 2]}
            if kind in ("cut", "no json"):
                text = json.dumps(content).encode()
                announced = len(text) if kind == "cut" else len(text) // 2
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n".encode() + text[: len(text) // 2]
                )
                await writer.drain()
                return kind == "no json"
        await asyncio.sleep(self._random.uniform(0.005, 0.03))
        text = json.dumps(content).encode()
        writer.write(f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        await writer.drain()
        return True

    @staticmethod
    def _vectors(texts: Sequence[str]) -> dict[str, Any]:
        data = [{"index": at, "embedding": vector_of(text).tolist()} for at, text in enumerate(texts)]
        return {"data": data, "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)}}


async def _main(seed: int) -> None:
    provider = Unsteady(seed)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - what the command is for
    await asyncio.gather(provider.change(), server.serve_forever())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(_main(parser.parse_args().seed))
