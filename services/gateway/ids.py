"""Generated document ids, by the collection's `defaultId`."""

import os
import secrets
import time
import uuid

from services.documents.codec import JsonValue
from services.gateway.collection import Collection, DefaultId

#: 100 ns intervals between 1582-10-15, where version 6 counts from, and 1970-01-01 (RFC 9562, section 5.1).
_GREGORIAN_OFFSET = 0x01B21DD213814000

_process_part = secrets.token_bytes(5)
_counter = secrets.randbits(24)


def generate_id(kind: DefaultId | None) -> JsonValue:
    """Return a new `_id`: a random UUID as plain text without a kind, else extended JSON of the kind."""
    if kind is None:
        return str(uuid.uuid4())
    if kind == "uuid":
        return {"$uuid": str(uuid.uuid4())}
    if kind == "uuidv6":
        return {"$uuid": str(uuid6(time.time_ns()))}
    if kind == "uuidv7":
        return {"$uuid": str(uuid7(time.time_ns()))}
    return {"$objectId": object_id(time.time_ns())}


def new_id(collection: Collection) -> JsonValue:
    """Return a new `_id` of a collection's kind."""
    return generate_id(collection.options.default_id.type if collection.options.default_id else None)


def uuid6(now_ns: int) -> uuid.UUID:
    """Return a version 6 UUID (RFC 9562, section 5.6); `now_ns` is nanoseconds since 1970."""
    ticks = now_ns // 100 + _GREGORIAN_OFFSET
    high, low = ticks >> 12, ticks & 0xFFF
    return uuid.UUID(int=high << 80 | 0x6 << 76 | low << 64 | 0b10 << 62 | secrets.randbits(62))


def uuid7(now_ns: int) -> uuid.UUID:
    """Return a version 7 UUID (RFC 9562, section 5.7); `now_ns` is nanoseconds since 1970."""
    milliseconds = now_ns // 1_000_000
    return uuid.UUID(
        int=milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    )


def object_id(now_ns: int) -> str:
    """Return a BSON object id as 24 hexadecimal digits: seconds, a random value per process, a counter."""
    global _counter
    _counter = (_counter + 1) & 0xFFFFFF
    seconds = now_ns // 1_000_000_000 & 0xFFFFFFFF
    return (seconds.to_bytes(4, "big") + _process_part + _counter.to_bytes(3, "big")).hex()


def _renew_after_fork() -> None:
    global _process_part
    _process_part = secrets.token_bytes(5)


os.register_at_fork(after_in_child=_renew_after_fork)
