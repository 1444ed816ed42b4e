"""Postings: what the filter index holds of a document."""

import pytest

from services.documents.codec import JsonObject, encode
from services.documents.indexing import EVERYTHING, Indexing
from services.documents.values import composite_key, order_key
from services.runtime.errors import DataApiError
from services.store.postings import ELEMENT, SIZE, VALUE, Posting, indexed_record, next_kind, postings_of
from services.store.records import Record


def value(path: str, scalar: int | str | bool | None) -> Posting:
    return tuple(path.split(".")), VALUE + order_key(scalar)


def test_every_value_is_posted_under_its_path() -> None:
    assert postings_of({"_id": 1, "a": {"b": "x"}, "n": None}, EVERYTHING) == {
        (("a",), VALUE + composite_key({"b": "x"})),
        value("a.b", "x"),
        value("n", None),
    }


def test_an_array_is_posted_by_its_elements_indexes_and_size() -> None:
    assert postings_of({"_id": 1, "t": ["x", "x"]}, EVERYTHING) == {
        (("t",), VALUE + composite_key(["x", "x"])),
        (("t",), ELEMENT + order_key("x")),
        (("t",), SIZE + order_key(2)),
        value("t.0", "x"),
        value("t.1", "x"),
    }


@pytest.mark.parametrize(
    ("indexing", "expected"),
    [
        (Indexing(deny_all=True), set()),
        (Indexing(allow=frozenset({("a", "b")})), {value("a.b", 1)}),
        (
            Indexing(deny=frozenset({("a", "b"), ("d",)})),
            {(("a",), VALUE + composite_key({"c": 2})), value("a.c", 2)},
        ),
    ],
)
def test_only_the_indexed_part_is_posted(indexing: Indexing, expected: set[Posting]) -> None:
    document: JsonObject = {"_id": 1, "a": {"b": 1, "c": 2}, "d": [1]}

    assert postings_of(document, indexing) == expected


def test_rules_reach_through_arrays() -> None:
    document: JsonObject = {"_id": 1, "c": [{"phone": "123", "email": "a@b"}, "phone please"]}

    denied = postings_of(document, Indexing(deny=frozenset({("c", "email")})))
    allowed = postings_of(document, Indexing(allow=frozenset({("c", "email")})))

    assert value("c.0.phone", "123") in denied
    assert (("c",), ELEMENT + composite_key({"phone": "123"})) in denied
    assert not any(path[-1] == "email" for path, _ in denied)
    assert allowed == {value("c.0.email", "a@b")}


def test_rules_that_say_everything_are_as_good_as_none() -> None:
    document: JsonObject = {"_id": 1, "a": [{"b": 1}]}

    assert postings_of(document, Indexing()) == postings_of(document, EVERYTHING)


def test_a_document_is_stored_with_its_id_first() -> None:
    indexed = indexed_record(Record(encode({"a": 1, "_id": 5}), vectorize=b'"t"'), EVERYTHING)

    assert indexed.record == Record(b'{"_id":5,"a":1}', vectorize=b'"t"')
    assert indexed.id_key == order_key(5)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a":1}', "REQUEST_STRUCTURE_MISMATCH"),
        (b'{"_id":""}', "SHRED_BAD_DOCID_VALUE"),
        (b'{"_id":[]}', "SHRED_BAD_DOCID_TYPE"),
    ],
)
def test_a_document_without_an_id_is_refused(text: bytes, code: str) -> None:
    with pytest.raises(DataApiError) as refused:
        indexed_record(Record(text), EVERYTHING)
    assert refused.value.code == code


def test_the_end_of_a_kind_comes_after_all_its_keys() -> None:
    assert VALUE < VALUE + b"\xff" * 9 < next_kind(VALUE)
