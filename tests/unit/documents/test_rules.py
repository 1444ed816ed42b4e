"""The rules of documents: each breach by its code, each limit at its edge."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents import rules
from services.documents.codec import JsonObject, JsonValue, encode
from services.documents.indexing import EVERYTHING, Indexing
from services.documents.rules import DocumentLimits, check_document, check_id
from services.runtime.errors import DataApiError

UNLIMITED = DocumentLimits(None, None, None, None, None, None, None)
UUID = "9c5b94b1-35ad-49bb-b118-8e8fc24abf80"


def check(document: JsonObject, limits: DocumentLimits = UNLIMITED, indexing: Indexing = EVERYTHING) -> None:
    check_document(document, len(encode(document)), limits, indexing)


def refusal(document: JsonObject, limits: DocumentLimits = UNLIMITED, indexing: Indexing = EVERYTHING) -> DataApiError:
    with pytest.raises(DataApiError) as refused:
        check(document, limits, indexing)
    return refused.value


def nested(levels: int) -> JsonObject:
    value: Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return {"root": value}


@pytest.mark.parametrize("name", ["", "$set", "$date2"])
def test_names_that_are_not_allowed(name: str) -> None:
    assert refusal({"a": [{"b": {name: 1, "c": 2}}]}).code == "SHRED_BAD_FIELD_NAME"


@pytest.mark.parametrize("name", ["a.b", "a&b", " ", "ключ", "a$", "0"])
def test_names_that_are_allowed(name: str) -> None:
    check({name: {name: 1}})


@pytest.mark.parametrize("value", [{"$date": 5}, {"$uuid": UUID}, {"$objectId": "5" * 24}, {"$binary": "AA=="}])
def test_extended_json(value: JsonObject) -> None:
    check({"a": [value]})


@pytest.mark.parametrize("value", [{"$date": "2023-01-01"}, {"$uuid": "x"}, {"$objectId": 5}, {"$binary": 5}])
def test_bad_content_of_extended_json_matters_in_the_indexed_part_only(value: JsonObject) -> None:
    assert refusal({"a": value}).code == "SHRED_BAD_EJSON_VALUE"
    check({"a": value}, indexing=Indexing(deny=frozenset({("a",)})))


def test_content_of_the_wrong_type_matters_everywhere() -> None:
    denied = Indexing(deny=frozenset({("a",)}))

    assert refusal({"a": {"$date": []}}, indexing=denied).code == "SHRED_BAD_EJSON_VALUE"
    assert refusal({"a": {"$unknown": 5}}, indexing=denied).code == "SHRED_BAD_FIELD_NAME"


@pytest.mark.parametrize("identifier", ["x", 5, True, None, {"$date": 5}, {"$uuid": UUID}, {"$objectId": "5" * 24}])
def test_ids_that_are_allowed(identifier: Any) -> None:
    check_id(identifier)


@pytest.mark.parametrize(
    ("identifier", "code"),
    [
        ("", "SHRED_BAD_DOCID_VALUE"),
        ([], "SHRED_BAD_DOCID_TYPE"),
        ({"a": 1}, "SHRED_BAD_DOCID_TYPE"),
        ({"$uuid": "x"}, "SHRED_BAD_DOCID_TYPE"),
        ({"$binary": "AAAA"}, "SHRED_BAD_DOCID_TYPE"),
    ],
)
def test_ids_that_are_not_allowed(identifier: Any, code: str) -> None:
    assert refusal({"_id": identifier}).code == code


AT_THE_EDGE: list[tuple[DocumentLimits, JsonObject, JsonObject]] = [
    (DocumentLimits(max_characters=9), {"a": "x"}, {"a": "xy"}),
    (DocumentLimits(max_depth=5), nested(5), nested(6)),
    (DocumentLimits(max_path_characters=6), {"ab": [{"cde": 1}]}, {"ab": [{"cdef": 1}]}),
    (DocumentLimits(max_object_members=2), {"a": {"x": 1, "y": 1}}, {"a": {"x": 1, "y": 1, "z": 1}}),
    (DocumentLimits(max_members=3), {"a": {"x": 1}, "b": 1}, {"a": [{"x": 1, "y": 1}], "b": 1}),
    (DocumentLimits(max_array_elements=2), {"a": [1, 2]}, {"a": [1, 2, 3]}),
    (DocumentLimits(max_string_bytes=4), {"a": "ää"}, {"a": "äää"}),
]


@pytest.mark.parametrize(("limits", "within", "beyond"), AT_THE_EDGE)
def test_limits_hold_at_their_edge(limits: DocumentLimits, within: JsonObject, beyond: JsonObject) -> None:
    check(within, limits)
    assert refusal(beyond, limits).code == "SHRED_DOC_LIMIT_VIOLATION"
    check(beyond)


@pytest.mark.parametrize(("limits", "within", "beyond"), AT_THE_EDGE[3:])
def test_what_is_not_indexed_is_exempt(limits: DocumentLimits, within: JsonObject, beyond: JsonObject) -> None:
    check(beyond, limits, Indexing(deny=frozenset({("a",)})))


@pytest.mark.parametrize(("limits", "within", "beyond"), AT_THE_EDGE[:3])
def test_size_depth_and_paths_are_limited_everywhere(
    limits: DocumentLimits, within: JsonObject, beyond: JsonObject
) -> None:
    assert refusal(beyond, limits, Indexing(deny_all=True)).code == "SHRED_DOC_LIMIT_VIOLATION"


NAMES = st.text("a$.", max_size=3) | st.sampled_from(["$date", "$uuid", "$objectId", "$binary", "_id", "x" * 9])
CONTENTS = st.sampled_from(
    [UUID, "5" * 24, "é" * 3, "x" * 9, 1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63), Decimal("1.5"), None, True, 5]
)
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    CONTENTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
BOUNDS = st.none() | st.integers(1, 12)
INDEXINGS = st.sampled_from([EVERYTHING, Indexing(deny_all=True), Indexing(deny=frozenset({("a",)}))])


@settings(max_examples=500)
@given(st.dictionaries(NAMES, VALUES), st.builds(DocumentLimits, *[BOUNDS] * 7), INDEXINGS)
def test_a_glance_passes_nothing_that_a_walk_would_refuse(
    document: JsonObject, limits: DocumentLimits, indexing: Indexing
) -> None:
    if rules._Glance(limits).object(document, 0, 1):
        rules._Walk(limits, indexing).object(document, (), indexed=True, characters=0, depth=1)


def test_a_glance_is_enough_for_common_documents() -> None:
    document: JsonObject = {
        "_id": {"$uuid": UUID},
        "made": {"$date": 5},
        "tags": ["a", {"b": [1, None]}, {"$objectId": "5" * 24}],
        "text": "x" * 2000,
    }

    assert rules._Glance(DocumentLimits()).object(document, 0, 1)
