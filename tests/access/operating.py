"""What an operator does with databases and tokens, by RPC, and a client of one database."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
from orrery.store.v1 import access_pb2 as pb
from orrery.store.v1 import access_pb2_grpc

from services.runtime.addresses import socket_address
from tests.live import Orrery

WAIT_SECONDS = 30


class Operator:
    """Calls the access RPCs of a live server: quicker than a command, and what tools are to use."""

    def __init__(self, server: Orrery) -> None:
        self.server = server
        self._channel = grpc.insecure_channel(socket_address(server.data_dir, "store"))
        self._access: Any = access_pb2_grpc.AccessServiceStub(self._channel)

    def create(self, name: str, *keyspaces: str) -> str:
        """Create a database and return its id."""
        request = pb.CreateDatabaseRequest(name=name, keyspaces=keyspaces)
        return str(self._access.CreateDatabase(request, timeout=30).database.id)

    def begin_drop(self, name: str) -> None:
        """Drop a database as a command does that is killed before it has finished."""
        self._access.DropDatabase(pb.DropDatabaseRequest(name=name), timeout=30)

    def names(self) -> list[str]:
        """Return the names of all databases, those among them that are being dropped."""
        listed = self._access.ListDatabases(pb.ListDatabasesRequest(), timeout=30).databases
        return [item.database.name for item in listed]

    def dropping(self) -> list[str]:
        """Return the names of the databases that are being dropped."""
        listed = self._access.ListDatabases(pb.ListDatabasesRequest(), timeout=30).databases
        return [item.database.name for item in listed if item.database.dropping]

    def drop(self, name: str) -> None:
        """Drop a database and wait until its name is free."""
        self.begin_drop(name)
        eventually(lambda: name not in self.names())

    def token(self, *databases: str, role: str = "admin", rate: float | None = None) -> str:
        """Make a token for some databases, or for all, and return what is sent."""
        request = pb.CreateTokenRequest(
            name="test",
            role=pb.Role.Value(f"ROLE_{role.upper()}"),
            all_databases=not databases,
            databases=databases,
            requests_per_second=rate,
        )
        return str(self._access.CreateToken(request, timeout=30).secret)

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        self._access.RevokeToken(pb.RevokeTokenRequest(id=token.split(":")[1]), timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


@dataclass
class Client:
    """Sends commands to a host name of a live server, with a token; `address` is the local one to send from."""

    url: str
    host: str
    token: str
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        transport = httpx.HTTPTransport(local_address=self.address)
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False, transport=transport)

    def send(self, path: str, command: dict[str, Any], **headers: str) -> httpx.Response:
        """Post a command, or a whole body."""
        port = urlsplit(self.url).port
        sent = {"Host": f"{self.host}:{port}", "Token": self.token}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, json=command, headers=sent)

    def answer(self, path: str, command: dict[str, Any], **headers: str) -> dict[str, Any]:
        """Return the answer to a command that is let in."""
        response = self.send(path, command, **headers)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def code(self, path: str, command: dict[str, Any], **headers: str) -> str:
        """Return the code of the one error of an answer, empty where it has none."""
        errors = self.send(path, command, **headers).json().get("errors", [])
        assert len(errors) <= 1
        return str(errors[0]["errorCode"]) if errors else ""

    def keyspaces(self) -> list[str]:
        """Return what findKeyspaces finds."""
        return list(self.answer("/v1", {"findKeyspaces": {}})["status"]["keyspaces"])


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)
