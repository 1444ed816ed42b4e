"""Addresses to listen on, and whether the network can reach them."""

import hashlib
import ipaddress
import socket
import tempfile
from pathlib import Path

from services.runtime.errors import ConfigurationError

#: The operating system's limit on a socket's path is 108 bytes on Linux and 104 on macOS (sockaddr_un).
_SOCKET_PATH_BYTES = 100


def socket_address(data_dir: Path, service: str) -> str:
    """Return the address `unix:PATH` of a service that keeps its data in a directory.

    The socket lies in the directory itself, unless its path would be too long for the operating system: then in
    a folder of the temporary directory that is named after it, so that every process finds the same one.
    """
    home = data_dir.resolve()
    path = home / "run" / f"{service}.sock"
    if len(str(path).encode()) > _SOCKET_PATH_BYTES:
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"orrery-{digest}" / f"{service}.sock"
    return f"unix:{path}"


def split_host_port(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` (`[HOST]:PORT` for IPv6). Raises `ValueError` for anything else."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is no address; write HOST:PORT, such as 127.0.0.1:8181")
    return host.strip("[]"), int(port)


def check_free(address: str) -> None:
    """Refuse an address HOST:PORT that something listens on already. Raises `ConfigurationError`."""
    bind(address).close()


def bind(address: str) -> socket.socket:
    """Return a socket that has an address HOST:PORT to itself and does not listen yet.

    Raises `ConfigurationError` when it cannot be had.
    """
    host, port = split_host_port(address)
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections are still being taken down is free.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind(place)
    except OSError as problem:
        bound.close()
        raise ConfigurationError(
            f"cannot listen on {address}: {problem.strerror}. Stop what listens there, or give another address"
        ) from None
    return bound


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach an address of the form HOST:PORT."""
    host, _ = split_host_port(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
