"""What is called: servers that a run starts for itself, or a deployment that it is aimed at."""

import secrets
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.embedder.contenders import start_provider, store_key
from benchmarks.load.bodies import DIMENSION, load_commands
from benchmarks.load.cases import Service
from benchmarks.processes import Processes
from benchmarks.store.clients import CallFailedError
from benchmarks.store.clients.http import Http
from benchmarks.store.servers import OrreryServer

#: How long a call may take, by HTTP as by RPC.
CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: who may have signed the server's certificate, and the caller's own certificate and key."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Target:
    """Where the services are, and what they ask of a caller."""

    title: str
    http: str
    """URL of the gateway, without a path."""
    token: str = field(repr=False)
    store: str | None = None
    """A gRPC target, such as `unix:/run/store.sock` or `dns:///store:7070`; None where it cannot be reached."""
    embedder: str | None = None
    database: str = "default"
    keyspace: str = "default_keyspace"
    certificates: Certificates | None = None
    """For mutual TLS with the RPC services; None: without TLS."""
    http_authority: Path | None = None
    """A PEM file of who signed the gateway's certificate, where the system does not know."""
    embedding_service: dict[str, Any] | None = None
    """The `Service` that the embedder of a deployment is asked with, in the JSON of protobuf; None: it is not asked."""
    pid: int | None = None
    """The process that started all servers; None for a deployment."""

    def address(self, service: Service) -> str | None:
        """Return where a service is called; None where it cannot be."""
        return {"gateway": self.http, "store": self.store, "embedder": self.embedder}[service]

    def connection(self) -> Http:
        """Return a way to send commands to the gateway."""
        context = None if self.http_authority is None else ssl.create_default_context(cafile=self.http_authority)
        return Http(self.http, {"Token": self.token}, CALL_SECONDS, context)


@contextmanager
def own_servers(logs: Path) -> Iterator[Target]:
    """Start `orrery up` and the provider it asks, in temporary folders on free ports. Raises `StartError`."""
    with Processes(logs) as processes:
        key = f"sk-load-{secrets.token_hex(8)}"
        provider_url, _ = start_provider(processes, key)
        server = OrreryServer(
            processes,
            {"ORRERY_ALLOW_PROVIDERS": "deterministic", "ORRERY_PROVIDER_OPENAI_URL": f"{provider_url}/v1/embeddings"},
        )
        server.start()
        store_key(processes, server.rpc("embedder"), key)
        up = server.target("orrery-http")
        yield Target(
            "`orrery up` on this machine: the gateway on loopback, the RPC services on Unix sockets",
            up.address,
            up.token,
            server.rpc("store"),
            server.rpc("embedder"),
            pid=server.pid,
        )


class Collections:
    """Makes collections of names that no one else has, and drops those it made."""

    def __init__(self, target: Target) -> None:
        self._keyspace = target.keyspace
        self._http = target.connection()
        self._made: list[str] = []

    async def __aenter__(self) -> "Collections":
        await self._http.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for name in list(self._made):
                await self.drop(name)
        finally:
            await self._http.close()

    async def make(self, commands: Sequence[bytes] = ()) -> str:
        """Make a collection of vectors, run commands in it, and return its name. Raises `CallFailedError`."""
        name = f"load_{secrets.token_hex(6)}"
        vector = {"dimension": DIMENSION, "metric": "cosine"}
        await self._command("", {"createCollection": {"name": name, "options": {"vector": vector}}})
        self._made.append(name)
        for command in commands:
            await self._send(name, command)
        return name

    async def make_loaded(self) -> str:
        """Make a collection with all documents, and return its name. Raises `CallFailedError`."""
        return await self.make(load_commands())

    async def count(self, name: str) -> int:
        """Return how many documents a collection has. Raises `CallFailedError`."""
        answer = msgspec.json.decode(await self._command(name, {"estimatedDocumentCount": {}}))
        return int(answer["status"]["count"])

    async def drop(self, name: str) -> None:
        """Drop a collection. Raises `CallFailedError`."""
        await self._command("", {"deleteCollection": {"name": name}})
        self._made.remove(name)

    async def _command(self, collection: str, command: dict[str, Any]) -> bytes:
        return await self._send(collection, msgspec.json.encode(command))

    async def _send(self, collection: str, body: bytes) -> bytes:
        answer = await self._http.send(command_path(self._keyspace, collection), body)
        check_answer(answer)
        return answer


def command_path(keyspace: str, collection: str = "") -> str:
    """Return the path of a keyspace's commands or of a collection's."""
    return f"/v1/{keyspace}{'/' if collection else ''}{collection}"


def check_answer(answer: bytes) -> None:
    """Raise `CallFailedError` for the answer of a command that failed."""
    # An error comes with status 200. The bytes cannot be in a document: there its quotes would be escaped.
    if b'"errors":[{' in answer:
        raise CallFailedError(answer[:200].decode(errors="replace"))
