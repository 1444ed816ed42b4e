"""insertOne: ids, the rules of documents, vectors."""

import json
from typing import Any

import pytest

from tests.contract.api import Api, error_code


def test_insert_one_answers_the_id(documents: Api) -> None:
    assert documents.run("insertOne", document={"_id": "a", "n": 1}) == {"status": {"insertedIds": ["a"]}}
    assert documents.run("findOne")["data"]["document"] == {"_id": "a", "n": 1}


def test_an_empty_document_gets_an_id_first(documents: Api) -> None:
    (identifier,) = documents.run("insertOne", document={"b": 1, "a": 2})["status"]["insertedIds"]

    assert len(identifier) == 36
    assert list(documents.run("findOne")["data"]["document"]) == ["_id", "b", "a"]


@pytest.mark.parametrize(
    "identifier",
    [
        "a",
        5,
        5.5,
        True,
        None,
        {"$date": 1700000000000},
        {"$uuid": "0191f4c0-0000-7000-8000-000000000001"},
        {"$objectId": "65f000000000000000000001"},
    ],
)
def test_an_id_of_every_type_comes_back(documents: Api, identifier: Any) -> None:
    assert documents.run("insertOne", document={"_id": identifier}) == {"status": {"insertedIds": [identifier]}}
    assert documents.run("findOne", filter={"_id": identifier})["data"]["document"] == {"_id": identifier}


def test_a_uuid_and_its_text_are_one_id(documents: Api) -> None:
    text = "0191F4C0-0000-7000-8000-00000000000A"
    answer = documents.run("insertOne", document={"_id": {"$uuid": text}})

    assert answer["status"]["insertedIds"] == [{"$uuid": text.lower()}]
    assert documents.run("findOne", filter={"_id": text.lower()})["data"]["document"] == {"_id": {"$uuid": text}}
    assert error_code(documents.run("insertOne", document={"_id": text.lower()})) == "DOCUMENT_ALREADY_EXISTS"


def test_an_existing_id_is_refused_and_the_document_untouched(documents: Api) -> None:
    documents.run("insertOne", document={"_id": "a", "n": 1})

    answer = documents.run("insertOne", document={"_id": "a", "n": 2})

    assert answer["status"] == {"insertedIds": []}
    assert error_code(answer) == "DOCUMENT_ALREADY_EXISTS"
    assert answer["errors"][0]["documentIds"] == ["a"]
    assert "'a'" in answer["errors"][0]["message"]
    assert documents.run("findOne")["data"]["document"]["n"] == 1


def test_numbers_come_back_exactly(documents: Api) -> None:
    text = b'{"_id":1,"big":123456789012345678901234567890,"small":0.10000000000000000001,"int":9007199254740993}'
    documents.raw(f"/v1/default_keyspace/{documents.collection}", b'{"insertOne":{"document":' + text + b"}}")

    answer = documents.raw(f"/v1/default_keyspace/{documents.collection}", {"findOne": {}})

    assert text in answer.content


def test_text_of_every_kind_comes_back(documents: Api) -> None:
    document = {"_id": "é\u2028🪐", "a.b": {"c&d": '\u0000\t\\"/'}, "": None}
    document.pop("")
    documents.run("insertOne", document=document)

    assert documents.run("findOne", filter={"_id": document["_id"]})["data"]["document"] == document


DEEP: Any = 1

for _ in range(16):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (None, "SHRED_BAD_DOCUMENT_TYPE"),
        ([], "SHRED_BAD_DOCUMENT_TYPE"),
        ("x", "SHRED_BAD_DOCUMENT_TYPE"),
        ({"_id": ""}, "SHRED_BAD_DOCID_VALUE"),
        ({"_id": {}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": {"$uuid": "x"}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": {"$binary": "AAAA"}}, "SHRED_BAD_DOCID_TYPE"),
        ({"": 1}, "SHRED_BAD_FIELD_NAME"),
        ({"$a": 1}, "SHRED_BAD_FIELD_NAME"),
        ({"a": {"$b": 1, "c": 2}}, "SHRED_BAD_FIELD_NAME"),
        ({"a": {"$unknown": 1}}, "SHRED_BAD_FIELD_NAME"),
        ({"a": {"$vector": [1]}}, "SHRED_BAD_FIELD_NAME"),
        ({"a": {"$date": "2023-01-01"}}, "SHRED_BAD_EJSON_VALUE"),
        ({"a": {"$date": {}}}, "SHRED_BAD_EJSON_VALUE"),
        ({"a": {"$uuid": "x"}}, "SHRED_BAD_EJSON_VALUE"),
        ({"a": [{"$objectId": "x"}]}, "SHRED_BAD_EJSON_VALUE"),
        ({"a": DEEP}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({"a": "x" * 8001}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({"a": [1] * 1001}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({"a": {str(n): 1 for n in range(1001)}}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({"n" * 1001: 1}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({str(n): {str(m): 1 for m in range(500)} for n in range(5)}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({f"f{n}": ["x" * 7999] * 600 for n in range(1)}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({"$vectorize": "x"}, "EMBEDDING_SERVICE_NOT_CONFIGURED"),
        ({"$lexical": 5}, "SHRED_BAD_DOCUMENT_LEXICAL_TYPE"),
        ({"$lexical": "x"}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"$hybrid": []}, "HYBRID_FIELD_UNSUPPORTED_VALUE_TYPE"),
        ({"$hybrid": {"x": 1}}, "HYBRID_FIELD_UNKNOWN_SUBFIELDS"),
        ({"$hybrid": {"$lexical": 1}}, "HYBRID_FIELD_UNSUPPORTED_SUBFIELD_VALUE_TYPE"),
        ({"$hybrid": "a", "$lexical": "b"}, "HYBRID_FIELD_CONFLICT"),
        ({"$vector": [0.1]}, "VECTOR_SEARCH_NOT_SUPPORTED"),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused_and_nothing_written(documents: Api, document: Any, code: str) -> None:
    answer = documents.run("insertOne", document=document)

    assert error_code(answer) == code
    assert documents.run("countDocuments")["status"]["count"] == 0


@pytest.mark.parametrize(
    "document",
    [
        {"a": "x" * 8000},
        {"a": [1] * 1000},
        {"a": DEEP["a"]["a"]},
        {"n" * 1000: 1},
        {"price.usd": 1, "a&b": {"c.d": [{"e f": 1}]}},
        {"a.b": {"c": 1}, "a": {"b.c": 2}},
        {"d": {"$date": -5}, "b": {"$binary": "AAAA"}, "u": {"$uuid": "0191F4C0-0000-7000-8000-00000000000A"}},
    ],
)
def test_a_document_at_the_limits_comes_back_as_it_was(documents: Api, document: dict[str, Any]) -> None:
    assert "errors" not in documents.run("insertOne", document={"_id": 1, **document})

    assert documents.run("findOne")["data"]["document"] == {"_id": 1, **document}


def test_a_missing_document_is_an_error_of_the_command(documents: Api) -> None:
    answer = documents.run("insertOne")

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert answer.keys() == {"errors"}


def test_insert_one_takes_no_options(documents: Api) -> None:
    assert error_code(documents.run("insertOne", document={}, options={"a": 1})) == "COMMAND_ACCEPTS_NO_OPTIONS"


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        ([], "SHRED_BAD_VECTOR_SIZE"),
        ([1, "x", 3], "SHRED_BAD_VECTOR_VALUE"),
        ([1, 2], "INVALID_VECTOR_LENGTH"),
        ([0, 0, 0], "INVALID_DATABASE_QUERY"),
        ("x", "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        ({"x": 1}, "SHRED_BAD_DOCUMENT_VECTOR_TYPE"),
        ({"$binary": 5}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ({"$binary": "x"}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ({"$binary": "AAA="}, "SHRED_BAD_BINARY_VECTOR_VALUE"),
        ([0.1] * 4097, "SHRED_DOC_LIMIT_VIOLATION"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(vectors: Api, vector: Any, code: str) -> None:
    answer = vectors.run("insertOne", document={"_id": "v", "$vector": vector})

    assert error_code(answer) == code
    assert answer["status"] == {"insertedIds": []}
    assert vectors.run("countDocuments")["status"]["count"] == 0


@pytest.mark.parametrize("vector", [[0.1, 0.25, -3], {"$binary": "PczMzT6AAADAQAAA"}, None])
def test_a_vector_comes_back_in_the_form_it_was_sent(vectors: Api, vector: Any) -> None:
    vectors.run("insertOne", document={"_id": 1, "$vector": vector})

    assert vectors.run("findOne")["data"]["document"] == {"_id": 1}
    assert vectors.run("findOne", projection={"$vector": 1})["data"]["document"] == {"_id": 1, "$vector": vector}


@pytest.mark.parametrize("default_id", ["uuid", "uuidv6", "uuidv7", "objectId"])
def test_generated_ids_are_of_the_collections_kind(api: Api, default_id: str) -> None:
    api.collection = f"ids_{default_id}"
    api.at_keyspace("createCollection", name=api.collection, options={"defaultId": {"type": default_id}})

    (identifier,) = api.run("insertOne", document={})["status"]["insertedIds"]

    assert list(identifier) == ["$objectId" if default_id == "objectId" else "$uuid"]
    assert json.loads(json.dumps(identifier)) == api.run("findOne")["data"]["document"]["_id"]
    api.at_keyspace("deleteCollection", name=api.collection)


@pytest.mark.parametrize("members", [{}, {"$lexical": None}, {"$hybrid": None}, {"$vectorize": None}])
def test_special_members_may_be_null(texts: Api, members: dict[str, None]) -> None:
    assert texts.run("insertOne", document={"_id": 1, **members}) == {"status": {"insertedIds": [1]}}


@pytest.mark.parametrize("options", [{}, None])
def test_empty_options_are_none(documents: Api, options: object) -> None:
    assert documents.run("insertOne", document={"_id": 1}, options=options) == {"status": {"insertedIds": [1]}}
