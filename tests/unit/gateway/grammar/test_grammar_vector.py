"""Vectors in JSON: what is read, what is refused, and the shortest text of what is stored."""

import base64
import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonValue
from services.gateway.collection import Collection, CollectionOptions, Metric, VectorOptions
from services.gateway.grammar.vector import binary_to_json, parse_document_vector, vector_to_json
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError


def collection(dimension: int = 2, metric: Metric = "cosine") -> Collection:
    options = CollectionOptions(vector=VectorOptions(dimension=dimension, metric=metric, source_model="other"))
    return Collection("default", "default_keyspace", "planets", "uid", options)


def parse(value: JsonValue, target: Collection | None = None) -> pb.Vector:
    return parse_document_vector(value, target or collection(), Limits())


def little_endian(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def binary(*values: float) -> dict[str, JsonValue]:
    return {"$binary": base64.b64encode(np.array(values, ">f4").tobytes()).decode()}


# --- documents --------------------------------------------------------------


def test_an_array_becomes_little_endian_float32() -> None:
    assert parse([Decimal("0.1"), -2]).values == little_endian(0.1, -2)


def test_binary_is_big_endian_float32() -> None:
    assert parse(binary(0.1, -2)).values == little_endian(0.1, -2)


def test_null_is_no_vector() -> None:
    assert parse(None) == pb.Vector()


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ([Decimal("0.1"), Decimal("0.25")], b""),
        ([1, 0], b"[1,0]"),
        ([Decimal("0.10"), Decimal("0.123456789012")], b"[0.10,0.123456789012]"),
        ({"$binary": "PczMzT5MzM0="}, b"$binary"),
        ({"$binary": "PczMzT5MzM1="}, b'{"$binary":"PczMzT5MzM1="}'),
    ],
)
def test_a_vector_is_kept_as_it_was_sent_where_its_values_read_otherwise(value: JsonValue, literal: bytes) -> None:
    assert parse(value).literal == literal


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], "SHRED_BAD_VECTOR_SIZE"),
        ([Decimal("0.1"), "abc"], "SHRED_BAD_VECTOR_VALUE"),
        ([1, True], "SHRED_BAD_VECTOR_VALUE"),
        ([1, None], "SHRED_BAD_VECTOR_VALUE"),
        ([1, Decimal("1e39")], "SHRED_BAD_VECTOR_VALUE"),
        ([1, Decimal("-1e999999999")], "SHRED_BAD_VECTOR_VALUE"),
        ([1, 10**99], "SHRED_BAD_VECTOR_VALUE"),
        ("[1, 2]", "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        (5, "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        (True, "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        ({"binary": "PczMzT5MzM0="}, "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        ({"$binary": "PczMzT5MzM0=", "more": 1}, "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        ({"$binary": 1234}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ({"$binary": "not Base64"}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ({"$binary": "ÿ"}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ({"$binary": "1234"}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ({"$binary": ""}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        (binary(1, float("nan")), "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ([0] * 4097, "SHRED_DOC_LIMIT_VIOLATION"),
        (binary(*[0.0] * 4097), "SHRED_DOC_LIMIT_VIOLATION"),
        ([1], "INVALID_VECTOR_LENGTH"),
        (binary(1, 2, 3), "INVALID_VECTOR_LENGTH"),
        ([0, 0], "INVALID_DATABASE_QUERY"),
        ([Decimal("1e-60"), 0], "INVALID_DATABASE_QUERY"),
    ],
)
def test_vectors_that_are_refused(value: JsonValue, code: str) -> None:
    with pytest.raises(DataApiError) as caught:
        parse(value)

    assert caught.value.code == code


@pytest.mark.parametrize("metric", ["dot_product", "euclidean"])
def test_only_cosine_has_no_use_for_zero_vectors(metric: Metric) -> None:
    assert parse([0, 0], collection(metric=metric)).values == little_endian(0, 0)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_vector_that_was_sent_as_binary_is_shown_as_it_was_sent(values: list[float]) -> None:
    sent = binary(*values)
    stored = parse(sent, collection(dimension=len(values), metric="dot_product"))

    assert stored.literal == b"$binary"
    assert json.loads(binary_to_json(stored.values)) == sent


# --- text -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.1, 0.2, -0.3), b"[0.1,0.2,-0.3]"),
        ((0.0, 1.0, 1024.0), b"[0.0,1.0,1024.0]"),
        ((1 / 3, 16777216.0), b"[0.33333334,16777216.0]"),
        ((1e-20, 3.4028235e38), b"[1e-20,3.4028235e38]"),
    ],
)
def test_a_vector_is_shown_by_its_shortest_decimals(values: tuple[float, ...], text: bytes) -> None:
    assert vector_to_json(little_endian(*values)) == text


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
usual = st.floats(-1, 1, width=32)


@given(st.lists(finite | usual, max_size=50))
def test_the_text_of_a_vector_reads_back_as_the_vector(values: list[float]) -> None:
    shown = json.loads(vector_to_json(little_endian(*values)))

    assert np.array(shown, "<f4").tobytes() == little_endian(*values)


@given(st.lists(finite | usual, max_size=50))
def test_the_text_of_a_vector_is_as_short_as_numpy_writes_it(values: list[float]) -> None:
    shown = json.loads(vector_to_json(little_endian(*values)))

    shortest = [float(str(np.float32(value))) for value in values]
    assert [digits(value) for value in shown] == [digits(value) for value in shortest]


def digits(value: float) -> int:
    return len(Decimal(repr(value)).normalize().as_tuple().digits)
