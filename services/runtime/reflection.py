"""Server reflection that finds methods too, as `ghz` and `grpcurl` ask for them."""

from typing import Any, cast

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection

SERVICE_NAME = reflection.SERVICE_NAME


class _Symbols:
    """The descriptor pool of this process; it knows the symbols of methods beside those of services and messages.

    protobuf's own pool raises `KeyError` for `package.Service.Method`, which the reflection protocol's
    `file_containing_symbol` allows for.
    """

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - protobuf's name
        """Return the file of a symbol. Raises `KeyError` for one that is not there."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file


def enable_reflection(server: grpc.Server | grpc.aio.Server, service_names: tuple[str, ...]) -> None:
    """Tell callers that ask what the named services are."""
    reflection.enable_server_reflection(service_names, server, cast("Any", _Symbols()))
