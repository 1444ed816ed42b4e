"""A collection of the live server, and the commands that load it, export it and import it."""

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.live import Orrery

DIMENSION = 16
SERVICE = {"provider": "deterministic", "modelName": "hash"}


@dataclass
class Target:
    """One collection of a live server."""

    server: Orrery
    name: str = field(default_factory=lambda: f"c_{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.http = httpx.Client(
            base_url=self.server.url, headers={"Token": self.server.token}, timeout=60, trust_env=False
        )

    def command(self, command: str, /, *, at: str | None = None, **members: Any) -> dict[str, Any]:
        """Run a command on the collection, or on the keyspace (`at` empty)."""
        path = "/v1/default_keyspace" + (f"/{self.name}" if at is None else at)
        answer: dict[str, Any] = self.http.post(path, json={command: members}).json()
        return answer

    def create(self, vector: dict[str, Any] | None = None, **options: Any) -> "Target":
        """Create the collection, one that embeds unless told otherwise."""
        given = {"dimension": DIMENSION, "metric": "cosine", "service": SERVICE} if vector is None else vector
        body = {**options, **({"vector": given} if given else {})}
        assert self.command("createCollection", at="", name=self.name, options=body) == {"status": {"ok": 1}}
        return self

    def drop(self) -> None:
        self.command("deleteCollection", at="", name=self.name)

    def documents(self) -> list[dict[str, Any]]:
        """Return every document with all its members."""
        found: list[dict[str, Any]] = []
        options: dict[str, Any] = {}
        while True:
            data = self.command("find", projection={"*": 1}, options=options)["data"]
            found += data["documents"]
            if data["nextPageState"] is None:
                return found
            options = {"pageState": data["nextPageState"]}

    def text(self) -> str:
        """Return the first page as the bytes that clients see, for comparing."""
        body = {"find": {"projection": {"*": 1}}}
        return self.http.post(f"/v1/default_keyspace/{self.name}", json=body).text

    def run(
        self, *arguments: str | Path, collection: bool = True, stdin: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `orrery` with the server's endpoint, data directory and token."""
        return subprocess.run(
            self.line(*arguments, collection=collection),
            env=self.environment(**environment),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def line(self, *arguments: str | Path, collection: bool = True) -> list[str]:
        """Return the command line."""
        named = ["--collection", self.name] if collection else []
        place = ["--endpoint", self.server.url, "--data-dir", str(self.server.data_dir)]
        return [sys.executable, "-m", "services.cli", *map(str, arguments), *named, *place]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables of a command; the token is among them, so that it is in no list of processes."""
        return {**os.environ, "ORRERY_TOKEN": self.server.token, **more}
