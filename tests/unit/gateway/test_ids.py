"""Generated ids: their kinds, and the fields of the time-ordered UUIDs."""

import time
import uuid

import pytest

from services.documents.values import is_object_id, is_uuid
from services.gateway.ids import generate_id, object_id, uuid6, uuid7

NOW = 1_700_000_000_123_456_700


def test_without_a_kind_an_id_is_the_text_of_a_random_uuid() -> None:
    assert uuid.UUID(str(generate_id(None))).version == 4


@pytest.mark.parametrize(("kind", "version"), [("uuid", 4), ("uuidv6", 6), ("uuidv7", 7)])
def test_uuid_kinds(kind: str, version: int) -> None:
    generated = generate_id(kind)  # type: ignore[arg-type]

    assert isinstance(generated, dict)
    assert is_uuid(generated["$uuid"])
    parsed = uuid.UUID(str(generated["$uuid"]))
    assert (parsed.version, parsed.variant) == (version, uuid.RFC_4122)


def test_object_ids() -> None:
    generated = generate_id("objectId")

    assert isinstance(generated, dict)
    assert is_object_id(generated["$objectId"])


def test_version_7_holds_the_milliseconds_since_1970() -> None:
    assert uuid7(NOW).int >> 80 == NOW // 1_000_000


def test_version_6_holds_the_100_ns_intervals_since_1582() -> None:
    value = uuid6(NOW).int
    ticks = (value >> 80) << 12 | (value >> 64) & 0xFFF

    # The same instant as Python's own version 1 layout reads it.
    assert (ticks - 0x01B21DD213814000) * 100 == NOW


def test_an_object_id_begins_with_the_seconds() -> None:
    assert int(object_id(NOW)[:8], 16) == NOW // 1_000_000_000


@pytest.mark.parametrize("make", [uuid6, uuid7, object_id])
def test_later_ids_sort_later(make: object) -> None:
    made = [str(make(NOW + step * 1_000_000_000)) for step in range(5)]  # type: ignore[operator]

    assert made == sorted(made)


def test_ids_differ() -> None:
    now = time.time_ns()

    assert len({object_id(now) for _ in range(1000)}) == 1000
