"""What is told of commands without telling any of their values."""

from decimal import Decimal
from typing import Any

import pytest

from services.gateway.traits import NO_TRAITS, shape, traits


@pytest.mark.parametrize(
    ("members", "sort_type"),
    [
        ({}, "NONE"),
        ({"sort": {}}, "NONE"),
        ({"sort": {"year": 1}}, "SORT_BY_FIELD"),
        ({"sort": {"$vector": [1, 2]}}, "SIMILARITY_SORT"),
        ({"sort": {"$vectorize": "text"}, "filter": {}}, "SIMILARITY_SORT"),
        ({"sort": {"$vectorize": "text"}, "filter": {"year": 1}}, "SIMILARITY_SORT_WITH_FILTERS"),
        ({"sort": {"$vector": [1], "year": 1}}, "SORT_BY_FIELD"),
        ({"sort": "nonsense"}, "NONE"),
    ],
)
def test_how_a_command_sorts(members: dict[str, Any], sort_type: str) -> None:
    assert traits(members).sort_type == sort_type


@pytest.mark.parametrize(
    ("members", "features"),
    [
        ({"sort": {"$vector": [1]}}, {"feature_vector"}),
        ({"document": {"$vectorize": "text"}}, {"feature_vectorize"}),
        ({"documents": [{}, {"$lexical": "a"}, {"$vector": [1]}]}, {"feature_lexical", "feature_vector"}),
        ({"replacement": {"$hybrid": "text"}}, {"feature_hybrid_string"}),
        ({"update": {"$set": {"$vectorize": "text"}}}, {"feature_vectorize"}),
        ({"options": {"hybridLimits": Decimal(5)}}, {"feature_hybrid_limits_number"}),
        (
            {"options": {"hybridLimits": {"$vector": 1, "$lexical": 2}}},
            {"feature_hybrid_limits_vector", "feature_hybrid_limits_lexical"},
        ),
        ({"documents": [1, None], "update": {"$set": 3}, "options": []}, set()),
    ],
)
def test_which_features_a_command_uses(members: dict[str, Any], features: set[str]) -> None:
    assert traits(members).features == features


@pytest.mark.parametrize(
    ("filter_", "indexes"),
    [
        ({"_id": 1}, {"key"}),
        ({"a": {"$exists": True}}, {"exist_keys"}),
        ({"a": {"$size": 1}}, {"array_size"}),
        ({"a": "x", "b": {"$in": [1]}}, {"array_contains"}),
        ({"a": None}, {"query_null_values"}),
        ({"a": {"$gt": 1, "$lt": Decimal("2.5")}}, {"query_dbl_values"}),
        ({"a": {"$gte": "x"}}, {"query_text_values"}),
        ({"a": {"$lt": True}}, {"query_bool_values"}),
        ({"a": {"$lt": {"$date": 1}}}, {"query_timestamp_values"}),
        (
            {"$or": [{"_id": 1}, {"$and": [{"a": {"$size": 1}}]}], "$not": {"b": 1}},
            {"key", "array_size", "array_contains"},
        ),
        ({"a": {"$date": 5}}, {"array_contains"}),
    ],
)
def test_which_kinds_of_conditions_a_filter_has(filter_: dict[str, Any], indexes: set[str]) -> None:
    assert traits({"filter": filter_}).indexes == indexes


def test_a_search_by_vector_uses_its_index() -> None:
    assert traits({"sort": {"$vector": [1]}}).indexes == {"query_vector_value"}
    assert traits({"document": {"$vector": [1]}}).indexes == set()


def test_how_many_documents_came() -> None:
    assert traits({"documents": [1, 2]}).documents == 2
    assert traits({"document": {}}).documents == 1
    assert traits({"filter": {}}).documents is None
    assert NO_TRAITS.documents is None


def test_a_shape_has_kinds_in_the_place_of_values() -> None:
    filter_ = {
        "name": "secret",
        "age": {"$gt": 17, "$lt": Decimal("1.5")},
        "$or": [{"a": True}, {"b": None}],
        "tags": {"$in": ["secret", "secret"]},
        "when": {"$date": 5},
        "address": {"street": "secret"},
        "$not": {"list": [1, 2, 3]},
    }
    assert shape(filter_) == {
        "name": "string",
        "age": {"$gt": "number", "$lt": "number"},
        "$or": [{"a": "boolean"}, {"b": "null"}],
        "tags": {"$in": "array of 2"},
        "when": "date",
        "address": "object",
        "$not": {"list": "array of 3"},
    }


@pytest.mark.parametrize("value", ["secret", ["secret"], {"$and": "secret"}, {"$or": ["secret", ["secret"]]}])
def test_what_is_no_filter_at_all_has_a_shape_too(value: Any) -> None:
    assert "secret" not in str(shape(value))
    traits({"filter": value, "sort": value})


def test_a_very_large_filter_is_cut() -> None:
    wide = {f"field{number}": number for number in range(100_000)}
    deep: Any = {"a": 1}
    for _ in range(900):
        deep = {"$and": [deep, {"n" * 10_000: 1}]}
    for filter_ in (wide, deep):
        assert len(str(shape(filter_))) < 20_000
        traits({"filter": filter_})
