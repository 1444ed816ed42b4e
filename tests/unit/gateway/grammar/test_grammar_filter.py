"""Filters: what each clause becomes, and which clauses are refused with which code."""

from dataclasses import replace
from decimal import Decimal

import pytest
from google.protobuf import json_format
from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonObject, JsonValue
from services.documents.indexing import Indexing
from services.gateway.collection import Collection, CollectionOptions, LexicalOptions
from services.gateway.grammar.filter import equality_seed, is_explicitly_empty, parse_filter
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError

UUID = "0192AE3B-0000-4000-8000-00000000000A"
OBJECT_ID = "65F97DC30000000000000ABC"

COLLECTION = Collection("default", "default_keyspace", "planets", "uid", CollectionOptions())
LEXICAL = replace(COLLECTION, options=CollectionOptions(lexical=LexicalOptions(enabled=True, analyzer="standard")))
LIMITS = Limits()


def parse(clause: JsonValue, collection: Collection = COLLECTION) -> pb.Filter | None:
    return parse_filter(clause, collection, LIMITS)


def shown(message: pb.Filter | None) -> object:
    """Return a filter as plain JSON, so that a test can write down what it expects."""
    return None if message is None else json_format.MessageToDict(message)


def at(path: str, **test: object) -> dict[str, object]:
    return {"condition": {"path": {"segments": path.split(".")}, **test}}


def refusal(clause: JsonValue, collection: Collection = COLLECTION) -> str:
    with pytest.raises(DataApiError) as caught:
        parse(clause, collection)
    return caught.value.code


def indexed(**rules: object) -> Collection:
    return replace(COLLECTION, indexing=Indexing(**rules))  # type: ignore[arg-type]


# --- conditions -------------------------------------------------------------


@pytest.mark.parametrize(
    ("operand", "value"),
    [
        (None, {"null": True}),
        (True, {"boolean": True}),
        (5, {"number": "5"}),
        (10**40, {"number": "1" + "0" * 40}),
        (Decimal("0.10"), {"number": "0.10"}),
        ("Mars", {"text": "Mars"}),
        ({"$date": -5}, {"timestampMillis": "-5"}),
        ({"$uuid": UUID}, {"text": UUID.lower()}),
        ({"$objectId": OBJECT_ID}, {"text": OBJECT_ID.lower()}),
    ],
)
def test_an_implicit_equality_with_a_scalar(operand: JsonValue, value: object) -> None:
    assert shown(parse({"name": operand})) == at("name", equals=value)
    assert shown(parse({"name": {"$eq": operand}})) == at("name", equals=value)


@pytest.mark.parametrize(
    ("clause", "composite"),
    [
        ({"size": {"w": 1, "h": Decimal("2.0")}}, b'{"w":1,"h":2.0}'),
        ({"size": {"$eq": {"w": 1}}}, b'{"w":1}'),
        ({"size": {"$eq": {}}}, b"{}"),
        ({"size": {"$eq": [1, [None], {"$date": 5}]}}, b'[1,[null],{"$date":5}]'),
    ],
)
def test_an_array_or_object_is_compared_whole(clause: JsonValue, composite: bytes) -> None:
    message = parse(clause)

    assert message is not None
    assert message.condition.equals.composite == composite


@pytest.mark.parametrize(
    ("operator", "operand", "test"),
    [
        ("$gt", 1, {"range": {"greaterThan": {"number": "1"}}}),
        ("$gte", "a", {"range": {"atLeast": {"text": "a"}}}),
        ("$lt", True, {"range": {"lessThan": {"boolean": True}}}),
        ("$lte", {"$date": 7}, {"range": {"atMost": {"timestampMillis": "7"}}}),
        ("$in", [1, None], {"in": {"values": [{"number": "1"}, {"null": True}]}}),
        ("$in", [], {"in": {}}),
        ("$exists", True, {"exists": True}),
        ("$exists", False, {"exists": False}),
        ("$all", ["a"], {"containsAll": {"values": [{"text": "a"}]}}),
        ("$size", 2, {"size": 2}),
        ("$size", Decimal("2.0"), {"size": 2}),
    ],
)
def test_operators(operator: str, operand: JsonValue, test: dict[str, object]) -> None:
    assert shown(parse({"moons": {operator: operand}})) == at("moons", **test)


def test_ne_and_nin_are_complements() -> None:
    assert shown(parse({"a": {"$ne": 1}})) == {"negated": at("a", equals={"number": "1"})}
    assert shown(parse({"a": {"$nin": [1]}})) == {"negated": at("a", **{"in": {"values": [{"number": "1"}]}})}


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a.b.0", ["a", "b", "0"]),
        ("price&.usd", ["price.usd"]),
        ("a&&b.c", ["a&b", "c"]),
    ],
)
def test_paths(text: str, segments: list[str]) -> None:
    message = parse({text: 1})

    assert message is not None
    assert list(message.condition.path.segments) == segments


# --- structure --------------------------------------------------------------


def test_members_and_operators_are_and_ed() -> None:
    a, b = at("a", range={"greaterThan": {"number": "1"}}), at("a", range={"lessThan": {"number": "9"}})

    assert shown(parse({"a": {"$gt": 1, "$lt": 9}, "b": 1})) == {
        "allOf": {"filters": [{"allOf": {"filters": [a, b]}}, at("b", equals={"number": "1"})]}
    }


def test_or_matches_any_of_its_branches() -> None:
    assert shown(parse({"$or": [{"a": 1}, {"b": 1}]})) == {
        "anyOf": {"filters": [at("a", equals={"number": "1"}), at("b", equals={"number": "1"})]}
    }


@pytest.mark.parametrize(
    "clause", [None, {}, {"$and": []}, {"$or": []}, {"$not": {}}, {"f": {}}, {"$and": [{}, {"$or": [{"f": {}}]}]}]
)
def test_a_filter_without_conditions_matches_everything(clause: JsonValue) -> None:
    assert parse(clause) is None


def test_only_a_plain_absence_of_conditions_is_explicit() -> None:
    assert is_explicitly_empty(None)
    assert is_explicitly_empty({})
    assert not is_explicitly_empty({"$and": []})
    assert not is_explicitly_empty({"f": {}})


@pytest.mark.parametrize(
    ("inside", "pushed_down"),
    [
        ({"a": 1}, {"a": {"$ne": 1}}),
        ({"a": {"$ne": 1}}, {"a": 1}),
        ({"a": {"$in": [1]}}, {"a": {"$nin": [1]}}),
        ({"a": {"$nin": [1]}}, {"a": {"$in": [1]}}),
        ({"a": {"$gt": 1}}, {"a": {"$lte": 1}}),
        ({"a": {"$gte": 1}}, {"a": {"$lt": 1}}),
        ({"a": {"$lt": 1}}, {"a": {"$gte": 1}}),
        ({"a": {"$lte": 1}}, {"a": {"$gt": 1}}),
        ({"a": {"$gt": 1, "$lt": 9}}, {"$or": [{"a": {"$lte": 1}}, {"a": {"$gte": 9}}]}),
        ({"a": {"$gt": 1}, "b": 2}, {"$or": [{"a": {"$lte": 1}}, {"b": {"$ne": 2}}]}),
        ({"$and": [{"a": 1}, {"b": 2}]}, {"$or": [{"a": {"$ne": 1}}, {"b": {"$ne": 2}}]}),
        ({"$or": [{"a": 1}, {"b": 2}]}, {"$and": [{"a": {"$ne": 1}}, {"b": {"$ne": 2}}]}),
        ({"$not": {"a": {"$gt": 1}}}, {"a": {"$gt": 1}}),
    ],
)
def test_not_is_pushed_down(inside: JsonValue, pushed_down: JsonValue) -> None:
    assert shown(parse({"$not": inside})) == shown(parse(pushed_down))


@pytest.mark.parametrize("inside", [{"a": {"$exists": True}}, {"a": {"$all": [1]}}, {"a": {"$size": 0}}])
def test_not_of_the_other_operators_is_their_complement(inside: JsonValue) -> None:
    assert shown(parse({"$not": inside})) == {"negated": shown(parse(inside))}


def test_the_deepest_filter_fits_a_message() -> None:
    # Every level of this one takes as many levels of the message as a level can.
    clause: JsonValue = {"a": 1}
    for _ in range(19):
        clause = {"a": {"$gt": 1, "$lt": 9}, "$or": [clause, {"b": {"$nin": [1]}}]}

    request = pb.FindDocumentsRequest(filter=parse(clause))

    assert pb.FindDocumentsRequest.FromString(request.SerializeToString()) == request
    assert refusal({"$and": [clause]}) == "FILTER_INVALID_EXPRESSION"


# --- refusals ---------------------------------------------------------------

EXPRESSION = "FILTER_INVALID_EXPRESSION"


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ([], "FILTER_UNSUPPORTED_DATA_TYPE"),
        ("a", "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"$and": [[{"a": 1}]]}, "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"$and": [5]}, EXPRESSION),
        ({"$and": {"a": 1}}, EXPRESSION),
        ({"$or": {"a": 1}}, EXPRESSION),
        ({"$not": [{"a": 1}]}, EXPRESSION),
        ({"$nor": [{"a": 1}]}, EXPRESSION),
        ({"$gt": {"a": 5}}, EXPRESSION),
        ({"": 1}, EXPRESSION),
        ({"a..b": 1}, EXPRESSION),
        ({"price&usd": 1}, EXPRESSION),
        ({"price&": 1}, EXPRESSION),
        ({"a": [1]}, EXPRESSION),
        ({"a": {"$regex": "x"}}, "FILTER_UNSUPPORTED_OPERATOR"),
        ({"a": {"$guid": "x"}}, "FILTER_UNSUPPORTED_OPERATOR"),
        ({"a": {"$not": {"$eq": 1}}}, "FILTER_UNSUPPORTED_OPERATOR"),
        ({"a": {"$gt": 1, "b": 2}}, "FILTER_UNSUPPORTED_OPERATOR"),
        ({"address": {"city": {"$eq": "x"}}}, EXPRESSION),
        ({"address": {"$eq": {"city": {"$eq": "x"}}}}, EXPRESSION),
    ],
)
def test_structures_that_are_refused(clause: JsonValue, code: str) -> None:
    assert refusal(clause) == code


@pytest.mark.parametrize(
    ("operators", "code"),
    [
        ({"$in": "x"}, EXPRESSION),
        ({"$in": list(range(101))}, EXPRESSION),
        ({"$nin": True}, EXPRESSION),
        ({"$exists": 1}, EXPRESSION),
        ({"$all": "x"}, EXPRESSION),
        ({"$all": []}, EXPRESSION),
        ({"$size": "2"}, EXPRESSION),
        ({"$size": True}, EXPRESSION),
        ({"$size": -1}, EXPRESSION),
        ({"$size": Decimal("1.5")}, EXPRESSION),
        ({"$size": Decimal("1e999999999")}, EXPRESSION),
        ({"$gt": None}, EXPRESSION),
        ({"$gt": [1]}, EXPRESSION),
        ({"$lte": {"a": 1}}, EXPRESSION),
        ({"$match": "text"}, EXPRESSION),
        ({"$eq": {"$date": "2023-01-01"}}, EXPRESSION),
        ({"$in": [{"$date": "2023-01-01"}]}, EXPRESSION),
        ({"$gt": {"$date": "2023-01-01"}}, EXPRESSION),
        ({"$date": 1 << 63}, EXPRESSION),
        ({"$date": "2023-01-01"}, "SHRED_BAD_EJSON_VALUE"),
        ({"$uuid": "x"}, "SHRED_BAD_EJSON_VALUE"),
        ({"$objectId": "x"}, "SHRED_BAD_EJSON_VALUE"),
        ({"$eq": {"$uuid": "x"}}, "SHRED_BAD_EJSON_VALUE"),
        ({"$in": [{"$objectId": "x"}]}, "SHRED_BAD_EJSON_VALUE"),
        ({"$eq": [{"$uuid": "x"}]}, "SHRED_BAD_EJSON_VALUE"),
    ],
)
def test_operands_that_are_refused(operators: JsonValue, code: str) -> None:
    assert refusal({"a": operators}) == code


def test_a_hundred_values_are_taken() -> None:
    values: list[JsonValue] = list(range(100))

    assert parse({"a": {"$in": values}}) is not None


def test_a_value_deeper_than_documents_can_be_is_refused() -> None:
    value: JsonValue = 1
    for _ in range(900):
        value = [value]

    assert refusal({"a": {"$eq": value}}) == EXPRESSION


def test_conditions_are_counted_over_the_whole_tree() -> None:
    most: list[JsonValue] = [{f"f{number}": {"$gt": 1, "$lt": 9}} for number in range(32)]

    assert parse({"$or": most}) is not None
    assert refusal({"$or": most, "one": 1}) == "FILTER_FIELDS_LIMIT_VIOLATION"


# --- _id --------------------------------------------------------------------


@pytest.mark.parametrize(
    "operand",
    [
        None,
        True,
        "x",
        5,
        {"$uuid": UUID},
        {"$objectId": OBJECT_ID},
        {"$date": 5},
        {"$in": []},
        {"$in": [1, {"$uuid": UUID}]},
        {"$nin": ["x", 1]},
        {"$ne": "x"},
        {"$gt": {"$uuid": UUID}},
        {"$lt": False},
        {"$exists": False},
    ],
)
def test_conditions_on_ids(operand: JsonValue) -> None:
    assert parse({"_id": operand}) is not None


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ({"_id": {"a": 1}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": {"$eq": [1]}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": {"$in": [{"a": 1}]}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": {"$uuid": "x"}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": {"$gt": {"$objectId": "x"}}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": {"$date": "x"}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": ""}, "SHRED_BAD_DOCID_VALUE"),
        ({"_id": {"$guid": "x"}}, "FILTER_UNSUPPORTED_OPERATOR"),
        ({"_id": [1]}, EXPRESSION),
        ({"_id": {"$in": True}}, EXPRESSION),
        ({"_id": {"$nin": False}}, EXPRESSION),
        ({"_id": {"$gt": None}}, EXPRESSION),
        ({"_id": {"$ne": True}}, "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"_id": {"$nin": [1, None]}}, "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"$not": {"_id": {"$uuid": UUID}}}, "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"_id": {"$gt": 1, "$lt": 9}}, "FILTER_MULTIPLE_ID_FILTER"),
        ({"$and": [{"_id": 1}, {"_id": 2}]}, "FILTER_MULTIPLE_ID_FILTER"),
        ({"$or": [{"_id": 1}, {"a": 2}]}, EXPRESSION),
    ],
)
def test_conditions_on_ids_that_are_refused(clause: JsonValue, code: str) -> None:
    assert refusal(clause) == code


def test_an_id_may_stand_in_an_and_below_an_or() -> None:
    assert parse({"$or": [{"$and": [{"_id": 1}, {"a": 1}]}, {"a": 2}]}) is not None


# --- the index --------------------------------------------------------------


@pytest.mark.parametrize(
    "clause",
    [
        {"address.city": "x"},
        {"address.city.zip": {"$exists": True}},
        {"address": {"$eq": {"street": "s", "city": "x"}}},
        {"address": {"city": {"zip": 1}}},
        {"address": {"$ne": {"city": "x"}}},
        {"address": {"$in": [[{"city": "x"}], "y"]}},
        {"address": {"$all": [{"city": "x"}]}},
        {"$not": {"$and": [{"address.city": "x"}]}},
    ],
)
def test_a_denied_path_is_refused(clause: JsonValue) -> None:
    assert refusal(clause, indexed(deny=frozenset({("address", "city")}))) == "FILTER_PATH_UNINDEXED"


def test_the_indexed_part_of_an_object_may_be_compared() -> None:
    collection = indexed(deny=frozenset({("address", "city")}))

    assert parse({"address": {"$eq": {"street": "s"}}}, collection) is not None
    assert parse({"address": {"$in": [{"street": "s"}]}}, collection) is not None


def test_only_allowed_paths_and_what_is_below_them_may_be_used() -> None:
    collection = indexed(allow=frozenset({("name",), ("address", "city")}))

    assert parse({"name.first": "x", "address.city": "y"}, collection) is not None
    assert refusal({"address": {"$eq": {"city": "y"}}}, collection) == "FILTER_PATH_UNINDEXED"
    assert parse({"$vector": {"$exists": True}}, collection) is not None


def test_an_id_outside_the_index_can_be_compared_for_equality_only() -> None:
    collection = indexed(deny_all=True)

    assert parse({"_id": 1}, collection) is not None
    assert parse({"_id": {"$in": [1, 2]}}, collection) is not None
    assert refusal({"_id": {"$nin": ["1"]}}, collection) == "FILTER_ID_NOT_INDEXED"
    assert refusal({"$not": {"_id": "1"}}, collection) == "FILTER_ID_NOT_INDEXED"


@pytest.mark.parametrize("clause", [{"$vector": {"$exists": True}}, {"$lexical": {"$match": "x"}}])
def test_special_fields_are_outside_an_index_of_nothing(clause: JsonValue) -> None:
    assert refusal(clause, replace(LEXICAL, indexing=Indexing(deny_all=True))) == "FILTER_PATH_UNINDEXED"


# --- special fields ---------------------------------------------------------


@pytest.mark.parametrize("name", ["$vector", "$vectorize"])
def test_vectors_and_their_texts_exist_or_do_not(name: str) -> None:
    assert shown(parse({name: {"$exists": True}})) == at(name, exists=True)
    assert shown(parse({"$not": {name: {"$exists": True}}})) == {"negated": at(name, exists=True)}


def test_match_is_a_search_by_words() -> None:
    assert shown(parse({"$lexical": {"$match": "red planet"}}, LEXICAL)) == at("$lexical", matchesText="red planet")


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ({"$vector": [1, 2]}, EXPRESSION),
        ({"$vector": 5}, EXPRESSION),
        ({"$vectorize": "text"}, EXPRESSION),
        ({"$vectorize": {"$in": ["text"]}}, EXPRESSION),
        ({"$lexical": "text"}, EXPRESSION),
        ({"$lexical": {"$exists": True}}, EXPRESSION),
        ({"$lexical": {"$match": 5}}, EXPRESSION),
        ({"$not": {"$lexical": {"$match": "text"}}}, EXPRESSION),
        ({"$vector.0": 1}, EXPRESSION),
    ],
)
def test_other_conditions_on_special_fields_are_refused(clause: JsonValue, code: str) -> None:
    assert refusal(clause, LEXICAL) == code


@pytest.mark.parametrize(
    "clause",
    [
        {"$lexical": {"$match": "x"}},
        {"$lexical": {"$match": 5}},
        {"$lexical": {"$exists": True}},
        {"$lexical": "x"},
        {"$not": {"$lexical": {"$match": "x"}}},
    ],
)
def test_words_need_a_collection_with_lexical_search(clause: JsonValue) -> None:
    assert refusal(clause) == "LEXICAL_NOT_ENABLED_FOR_COLLECTION"


# --- the seed of an upsert --------------------------------------------------


@pytest.mark.parametrize(
    ("clause", "seed"),
    [
        (None, {}),
        ({}, {}),
        ({"_id": "x", "name": "n", "phone": None}, {"_id": "x", "name": "n", "phone": None}),
        ({"_id": {"$uuid": UUID}}, {"_id": {"$uuid": UUID}}),
        ({"a": {"$eq": [1]}, "b": {"c": 1}, "d": {"$date": 5}}, {"a": [1], "b": {"c": 1}, "d": {"$date": 5}}),
        ({"a.b": 1, "a.c.d": 2, "x&.y": 3}, {"a": {"b": 1, "c": {"d": 2}}, "x.y": 3}),
        ({"a": {"$eq": {}}, "b": {}}, {"a": {}}),
        ({"a": {"$gt": 1}, "b": {"$in": [1]}, "c": {"$ne": None}, "d": {"$exists": True}}, {}),
        ({"_id": {"$in": [7]}, "n": {"$in": [1]}}, {"_id": 7}),
        ({"_id": {"$in": [7, 8]}}, {}),
        ({"$and": [{"a": 1}], "$or": [{"a": 1}], "$not": {"a": 1}, "$vector": {"$exists": True}}, {}),
    ],
)
def test_an_upsert_starts_from_the_equalities_at_the_top(clause: JsonValue, seed: JsonObject) -> None:
    assert equality_seed(clause) == seed


def test_a_seed_leaves_the_clause_as_it_was() -> None:
    clause: JsonValue = {"a": {"b": 1}, "a.c": 2}

    assert equality_seed(clause) == {"a": {"b": 1, "c": 2}}
    assert clause == {"a": {"b": 1}, "a.c": 2}
