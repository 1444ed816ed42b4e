"""Channels to RPC servers: mutual TLS with certificates that may change, calls spread over servers, and repeated."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import structlog

from services.runtime.addresses import is_loopback
from services.runtime.errors import ConfigurationError
from services.runtime.tls import CertificateFiles, channel_credentials

#: A request body may hold 20 MB of JSON, whose vectors may grow when they become float32.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_METADATA_BYTES = 256 * 1024
#: How much servers and callers send each other at most.
MESSAGE_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # An error's message travels in trailing metadata three times over, percent-encoded and in Base64.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)
#: A service that was started again is to be found at once, not after gRPC's own back-off of up to two minutes.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    *MESSAGE_OPTIONS,
)
#: How often a caller asks whether the other host is still there, in seconds.
KEEPALIVE_SECONDS = 20
#: How long calls may go on over connections with certificates that have been replaced, in seconds.
_DRAIN_SECONDS = 120.0

#: Calls that change nothing, or the same when made twice. gRPC makes them again when the connection fails; others only
#: when they have not left this process, or were not looked at.
SAFE_METHODS = {
    "grpc.health.v1.Health": ("Check",),
    "orrery.embedder.v1.EmbedderService": ("Embed", "ListProviders", "ListUsage", "CheckService"),
    "orrery.embedder.v1.CredentialService": ("ListCredentials",),
    "orrery.store.v1.StoreService": (
        "ListKeyspaces",
        "ListCollections",
        "GetCollection",
        "FindDocuments",
        "FindDocumentsTogether",
        "StreamDocuments",
        "CountDocuments",
        "GetCollectionStatistics",
    ),
    "orrery.store.v1.AccessService": ("ListDatabases", "ListTokens", "ListAccess"),
    "orrery.store.v1.OperationsService": ("InspectCollection", "InspectDatabase"),
}
_SERVICE_CONFIG = {
    # Every server that the name stands for gets calls, unless its health check says that it is about to stop.
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [
                {"service": service, "method": method}
                for service, methods in SAFE_METHODS.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_NETWORK_OPTIONS = (
    *CHANNEL_OPTIONS,
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A request is kept until it is answered where it may have to be sent again.
    ("grpc.per_rpc_retry_buffer_size", 4 * 1024 * 1024),
    ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Names are looked up again when a connection ends; gRPC's own pause of half a minute is longer than a restart.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)
#: What may stand before HOST:PORT in a target.
_SCHEME = re.compile(r"(?:dns|ipv4|ipv6):(?://[^/]*/)?")

log = structlog.get_logger(__name__)


def options_for(target: str) -> tuple[tuple[str, Any], ...]:
    """Return the options of a channel: servers behind a socket's file are one process, and need no more."""
    return CHANNEL_OPTIONS if _is_socket(target) else _NETWORK_OPTIONS


def files_for(target: str, files: CertificateFiles | None) -> CertificateFiles | None:
    """Return the certificates to call a target with: none for a unix socket, which is its user's alone.

    Raises `ConfigurationError` for a target on the network and no certificates.
    """
    if _is_socket(target):
        return None
    if files is None and not is_loopback(_SCHEME.sub("", target)):
        raise ConfigurationError(
            f"{target} is called with TLS only: set ORRERY_RPC_TLS_CA, ORRERY_RPC_TLS_CERT and ORRERY_RPC_TLS_KEY"
        )
    return files


def _is_socket(target: str) -> bool:
    return target.startswith("unix:")


def open_blocking_channel(target: str, files: CertificateFiles | None) -> grpc.Channel:
    """Return a channel for the calls of one command, with the certificates that there are now.

    Raises `ConfigurationError` for a target on the network and no certificates.
    """
    used = files_for(target, files)
    if used is None:
        return grpc.insecure_channel(target, options=options_for(target))
    return grpc.secure_channel(target, channel_credentials(used.current()), options=options_for(target))


def open_async_channel(
    target: str, files: CertificateFiles | None, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
) -> grpc.aio.Channel:
    """Return a channel that follows changes of the certificates.

    Raises `ConfigurationError` for a target on the network and no certificates.
    """
    used = files_for(target, files)
    if used is None:
        return grpc.aio.insecure_channel(target, options=options_for(target), interceptors=interceptors)
    return RenewedChannel(target, used, interceptors)


class RenewedChannel(grpc.aio.Channel):
    """A channel with TLS that is made anew when its certificates change; calls under way end on the one before.

    Stubs made from it stay good. To be used from one event loop.
    """

    def __init__(
        self, target: str, files: CertificateFiles, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
    ) -> None:
        self._target = target
        self._files = files
        self._interceptors = interceptors
        self._closing: set[asyncio.Task[None]] = set()
        self._certificates = files.current()
        self._channel = self._open()

    def _open(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            self._target,
            channel_credentials(self._certificates),
            options=options_for(self._target),
            interceptors=self._interceptors,
        )

    def latest(self) -> grpc.aio.Channel:
        """Return the channel to make the next call on."""
        certificates = self._files.current()
        if certificates is not self._certificates:
            task = asyncio.ensure_future(self._channel.close(_DRAIN_SECONDS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._certificates = certificates
            self._channel = self._open()
            log.info("channel made anew", target=self._target)
        return self._channel

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close it; calls under way are cancelled after `grace` seconds."""
        for task in self._closing:
            task.cancel()
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the connection that the next call is made on."""
        return self.latest().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another."""
        await self.latest().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until calls can be made."""
        await self.latest().channel_ready()

    def unary_unary(self, *form: Any, **more: Any) -> Any:
        """Return what calls a method."""
        return _Method(self, "unary_unary", form, more)

    def unary_stream(self, *form: Any, **more: Any) -> Any:
        """Return what calls a method that streams its answers."""
        return _Method(self, "unary_stream", form, more)

    def stream_unary(self, *form: Any, **more: Any) -> Any:
        """Return what calls a method that takes a stream."""
        return _Method(self, "stream_unary", form, more)

    def stream_stream(self, *form: Any, **more: Any) -> Any:
        """Return what calls a method that takes a stream and streams its answers."""
        return _Method(self, "stream_stream", form, more)


class _Method:
    """A method of a channel that may be made anew."""

    def __init__(self, owner: RenewedChannel, kind: str, form: tuple[Any, ...], more: dict[str, Any]) -> None:
        self._owner = owner
        self._kind = kind
        self._form = form
        self._more = more
        self._channel: grpc.aio.Channel | None = None
        self._call: Any = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        channel = self._owner.latest()
        if channel is not self._channel:
            self._channel = channel
            self._call = getattr(channel, self._kind)(*self._form, **self._more)
        return self._call(*arguments, **options)
