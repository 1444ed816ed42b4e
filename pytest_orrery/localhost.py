"""Names below `localhost`: RFC 6761 has them mean this machine, and not every resolver does."""

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from typing import Any

_BELOW = ".localhost"
_ADDRESS = "127.0.0.1"
_NO_PROXY = ("NO_PROXY", "no_proxy")


def resolved() -> bool:
    """Tell whether this machine finds such names by itself."""
    try:
        found = socket.getaddrinfo(f"{secrets.token_hex(4)}{_BELOW}", 80, socket.AF_INET)
    except OSError:
        return False
    return {entry[4][0] for entry in found} == {_ADDRESS}


@contextlib.contextmanager
def localhost_names() -> Iterator[None]:
    """Have such names mean this machine for everything in this process, and be asked without a proxy."""
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        below = isinstance(name, str) and name.lower().rstrip(".").endswith(_BELOW)
        return original(_ADDRESS if below else host, *arguments, **options)

    kept = {name: os.environ.get(name) for name in _NO_PROXY}
    for name, value in kept.items():
        os.environ[name] = ",".join(filter(None, (value, _BELOW)))
    if not resolved():
        socket.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        socket.getaddrinfo = original
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
