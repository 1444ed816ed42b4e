"""Updates: what each operator becomes, in what order, and which clauses are refused with which code."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonObject, JsonValue
from services.documents.paths import Path, format_path, parse_path
from services.gateway.collection import Collection, CollectionOptions, LexicalOptions, VectorOptions
from services.gateway.grammar.update import UpdateClause, check_update_shape, parse_update
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError

COLLECTION = Collection(
    "default",
    "default_keyspace",
    "planets",
    "uid",
    CollectionOptions(
        vector=VectorOptions(dimension=2, metric="cosine", source_model="other"),
        lexical=LexicalOptions(enabled=True, analyzer="standard"),
    ),
)


def parse(clause: JsonValue, collection: Collection = COLLECTION) -> UpdateClause:
    return parse_update(clause, collection, Limits())


def operation(path: str, **kind: Any) -> pb.UpdateOperation:
    return pb.UpdateOperation(path=pb.Path(segments=parse_path(path)), **kind)


def refusal(clause: JsonValue, collection: Collection = COLLECTION) -> str:
    with pytest.raises(DataApiError) as caught:
        parse(clause, collection)
    return caught.value.code


PARAMETER = "UNSUPPORTED_UPDATE_OPERATION_PARAM"
MODIFIER = "UNSUPPORTED_UPDATE_OPERATION_MODIFIER"
PATH = "UNSUPPORTED_UPDATE_OPERATION_PATH"

# --- operations -------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "argument", "kind"),
    [
        ("$set", {"x": [Decimal("1.50"), None]}, {"set": b'{"x":[1.50,null]}'}),
        ("$setOnInsert", "text", {"set_on_insert": b'"text"'}),
        ("$unset", "", {"unset": True}),
        ("$inc", -4, {"increment": "-4"}),
        ("$inc", 10**60, {"increment": "1" + "0" * 60}),
        ("$mul", Decimal("0.10"), {"multiply": "0.10"}),
        ("$min", None, {"minimum": b"null"}),
        ("$max", [1], {"maximum": b"[1]"}),
        ("$rename", "b.c", {"rename_to": pb.Path(segments=["b", "c"])}),
        ("$currentDate", True, {"current_date": True}),
        ("$currentDate", {"$type": "date"}, {"current_date": True}),
        ("$pop", -1, {"pop": -1}),
        ("$pop", 1, {"pop": 1}),
        ("$push", 13, {"push": pb.Push(values=[b"13"])}),
        ("$push", {"x": 1}, {"push": pb.Push(values=[b'{"x":1}'])}),
        ("$push", [1, 2], {"push": pb.Push(values=[b"[1,2]"])}),
        ("$push", {"$each": [1, {"$date": 5}]}, {"push": pb.Push(values=[b"1", b'{"$date":5}'])}),
        ("$push", {"$each": [], "$position": -999}, {"push": pb.Push(position=-999)}),
        ("$push", {"$each": [1], "$position": 10**30}, {"push": pb.Push(values=[b"1"], position=(1 << 31) - 1)}),
        ("$addToSet", "v", {"add_to_set": pb.AddToSet(values=[b'"v"'])}),
        ("$addToSet", {"$each": [1, 2]}, {"add_to_set": pb.AddToSet(values=[b"1", b"2"])}),
    ],
)
def test_operators(operator: str, argument: JsonValue, kind: dict[str, Any]) -> None:
    assert parse({operator: {"a": argument}}) == UpdateClause((operation("a", **kind),), (), None)


def test_an_empty_update_changes_nothing() -> None:
    assert parse({}) == UpdateClause((), (), None)
    assert parse({"$set": {}}) == UpdateClause((), (), None)


def test_operators_apply_in_alphabetical_order_and_so_do_their_paths() -> None:
    clause = parse(
        {"$unset": {"z": 1}, "$set": {"b": 1, "a&.x": 2, "a": 3}, "$inc": {"n": 1}, "$setOnInsert": {"_id": 7}}
    )

    assert clause.operations == (
        operation("n", increment="1"),
        operation("a", set=b"3"),
        operation("a&.x", set=b"2"),
        operation("b", set=b"1"),
        operation("_id", set_on_insert=b"7"),
        operation("z", unset=True),
    )


# --- refusals ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ([], "UNSUPPORTED_UPDATE_DATA_TYPE"),
        ("x", "UNSUPPORTED_UPDATE_DATA_TYPE"),
        ({"$set": 5}, "UNSUPPORTED_UPDATE_DATA_TYPE"),
        ({"$set": None}, "UNSUPPORTED_UPDATE_DATA_TYPE"),
        ({"name": "x"}, "UNSUPPORTED_UPDATE_OPERATION"),
        ({"$bit": {"a": 1}}, "UNSUPPORTED_UPDATE_OPERATION"),
        ({"$pullAll": {"a": [1]}}, "UNSUPPORTED_UPDATE_OPERATION"),
    ],
)
def test_the_shape_is_refused_whatever_the_collection(clause: JsonValue, code: str) -> None:
    with pytest.raises(DataApiError) as caught:
        check_update_shape(clause)

    assert caught.value.code == code
    assert refusal(clause) == code


@pytest.mark.parametrize(
    ("operator", "argument", "code"),
    [
        ("$inc", "1", PARAMETER),
        ("$inc", True, PARAMETER),
        ("$mul", None, PARAMETER),
        ("$pop", 2, PARAMETER),
        ("$pop", 0, PARAMETER),
        ("$pop", True, PARAMETER),
        ("$pop", "1", PARAMETER),
        ("$currentDate", False, PARAMETER),
        ("$currentDate", 123, PARAMETER),
        ("$currentDate", 1, PARAMETER),
        ("$currentDate", {"$type": "timestamp"}, PARAMETER),
        ("$push", {"$each": 5}, PARAMETER),
        ("$push", {"$position": 1}, PARAMETER),
        ("$push", {"$each": [1], "$position": Decimal("1.5")}, PARAMETER),
        ("$push", {"$each": [1], "$position": None}, PARAMETER),
        ("$push", {"$each": [1], "$sort": 1}, MODIFIER),
        ("$push", {"$each": [1], "plain": 1}, MODIFIER),
        ("$push", {"$date": 5}, MODIFIER),
        ("$addToSet", {"$each": [1], "$position": 1}, MODIFIER),
        ("$addToSet", {"$each": {"a": 1}}, PARAMETER),
        ("$rename", 5, PARAMETER),
        ("$rename", "a", PATH),
        ("$rename", "a.b", PATH),
        ("$rename", "b..c", PATH),
        ("$rename", "_id", "UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID"),
        ("$rename", "$vector", "UNSUPPORTED_UPDATE_OPERATOR_FOR_VECTOR"),
        ("$rename", "$other", "SHRED_BAD_FIELD_NAME"),
    ],
)
def test_arguments_that_are_refused(operator: str, argument: JsonValue, code: str) -> None:
    assert refusal({operator: {"a": argument}}) == code


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a&b", "a&"])
@pytest.mark.parametrize("operator", ["$set", "$unset", "$inc"])
def test_paths_that_are_refused(operator: str, path: str) -> None:
    assert refusal({operator: {path: 1}}) == PATH


@pytest.mark.parametrize(
    ("operator", "path", "code"),
    [
        *(
            (operator, "_id", "UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID")
            for operator in ("$set", "$unset", "$inc", "$min")
        ),
        ("$set", "_id.$uuid", "UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID"),
        ("$setOnInsert", "_id.$uuid", "UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID"),
        *((operator, "$vector", "UNSUPPORTED_UPDATE_OPERATOR_FOR_VECTOR") for operator in ("$push", "$pop", "$min")),
        *((operator, "$vectorize", "UNSUPPORTED_UPDATE_OPERATOR_FOR_VECTORIZE") for operator in ("$max", "$rename")),
        *((operator, "$lexical", "UNSUPPORTED_UPDATE_OPERATOR_FOR_LEXICAL") for operator in ("$addToSet", "$pop")),
        *((operator, path, MODIFIER) for operator in ("$inc", "$mul") for path in ("$vector", "$lexical", "$other")),
        *((operator, "$other", PARAMETER) for operator in ("$push", "$addToSet")),
        *(
            (operator, "$other", "SHRED_BAD_FIELD_NAME")
            for operator in ("$set", "$setOnInsert", "$min", "$currentDate")
        ),
        ("$set", "$vector.0", "SHRED_BAD_FIELD_NAME"),
        ("$set", "$hybrid", "SHRED_BAD_FIELD_NAME"),
    ],
)
def test_protected_paths(operator: str, path: str, code: str) -> None:
    assert refusal({operator: {path: 1}}) == code


def test_an_id_to_insert_must_be_one() -> None:
    assert refusal({"$setOnInsert": {"_id": [1]}}) == "SHRED_BAD_DOCID_TYPE"
    assert refusal({"$setOnInsert": {"_id": ""}}) == "SHRED_BAD_DOCID_VALUE"


@pytest.mark.parametrize(
    "clause",
    [
        {"$set": {"a": 1}, "$unset": {"a": 1}},
        {"$set": {"root.array.1": 13}, "$unset": {"root.array": 1}},
        {"$set": {"a": 1, "a.b": 1}},
        {"$set": {"a": 1, "a-b": 1, "a.b": 1}},
        {"$rename": {"a": "b"}, "$set": {"a": 1}},
        {"$set": {"$vectorize": "x"}, "$setOnInsert": {"$vectorize": "y"}},
        {"$set": {"$vector": [1, 2]}, "$unset": {"$vectorize": 1}},
    ],
)
def test_a_path_is_changed_once(clause: JsonValue) -> None:
    assert refusal(clause) == PARAMETER


def test_only_the_source_of_a_rename_conflicts() -> None:
    assert len(parse({"$rename": {"a": "b"}, "$set": {"b": 1}}).operations) == 2


paths = st.lists(st.sampled_from(["a", "b", "a.b", "a-", "&"]), min_size=1, max_size=3).map(tuple)


@given(st.lists(paths, max_size=3, unique=True), st.lists(paths, max_size=3, unique=True))
def test_conflicts_are_the_same_within_and_across_operators(set_paths: list[Path], unset_paths: list[Path]) -> None:
    everything = [*set_paths, *unset_paths]
    conflict = any(
        other[: len(one)] == one
        for at, one in enumerate(everything)
        for other_at, other in enumerate(everything)
        if at != other_at
    )
    clause: JsonObject = {
        "$set": {format_path(path): 1 for path in set_paths},
        "$unset": {format_path(path): 1 for path in unset_paths},
    }

    if conflict:
        assert refusal(clause) == PARAMETER
    else:
        assert len(parse(clause).operations) == len(everything)


# --- what lies beside the document ------------------------------------------

VECTOR = pb.Vector(values=np.array([1, 2], "<f4").tobytes(), literal=b"[1,2]")


@pytest.mark.parametrize(
    ("clause", "special", "text"),
    [
        ({"$set": {"$vector": [1, 2]}}, pb.SpecialAssignments(vector=VECTOR), None),
        (
            {"$set": {"$vector": {"$binary": "P4AAAEAAAAA="}}},
            pb.SpecialAssignments(vector=pb.Vector(values=VECTOR.values, literal=b"$binary")),
            None,
        ),
        ({"$set": {"$vector": None}}, pb.SpecialAssignments(vector=pb.Vector()), None),
        (
            {"$set": {"$vectorize": "red planet"}},
            pb.SpecialAssignments(vectorize=pb.Vectorize(text=b'"red planet"')),
            "red planet",
        ),
        ({"$set": {"$vectorize": None}}, pb.SpecialAssignments(blank_vectorize=b"null"), None),
        ({"$set": {"$vectorize": " "}}, pb.SpecialAssignments(blank_vectorize=b'" "'), None),
        ({"$unset": {"$vectorize": 1}}, pb.SpecialAssignments(unset=True), None),
        ({"$unset": {"$vector": 1}}, pb.SpecialAssignments(unset=True), None),
        ({"$set": {"$lexical": "words"}}, pb.SpecialAssignments(lexical=b'"words"'), None),
        ({"$set": {"$lexical": None}}, pb.SpecialAssignments(lexical=b"null"), None),
        ({"$unset": {"$lexical": 1}}, pb.SpecialAssignments(unset_lexical=True), None),
        (
            {"$setOnInsert": {"$vectorize": "x", "$lexical": "y"}},
            pb.SpecialAssignments(vectorize=pb.Vectorize(text=b'"x"'), lexical=b'"y"', on_insert_only=True),
            "x",
        ),
        (
            {"$set": {"$lexical": "x"}, "$unset": {"$vector": 1}},
            pb.SpecialAssignments(lexical=b'"x"', unset=True),
            None,
        ),
    ],
)
def test_special_fields(clause: JsonValue, special: pb.SpecialAssignments, text: str | None) -> None:
    assert parse(clause) == UpdateClause((), (special,), text)


def test_what_is_set_always_and_what_only_on_insert_are_apart() -> None:
    clause = parse({"$setOnInsert": {"$vectorize": "x"}, "$set": {"$lexical": "y"}})

    assert clause.specials == (
        pb.SpecialAssignments(lexical=b'"y"'),
        pb.SpecialAssignments(vectorize=pb.Vectorize(text=b'"x"'), on_insert_only=True),
    )


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ({"$set": {"$vector": [1, 2], "$vectorize": "x"}}, "INVALID_USAGE_OF_VECTORIZE"),
        ({"$unset": {"$vector": 1, "$vectorize": 1}}, "INVALID_USAGE_OF_VECTORIZE"),
        ({"$set": {"$vectorize": 5}}, "INVALID_VECTORIZE_VALUE_TYPE"),
        ({"$set": {"$vector": "x"}}, "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        ({"$set": {"$vector": [1]}}, "INVALID_VECTOR_LENGTH"),
        ({"$set": {"$lexical": 5}}, "SHRED_BAD_DOCUMENT_LEXICAL_TYPE"),
    ],
)
def test_special_values_that_are_refused(clause: JsonValue, code: str) -> None:
    assert refusal(clause) == code


def test_words_need_a_collection_with_lexical_search() -> None:
    plain = Collection("default", "default_keyspace", "planets", "uid", CollectionOptions())

    assert refusal({"$set": {"$lexical": "words"}}, plain) == "LEXICAL_NOT_ENABLED_FOR_COLLECTION"
    assert parse({"$set": {"$lexical": None}}, plain).specials == (pb.SpecialAssignments(lexical=b"null"),)
