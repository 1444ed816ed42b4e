"""Databases of a running server, made and dropped by the RPCs of its store and its embedder."""

import sys
from collections.abc import Sequence
from subprocess import run
from typing import Any

import grpc
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from orrery.store.v1 import access_pb2, access_pb2_grpc

_CALL_SECONDS = 30.0
#: What prints the addresses of the services of a data directory: the plugin imports nothing of the services itself.
_ADDRESSES = """
import pathlib, sys
from services.runtime.addresses import socket_address
for service in ("store", "embedder"):
    print(socket_address(pathlib.Path(sys.argv[1]), service))
"""


class Databases:
    """Makes databases, each in the scope of some keys, and drops them."""

    def __init__(self, data_dir: str, environment: dict[str, str]) -> None:
        """Find the services of a data directory, by a process with an environment in which Orrery is found."""
        found = run(  # noqa: S603 - our own program
            [sys.executable, "-c", _ADDRESSES, data_dir], env=environment, capture_output=True, text=True, check=True
        )
        self._store, self._embedder = (grpc.insecure_channel(address) for address in found.stdout.split())
        # The stubs' methods are set on the instance, where the type stubs do not show them.
        self._access: Any = access_pb2_grpc.AccessServiceStub(self._store)
        self._credentials: Any = embedder_pb2_grpc.CredentialServiceStub(self._embedder)

    def create(self, name: str, keys: Sequence[tuple[str, str]]) -> None:
        """Create a database that may use some keys, given by provider and name. Raises `grpc.RpcError`."""
        self._access.CreateDatabase(access_pb2.CreateDatabaseRequest(name=name), timeout=_CALL_SECONDS)
        for provider, key in keys:
            request = embedder_pb2.AddDatabasesRequest(provider=provider, name=key, databases=[name])
            self._credentials.AddDatabases(request, timeout=_CALL_SECONDS)

    def drop(self, name: str) -> None:
        """Drop a database; the gateway takes it out of the keys' scopes. Raises `grpc.RpcError`."""
        self._access.DropDatabase(access_pb2.DropDatabaseRequest(name=name), timeout=_CALL_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._store.close()
        self._embedder.close()
