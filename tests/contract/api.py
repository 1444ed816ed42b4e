"""A client of a live server for tests: raw commands in, answers out."""

import json
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.contract.compatibility import observed


@dataclass
class Api:
    """Sends commands to a live server with its token; `collection` names the one a test works on."""

    url: str
    token: str
    keyspace: str = "default_keyspace"
    collection: str = ""
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False, event_hooks={"response": [_observe]})

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

    def found(self, **members: Any) -> list[Any]:
        """Return the ids of what `find` finds."""
        return [document["_id"] for document in self.run("find", **members)["data"]["documents"]]

    def stored(self, identifier: object = 1, **members: Any) -> Any:
        """Return a document by its `_id`, None where there is none."""
        return self.run("findOne", filter={"_id": identifier}, **members)["data"]["document"]

    def count(self, **members: Any) -> int:
        """Return how many documents `countDocuments` counts."""
        return int(self.run("countDocuments", **members)["status"]["count"])

    def options_of(self, name: str) -> dict[str, Any]:
        """Return the options of a collection as findCollections explains them."""
        listed = self.at_keyspace("findCollections", options={"explain": True})["status"]["collections"]
        (options,) = (item["options"] for item in listed if item["name"] == name)
        return dict(options)

    def _json(
        self, path: str, name: str, members: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        response = self.raw(path, {name: members}, headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


def _observe(response: httpx.Response) -> None:
    """Note a request of a test and its answer; those of fixtures are not what a test is about."""
    test, _, phase = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")
    if phase == "(call)":
        answer = _json_of(response.read())
        observed.add(test, _json_of(response.request.content), response.status_code, answer)


def _json_of(body: bytes) -> Any:
    """Return the JSON of a body, None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def error_code(answer: httpx.Response | dict[str, Any]) -> str:
    """Return the code of the one error of an answer."""
    body = answer.json() if isinstance(answer, httpx.Response) else answer
    (error,) = body["errors"]
    return str(error["errorCode"])
