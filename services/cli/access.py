"""How commands reach the store's databases and tokens, and print them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from orrery.store.v1 import access_pb2_grpc

from services.cli.store import running_store


def call_access(data_dir: Path, address: str | None, method: str, request: object, *, seconds: float = 10.0) -> Any:
    """Call an RPC of a running store's `AccessService`; raises the catalogue's error or `ConnectionError`."""
    call: Callable[[grpc.Channel], Any] = lambda channel: getattr(  # noqa: E731
        access_pb2_grpc.AccessServiceStub(channel), method
    )
    return running_store(data_dir, address).call(call, request, seconds=seconds)


def shown_time(timestamp: Timestamp) -> str:
    """Return a time as people read it, in UTC."""
    return timestamp.ToDatetime().isoformat(timespec="seconds") + "Z"
