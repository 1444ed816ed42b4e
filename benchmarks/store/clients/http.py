"""One way to send a body by HTTP and read the answer, for every contender that speaks it: aiohttp, which is lean."""

import ssl
from collections.abc import Mapping

import aiohttp

from benchmarks.store.clients import CallFailedError

_SHOWN_CHARACTERS = 200


class Http:
    """Connections to one server: as many as are used at once."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], seconds: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """Give a call some seconds; `tls` is what an https server is checked by, if not the system's authorities."""
        self._base_url = base_url
        self._headers = {**headers, "Content-Type": "application/json"}
        self._seconds = seconds
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Begin; connections are made with the first calls."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, path: str, body: bytes = b"", method: str = "POST") -> bytes:
        """Return the answer to a body. Raises `CallFailedError`."""
        assert self._session is not None
        url = self._base_url + path
        try:
            async with self._session.request(method, url, data=body or None, headers=self._headers) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise CallFailedError(type(problem).__name__) from None
        if response.status >= 300:
            raise CallFailedError(f"HTTP {response.status}: {answer[:_SHOWN_CHARACTERS].decode(errors='replace')}")
        return answer
