"""The vector that belongs to a text: known to the provider, which sends it, and to the caller, who checks it.

Its first numbers are a hash of the text, so that no two texts share a vector; the others are one of some tails, which
are encoded once. Standard library only, because the provider runs in another environment than the callers.
"""

import base64
import hashlib
import json
import random
import struct

DIMENSION = 384
#: Numbers that are the text's own. Three float32 are 12 bytes, which Base64 encodes without padding.
_HEAD = 3
_TAILS = 64


def _head(text: str) -> tuple[tuple[float, float, float], int]:
    """Return the numbers of a text's own, in [0, 1), and which tail follows them."""
    digest = hashlib.blake2b(text.encode(), digest_size=10).digest()
    a, b, c = (int.from_bytes(digest[at : at + 3], "little") / 2**24 for at in (0, 3, 6))
    return (a, b, c), digest[9] % _TAILS


def _tail(number: int) -> tuple[float, ...]:
    source = random.Random(number)
    size = DIMENSION - _HEAD
    return struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(source.uniform(-1, 1) for _ in range(size))))


TAILS = tuple(_tail(number) for number in range(_TAILS))
_BASE64_TAILS = tuple(base64.b64encode(struct.pack(f"<{len(tail)}f", *tail)).decode() for tail in TAILS)
#: Nine digits are what a float32 needs, and what providers send.
_JSON_TAILS = tuple("," + json.dumps([float(f"{value:.9g}") for value in tail])[1:].replace(" ", "") for tail in TAILS)


def vector(text: str) -> list[float]:
    """Return the vector of a text."""
    head, tail = _head(text)
    return [*head, *TAILS[tail]]


def as_base64(text: str) -> str:
    """Return the vector of a text as the JSON string of `encoding_format: base64`: little-endian float32."""
    head, tail = _head(text)
    return f'"{base64.b64encode(struct.pack("<3f", *head)).decode()}{_BASE64_TAILS[tail]}"'


def as_numbers(text: str) -> str:
    """Return the vector of a text as a JSON array."""
    (a, b, c), tail = _head(text)
    return f"[{a:.9g},{b:.9g},{c:.9g}{_JSON_TAILS[tail]}"
