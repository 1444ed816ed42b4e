"""A client of a live server for tests: raw commands in, answers out."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx


@dataclass
class Api:
    """Sends commands to a live server with its token; `collection` names the one a test works on."""

    url: str
    token: str
    keyspace: str = "default_keyspace"
    collection: str = ""
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @property
    def host(self) -> str:
        return str(urlsplit(self.url).hostname)

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 80)

    def raw(self, path: str, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        """Post a body as it is."""
        sent = {"Token": self.token, "Content-Type": "application/json", **(headers or {})}
        if isinstance(body, bytes):
            return self.http.post(path, content=body, headers=sent)
        return self.http.post(path, json=body, headers=sent)

    def at_database(self, command: str, /, **members: Any) -> dict[str, Any]:
        """Run a command of the database level."""
        return self._json("/v1", command, members)

    def at_keyspace(self, command: str, /, **members: Any) -> dict[str, Any]:
        """Run a command of the keyspace level."""
        return self._json(f"/v1/{self.keyspace}", command, members)

    def run(self, command: str, /, headers: dict[str, str] | None = None, **members: Any) -> dict[str, Any]:
        """Run a command on the collection."""
        return self._json(f"/v1/{self.keyspace}/{self.collection}", command, members, headers)

    def _json(
        self, path: str, name: str, members: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        response = self.raw(path, {name: members}, headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


def error_code(answer: httpx.Response | dict[str, Any]) -> str:
    """Return the code of the one error of an answer."""
    body = answer.json() if isinstance(answer, httpx.Response) else answer
    (error,) = body["errors"]
    return str(error["errorCode"])
