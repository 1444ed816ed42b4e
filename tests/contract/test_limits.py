"""Every limit is a setting: a server with small ones refuses at them, and names them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.api import Api, error_code
from tests.live import Orrery

SMALL = {
    "body_bytes": 3000,
    "number_characters": 5,
    "nesting_depth": 9,
    "member_name_characters": 30,
    "insert_many_documents": 6,
    "find_page_documents": 3,
    "sort_candidates": 8,
    "vector_find_documents": 4,
    "filter_conditions": 2,
    "in_values": 3,
    "update_many_documents": 3,
    "delete_many_documents": 2,
    "count_documents": 7,
    "max_collections": 4,
    "indexes_available": 40,
    "vector_dimension": 5,
    "max_characters": 400,
    "max_depth": 4,
    "max_path_characters": 20,
    "max_object_members": 6,
    "max_members": 9,
    "max_array_elements": 5,
    "max_string_bytes": 50,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orrery]:
    """A server with small limits."""
    arguments = [part for name, value in SMALL.items() for part in ("--limit", f"{name}={value}")]
    with Orrery(tmp_path_factory.mktemp("limits"), arguments=tuple(arguments)) as server:
        yield server


@pytest.fixture
def limited(small: Orrery) -> Iterator[Api]:
    """A collection of six documents with vectors on that server."""
    client = Api(small.url, small.token, collection="limited")
    options = {"vector": {"dimension": 2}}
    assert client.at_keyspace("createCollection", name="limited", options=options) == {"status": {"ok": 1}}
    client.run("insertMany", documents=[{"_id": n, "n": n, "$vector": [1, n]} for n in range(6)])
    yield client
    client.at_keyspace("deleteCollection", name="limited")
    client.http.close()


@pytest.mark.parametrize(
    ("command", "members", "code", "limit"),
    [
        ("find", {"filter": {"a": 123456}}, "SHRED_DOC_LIMIT_VIOLATION", 5),
        ("find", {"filter": {"a": [[[[[[[[]]]]]]]]}}, "SHRED_DOC_LIMIT_VIOLATION", 9),
        ("find", {"filter": {"a" * 31: 1}}, "SHRED_DOC_LIMIT_VIOLATION", 30),
        ("insertMany", {"documents": [{}] * 7}, "COMMAND_FIELD_VALUE_INVALID", 6),
        ("find", {"sort": {"$vector": [1, 1]}, "options": {"limit": 5}}, "COMMAND_FIELD_VALUE_INVALID", 4),
        ("find", {"filter": {"a": 1, "b": 2, "c": 3}}, "FILTER_FIELDS_LIMIT_VIOLATION", 2),
        ("find", {"filter": {"a": {"$in": [1, 2, 3, 4]}}}, "FILTER_INVALID_EXPRESSION", 3),
        ("insertOne", {"document": {"$vector": [1] * 6}}, "SHRED_DOC_LIMIT_VIOLATION", 5),
        ("insertOne", {"document": {"a": ["x" * 50] * 5, "b": ["x" * 50] * 5}}, "SHRED_DOC_LIMIT_VIOLATION", 400),
        ("insertOne", {"document": {"a": {"b": {"c": {"d": {}}}}}}, "SHRED_DOC_LIMIT_VIOLATION", 4),
        ("insertOne", {"document": {"a" * 11: {"b" * 10: 1}}}, "SHRED_DOC_LIMIT_VIOLATION", 20),
        ("insertOne", {"document": {"a": {str(n): 1 for n in range(7)}}}, "SHRED_DOC_LIMIT_VIOLATION", 6),
        ("insertOne", {"document": {c: {str(n): 1 for n in range(4)} for c in "ab"}}, "SHRED_DOC_LIMIT_VIOLATION", 9),
        ("insertOne", {"document": {"a": [1] * 6}}, "SHRED_DOC_LIMIT_VIOLATION", 5),
        ("insertOne", {"document": {"a": "é" * 26}}, "SHRED_DOC_LIMIT_VIOLATION", 50),
        ("updateOne", {"filter": {}, "update": {"$set": {"a": [1] * 6}}}, "SHRED_DOC_LIMIT_VIOLATION", 5),
    ],
)
def test_what_is_over_a_limit_is_refused_naming_the_limit(
    limited: Api, command: str, members: dict[str, Any], code: str, limit: int
) -> None:
    answer = limited.run(command, **members)

    assert error_code(answer) == code
    assert str(limit) in answer["errors"][0]["message"]
    assert limited.count() == 6


def test_pages_and_partial_work_are_as_large_as_the_limits(limited: Api) -> None:
    page = limited.run("find")["data"]
    assert (len(page["documents"]), page["nextPageState"] is None) == (3, False)
    updated = limited.run("updateMany", filter={}, update={"$set": {"m": 1}})["status"]
    assert (updated["modifiedCount"], updated["moreData"]) == (3, True)
    limited.run("insertMany", documents=[{}, {}])
    assert limited.run("countDocuments") == {"status": {"count": 7, "moreData": True}}
    assert error_code(limited.run("find", sort={"n": 1})) == "OVERLOADED_SORT_ROW_LIMIT"
    deleted = limited.run("deleteMany", filter={"n": {"$gte": 0}})
    assert deleted == {"status": {"deletedCount": 2, "moreData": True}}


def test_a_body_over_its_limit_is_answered_413(limited: Api) -> None:
    assert limited.raw("/v1", b" " * 3001).status_code == 413


def test_collections_and_indexes_are_counted(limited: Api) -> None:
    too_wide = limited.at_keyspace("createCollection", name="c", options={"vector": {"dimension": 6}})
    assert error_code(too_wide) == "VECTOR_SEARCH_TOO_BIG_VALUE"
    names = ["two", "three", "four"]
    for name in names:
        assert limited.at_keyspace("createCollection", name=name) == {"status": {"ok": 1}}

    refused = limited.at_keyspace("createCollection", name="five")

    assert error_code(refused) == "TOO_MANY_COLLECTIONS"
    for name in names:
        limited.at_keyspace("deleteCollection", name=name)


@pytest.mark.parametrize(
    ("limits", "code", "numbers"),
    [
        ({"max_collections": 4, "indexes_available": 29}, "TOO_MANY_INDEXES_FOR_COLLECTION", ["10", "9 of 29"]),
        ({"max_collections": 2, "indexes_available": 40}, "TOO_MANY_COLLECTIONS", ["2"]),
        ({"max_collections": 2, "indexes_available": 20}, "TOO_MANY_COLLECTIONS", ["2"]),
    ],
)
def test_the_limit_that_was_reached_is_named(
    tmp_path: Path, limits: dict[str, int], code: str, numbers: list[str]
) -> None:
    arguments = [part for name, value in limits.items() for part in ("--limit", f"{name}={value}")]
    with Orrery(tmp_path, arguments=tuple(arguments)) as server:
        api = Api(server.url, server.token)
        for name in ("first", "second", "first"):
            assert api.at_keyspace("createCollection", name=name) == {"status": {"ok": 1}}

        refused = api.at_keyspace("createCollection", name="third")
        assert error_code(refused) == code
        assert all(number in refused["errors"][0]["message"] for number in ["'third'", *numbers])
        assert api.at_keyspace("createCollection", name="first") == {"status": {"ok": 1}}
        api.http.close()


def test_fewer_indexes_than_one_collection_needs_leave_no_room_at_all(tmp_path: Path) -> None:
    with Orrery(tmp_path, arguments=("--limit", "indexes_available=9")) as server:
        api = Api(server.url, server.token)

        assert error_code(api.at_keyspace("createCollection", name="c")) == "TOO_MANY_INDEXES_FOR_COLLECTION"
        api.http.close()
