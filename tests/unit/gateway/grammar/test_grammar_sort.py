"""Sorts: what each clause becomes, and which clauses are refused with which code."""

from decimal import Decimal

import numpy as np
import pytest
from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonValue
from services.documents.indexing import Indexing
from services.gateway.collection import (
    Collection,
    CollectionOptions,
    LexicalOptions,
    ServiceOptions,
    VectorOptions,
)
from services.gateway.grammar.sort import (
    FieldSort,
    LexicalSort,
    NoSort,
    SortClause,
    VectorizeSort,
    VectorSort,
    parse_sort,
)
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError


def collection(options: CollectionOptions, indexing: Indexing | None = None) -> Collection:
    return Collection("default", "default_keyspace", "planets", "uid", options, indexing or Indexing())


SERVICE = ServiceOptions(provider="local", model_name="all-MiniLM-L6-v2")
PLAIN = collection(CollectionOptions())
VECTORS = collection(CollectionOptions(vector=VectorOptions(dimension=2, metric="cosine", source_model="other")))
VECTORIZE = collection(
    CollectionOptions(
        vector=VectorOptions(dimension=2, metric="cosine", source_model="other", service=SERVICE),
        lexical=LexicalOptions(enabled=True, analyzer="standard"),
    )
)


def parse(clause: JsonValue, target: Collection = VECTORIZE) -> SortClause:
    return parse_sort(clause, target, Limits(sort_candidates=7))


@pytest.mark.parametrize("clause", [None, {}])
def test_no_sort(clause: JsonValue) -> None:
    assert parse(clause) == NoSort()


def test_fields_sort_in_the_order_given() -> None:
    clause = parse({"age": -1, "address.city": 1, "price&.usd": 1, "_id": 1}, PLAIN)

    assert clause == FieldSort(
        pb.FieldSort(
            fields=[
                pb.SortField(path=pb.Path(segments=["age"]), descending=True),
                pb.SortField(path=pb.Path(segments=["address", "city"])),
                pb.SortField(path=pb.Path(segments=["price.usd"])),
                pb.SortField(path=pb.Path(segments=["_id"])),
            ],
            max_candidates=7,
        )
    )


@pytest.mark.parametrize("value", [[Decimal("0.1"), Decimal("0.2")], {"$binary": "PczMzT5MzM0="}])
def test_a_vector_sorts_in_either_form(value: JsonValue) -> None:
    assert parse({"$vector": value}, VECTORS) == VectorSort(np.array([0.1, 0.2], "<f4").tobytes())


def test_texts_sort_by_their_vector_or_by_their_words() -> None:
    assert parse({"$vectorize": "red planet"}) == VectorizeSort("red planet")
    assert parse({"$lexical": "red planet"}) == LexicalSort("red planet")


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ([], "SORT_CLAUSE_INVALID"),
        ("age", "SORT_CLAUSE_INVALID"),
        ({"$vector": [1, 2], "age": 1}, "SORT_CLAUSE_INVALID"),
        ({"age": 1, "$vectorize": "x"}, "SORT_CLAUSE_INVALID"),
        ({"$vector": [1, 2], "$vectorize": "x"}, "SORT_CLAUSE_INVALID"),
        ({"$lexical": 5}, "SORT_CLAUSE_INVALID"),
        ({"age": Decimal("1.0")}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"age": True}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"age": "asc"}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"age": 2}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"age": [1]}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"": 1}, "SORT_CLAUSE_PATH_INVALID"),
        ({"$gt": 1}, "SORT_CLAUSE_PATH_INVALID"),
        ({"a&b": 1}, "SORT_CLAUSE_PATH_INVALID"),
        ({"age": 2, "": 1}, "SORT_CLAUSE_PATH_INVALID"),
        ({"$vector": "x"}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vector": None}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vector": {"binary": "PczMzT5MzM0="}}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vector": {"$binary": "1234"}}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vector": {"$binary": "?"}}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vector": {"$binary": 5}}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vector": []}, "SHRED_BAD_VECTOR_SIZE"),
        ({"$vector": [Decimal("0.1"), "abc"]}, "SHRED_BAD_VECTOR_VALUE"),
        ({"$vector": [1, 2, 3]}, "INVALID_VECTOR_LENGTH"),
        ({"$vector": [0, 0]}, "INVALID_DATABASE_QUERY"),
        ({"$vectorize": " "}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vectorize": [1]}, "SORT_CLAUSE_VALUE_INVALID"),
    ],
)
def test_sorts_that_are_refused(clause: JsonValue, code: str) -> None:
    with pytest.raises(DataApiError) as caught:
        parse(clause)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("clause", "target", "code"),
    [
        ({"$vector": [1, 2]}, PLAIN, "VECTOR_SEARCH_NOT_SUPPORTED"),
        ({"$vectorize": "x"}, PLAIN, "EMBEDDING_SERVICE_NOT_CONFIGURED"),
        ({"$vectorize": "x"}, VECTORS, "EMBEDDING_SERVICE_NOT_CONFIGURED"),
        ({"$lexical": "x"}, VECTORS, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"$lexical": 5}, VECTORS, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"$vector": [1, 2], "$lexical": "x"}, VECTORS, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
    ],
)
def test_sorts_that_a_collection_does_not_offer(clause: JsonValue, target: Collection, code: str) -> None:
    with pytest.raises(DataApiError) as caught:
        parse(clause, target)

    assert caught.value.code == code


def test_a_path_outside_the_index_cannot_be_sorted_by() -> None:
    with pytest.raises(DataApiError) as caught:
        parse({"secret.code": 1}, collection(CollectionOptions(), Indexing(deny=frozenset({("secret",)}))))

    assert caught.value.code == "SORT_CLAUSE_PATH_UNINDEXED"


def test_vectors_and_words_sort_where_nothing_is_indexed() -> None:
    target = collection(VECTORIZE.options, Indexing(deny_all=True))

    assert isinstance(parse({"$vector": [1, 2]}, target), VectorSort)
    assert isinstance(parse({"$lexical": "x"}, target), LexicalSort)
