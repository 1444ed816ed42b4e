"""updateOne, updateMany, findOneAndUpdate and findOneAndReplace: operators, upserts, images, pages."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code

START = {"_id": 1, "n": 5, "t": "text", "o": {"a": 1, "b": {"c": 2}}, "l": [1, 2, 3], "z": None}


@pytest.fixture
def one(documents: Api) -> Api:
    """A collection with one document."""
    documents.run("insertOne", document=START)
    return documents


def stored(api: Api, identifier: object = 1) -> Any:
    """Return a document."""
    return api.run("findOne", filter={"_id": identifier})["data"]["document"]


@pytest.mark.parametrize(
    ("update", "changes"),
    [
        ({"$set": {"n": 6}}, {"n": 6}),
        ({"$set": {"o.b.d": [1]}}, {"o": {"a": 1, "b": {"c": 2, "d": [1]}}}),
        ({"$set": {"l.1": "x"}}, {"l": [1, "x", 3]}),
        ({"$set": {"l.5": 6}}, {"l": [1, 2, 3, None, None, 6]}),
        ({"$set": {"new.path": True}}, {"new": {"path": True}}),
        ({"$set": {"o&.b": 1}}, {"o.b": 1}),
        ({"$set": {"d": {"$date": 5}}}, {"d": {"$date": 5}}),
        ({"$unset": {"l.0": ""}}, {"l": [None, 2, 3]}),
        ({"$inc": {"n": 2}}, {"n": 7}),
        ({"$inc": {"n": 0.1, "m": -1}}, {"n": 5.1, "m": -1}),
        ({"$inc": {"n": 10**30}}, {"n": 10**30 + 5}),
        ({"$mul": {"n": 3, "m": 9}}, {"n": 15, "m": 0}),
        ({"$min": {"n": 4, "t": 1}}, {"n": 4, "t": 1}),
        ({"$max": {"n": 9, "t": True, "m": 1}}, {"n": 9, "t": True, "m": 1}),
        ({"$push": {"l": 4}}, {"l": [1, 2, 3, 4]}),
        ({"$push": {"l": {"$each": [8, 9], "$position": 1}}}, {"l": [1, 8, 9, 2, 3]}),
        ({"$push": {"l": {"$each": [8], "$position": -1}}}, {"l": [1, 2, 8, 3]}),
        ({"$push": {"l": {"$each": [8], "$position": -99}}}, {"l": [8, 1, 2, 3]}),
        ({"$push": {"m": {"x": 1}}}, {"m": [{"x": 1}]}),
        ({"$addToSet": {"l": {"$each": [3, 4, 4]}}}, {"l": [1, 2, 3, 4]}),
        ({"$pop": {"l": 1}}, {"l": [1, 2]}),
        ({"$pop": {"l": -1}}, {"l": [2, 3]}),
        ({"$set": {"a": 1}, "$inc": {"n": 1}, "$push": {"l": 0}}, {"a": 1, "n": 6, "l": [1, 2, 3, 0]}),
    ],
)
def test_operators(one: Api, update: dict[str, Any], changes: dict[str, Any]) -> None:
    answer = one.run("updateOne", filter={"_id": 1}, update=update)

    assert answer == {"status": {"matchedCount": 1, "modifiedCount": 1}}
    assert stored(one) == {**START, **changes}


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"$unset": {"o.b": "", "t": 1}}, {"_id": 1, "n": 5, "o": {"a": 1}, "l": [1, 2, 3], "z": None}),
        (
            {"$rename": {"o.b": "moved"}},
            {"_id": 1, "n": 5, "t": "text", "o": {"a": 1}, "l": [1, 2, 3], "z": None, "moved": {"c": 2}},
        ),
        ({"$rename": {"n": "t"}}, {"_id": 1, "t": 5, "o": START["o"], "l": [1, 2, 3], "z": None}),
    ],
)
def test_operators_that_take_away(one: Api, update: dict[str, Any], expected: dict[str, Any]) -> None:
    one.run("updateOne", filter={"_id": 1}, update=update)

    assert stored(one) == expected


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"$set": {"n": 5}},
        {"$set": {"n": 5.0}},
        {"$inc": {"n": 0}},
        {"$mul": {"n": 1}},
        {"$min": {"n": 6}},
        {"$max": {"n": 5}},
        {"$unset": {"never": 1}},
        {"$pop": {"never": 1}},
        {"$rename": {"never": "x"}},
        {"$addToSet": {"l": 2}},
        {"$setOnInsert": {"n": 9}},
    ],
)
def test_an_update_that_changes_nothing_counts_nothing(one: Api, update: dict[str, Any]) -> None:
    answer = one.run("updateOne", filter={"_id": 1}, update=update)

    assert answer == {"status": {"matchedCount": 1, "modifiedCount": 0}}
    assert stored(one) == START


def test_the_current_date(one: Api) -> None:
    one.run("updateOne", filter={"_id": 1}, update={"$currentDate": {"a": True, "b": {"$type": "date"}}})

    document = stored(one)
    assert document["a"] == document["b"]
    assert document["a"]["$date"] > 1_700_000_000_000


@pytest.mark.parametrize(
    ("update", "code"),
    [
        ([], "UNSUPPORTED_UPDATE_DATA_TYPE"),
        ({"$set": 5}, "UNSUPPORTED_UPDATE_DATA_TYPE"),
        ({"a": 1}, "UNSUPPORTED_UPDATE_OPERATION"),
        ({"$pullAll": {"l": [1]}}, "UNSUPPORTED_UPDATE_OPERATION"),
        ({"$set": {"n": 1}, "$inc": {"n": 1}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$set": {"o": 1, "o.a": 1}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$inc": {"n": "x"}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$inc": {"t": 1}}, "UNSUPPORTED_UPDATE_OPERATION_TARGET"),
        ({"$inc": {"z": 1}}, "UNSUPPORTED_UPDATE_OPERATION_TARGET"),
        ({"$mul": {"o": 1}}, "UNSUPPORTED_UPDATE_OPERATION_TARGET"),
        ({"$inc": {"$vector": 1}}, "UNSUPPORTED_UPDATE_OPERATION_MODIFIER"),
        ({"$push": {"n": 1}}, "UNSUPPORTED_UPDATE_OPERATION_TARGET"),
        ({"$push": {"z": 1}}, "UNSUPPORTED_UPDATE_OPERATION_TARGET"),
        ({"$push": {"l": {"$each": 5}}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$push": {"l": {"$position": 5}}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$push": {"l": {"$each": [1], "$position": "x"}}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$push": {"l": {"$each": [1], "$sort": 1}}}, "UNSUPPORTED_UPDATE_OPERATION_MODIFIER"),
        ({"$addToSet": {"l": {"$each": [1], "$position": 1}}}, "UNSUPPORTED_UPDATE_OPERATION_MODIFIER"),
        ({"$addToSet": {"t": 1}}, "UNSUPPORTED_UPDATE_OPERATION_TARGET"),
        ({"$pop": {"l": 2}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$pop": {"l": "x"}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$pop": {"n": 1}}, "UNSUPPORTED_UPDATE_OPERATION_TARGET"),
        ({"$rename": {"n": 5}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$rename": {"n": "n"}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$rename": {"l.0": "x"}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$rename": {"n": "l.0"}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$currentDate": {"a": False}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$currentDate": {"a": {"$type": "timestamp"}}}, "UNSUPPORTED_UPDATE_OPERATION_PARAM"),
        ({"$set": {"a..b": 1}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$set": {"": 1}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$set": {"l.x": 1}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$set": {"n.x": 1}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$set": {"z.x": 1}}, "UNSUPPORTED_UPDATE_OPERATION_PATH"),
        ({"$set": {"_id": 2}}, "UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID"),
        ({"$unset": {"_id": 1}}, "UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID"),
        ({"$push": {"$vector": 1}}, "UNSUPPORTED_UPDATE_OPERATOR_FOR_VECTOR"),
        ({"$min": {"$vectorize": 1}}, "UNSUPPORTED_UPDATE_OPERATOR_FOR_VECTORIZE"),
        ({"$rename": {"$lexical": "x"}}, "UNSUPPORTED_UPDATE_OPERATOR_FOR_LEXICAL"),
        ({"$set": {"$other": 1}}, "SHRED_BAD_FIELD_NAME"),
        ({"$set": {"a": {"$date": "x"}}}, "SHRED_BAD_EJSON_VALUE"),
        ({"$set": {"a": "x" * 8001}}, "SHRED_DOC_LIMIT_VIOLATION"),
        ({"$set": {"$vectorize": "x"}}, "EMBEDDING_SERVICE_NOT_CONFIGURED"),
        ({"$set": {"$vectorize": 5}}, "INVALID_VECTORIZE_VALUE_TYPE"),
        ({"$set": {"$lexical": "x"}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
    ],
)
def test_bad_updates_are_refused_and_leave_the_document(one: Api, update: Any, code: str) -> None:
    answer = one.run("updateOne", filter={"_id": 1}, update=update)

    assert answer.keys() == {"errors"}
    assert error_code(answer) == code
    assert stored(one) == START


@pytest.mark.parametrize("command", ["updateOne", "updateMany", "findOneAndUpdate"])
@pytest.mark.parametrize("members", [{}, {"update": None}])
def test_the_update_is_required(one: Api, command: str, members: dict[str, Any]) -> None:
    answer = one.run(command, filter={}, **members)

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "command.updateClause" in answer["errors"][0]["message"]


def test_nothing_matched(one: Api) -> None:
    answer = one.run("updateOne", filter={"_id": 2}, update={"$set": {"a": 1}})

    assert answer == {"status": {"matchedCount": 0, "modifiedCount": 0}}


def test_the_first_of_a_sort_is_updated(one: Api) -> None:
    one.run("insertOne", document={"_id": 2, "n": 6})

    one.run("updateOne", sort={"n": -1}, update={"$set": {"hit": True}})

    assert stored(one, 2)["hit"] is True


@pytest.mark.parametrize(
    ("filter_", "update", "expected"),
    [
        (
            {"_id": "x", "name": "n", "phone": None, "o.a": 1, "l": {"$eq": [1]}},
            {"$set": {"s": 1}},
            {"_id": "x", "name": "n", "phone": None, "o": {"a": 1}, "l": [1], "s": 1},
        ),
        ({"_id": "x", "n": {"$gt": 1}, "$and": [{"b": 1}]}, {"$set": {"s": 1}}, {"_id": "x", "s": 1}),
        ({"_id": "x"}, {"$setOnInsert": {"_id": "y", "a": 1}}, {"_id": "y", "a": 1}),
        ({"_id": "x"}, {"$inc": {"n": 2}, "$mul": {"m": 3}, "$push": {"l": 1}}, {"_id": "x", "n": 2, "m": 0, "l": [1]}),
        ({"_id": "x"}, {}, {"_id": "x"}),
    ],
)
def test_an_upsert_creates_the_document(
    documents: Api, filter_: dict[str, Any], update: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = documents.run("updateOne", filter=filter_, update=update, options={"upsert": True})

    assert answer == {"status": {"matchedCount": 0, "modifiedCount": 0, "upsertedId": expected["_id"]}}
    assert stored(documents, expected["_id"]) == expected


def test_an_upsert_without_an_id_generates_one(documents: Api) -> None:
    answer = documents.run("updateMany", filter={"a": 1}, update={"$set": {"b": 2}}, options={"upsert": True})

    identifier = answer["status"]["upsertedId"]
    assert stored(documents, identifier) == {"_id": identifier, "a": 1, "b": 2}


def test_update_many_goes_by_fifty(documents: Api) -> None:
    documents.run("insertMany", documents=[{"_id": n, "on": True} for n in range(55)])
    update = {"$set": {"on": False}}

    first = documents.run("updateMany", filter={"on": True}, update=update)["status"]
    assert (first["matchedCount"], first["modifiedCount"], first["moreData"]) == (50, 50, True)
    second = documents.run(
        "updateMany", filter={"on": True}, update=update, options={"pageState": first["nextPageState"]}
    )
    assert second == {"status": {"matchedCount": 5, "modifiedCount": 5}}
    assert documents.run("countDocuments", filter={"on": True})["status"]["count"] == 0


def test_update_many_takes_no_sort(one: Api) -> None:
    assert error_code(one.run("updateMany", sort={"a": 1}, update={})) == "COMMAND_FIELD_UNKNOWN"


@pytest.mark.parametrize(("image", "n"), [(None, 5), ("before", 5), ("after", 6)])
def test_find_one_and_update_returns_an_image(one: Api, image: str | None, n: int) -> None:
    options = {} if image is None else {"returnDocument": image}
    answer = one.run(
        "findOneAndUpdate", filter={"_id": 1}, update={"$inc": {"n": 1}}, projection={"n": 1}, options=options
    )

    assert answer == {"data": {"document": {"_id": 1, "n": n}}, "status": {"matchedCount": 1, "modifiedCount": 1}}


@pytest.mark.parametrize(("image", "document"), [("before", None), ("after", {"_id": 9, "n": 1})])
def test_find_one_and_update_upserts(documents: Api, image: str, document: object) -> None:
    answer = documents.run(
        "findOneAndUpdate",
        filter={"_id": 9},
        update={"$inc": {"n": 1}},
        options={"upsert": True, "returnDocument": image},
    )

    assert answer == {
        "data": {"document": document},
        "status": {"matchedCount": 0, "modifiedCount": 0, "upsertedId": 9},
    }


def test_a_bad_image_is_refused(one: Api) -> None:
    answer = one.run("findOneAndUpdate", update={}, options={"returnDocument": "AFTER"})

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "command.options.returnDocument" in answer["errors"][0]["message"]


def test_a_replacement_leaves_only_itself(one: Api) -> None:
    answer = one.run("findOneAndReplace", filter={"_id": 1}, replacement={"a": 1})

    assert answer == {"data": {"document": START}, "status": {"matchedCount": 1, "modifiedCount": 1}}
    assert stored(one) == {"_id": 1, "a": 1}


def test_the_same_replacement_changes_nothing(one: Api) -> None:
    answer = one.run("findOneAndReplace", filter={"_id": 1}, replacement=START, options={"returnDocument": "after"})

    assert answer == {"data": {"document": START}, "status": {"matchedCount": 1, "modifiedCount": 0}}


def test_a_replacement_cannot_change_the_id(one: Api) -> None:
    answer = one.run("findOneAndReplace", filter={"n": 5}, replacement={"_id": 2})

    assert error_code(answer) == "DOCUMENT_REPLACE_DIFFERENT_DOCID"
    assert stored(one) == START


@pytest.mark.parametrize(
    ("filter_", "replacement", "expected"),
    [
        ({"_id": 7}, {"a": 1}, {"_id": 7, "a": 1}),
        ({"b": 1}, {"_id": 8, "a": 1}, {"_id": 8, "a": 1}),
        ({"_id": 7}, {"_id": 7}, {"_id": 7}),
    ],
)
def test_a_replacement_upserts(
    documents: Api, filter_: dict[str, Any], replacement: dict[str, Any], expected: dict[str, Any]
) -> None:
    options = {"upsert": True, "returnDocument": "after"}
    answer = documents.run("findOneAndReplace", filter=filter_, replacement=replacement, options=options)

    assert answer["data"]["document"] == expected
    assert answer["status"] == {"matchedCount": 0, "modifiedCount": 0, "upsertedId": expected["_id"]}


def test_an_upserted_replacement_cannot_have_another_id_than_the_filter(documents: Api) -> None:
    answer = documents.run("findOneAndReplace", filter={"_id": 7}, replacement={"_id": 8}, options={"upsert": True})

    assert error_code(answer) == "DOCUMENT_REPLACE_DIFFERENT_DOCID"


@pytest.mark.parametrize(
    ("replacement", "code"),
    [
        (None, "COMMAND_FIELD_VALUE_INVALID"),
        ([], "REQUEST_STRUCTURE_MISMATCH"),
        ({"$bad": 1}, "SHRED_BAD_FIELD_NAME"),
        ({"$vector": [1], "$vectorize": "x"}, "INVALID_USAGE_OF_VECTORIZE"),
    ],
)
def test_bad_replacements_are_refused(one: Api, replacement: Any, code: str) -> None:
    assert error_code(one.run("findOneAndReplace", filter={"_id": 1}, replacement=replacement)) == code
    assert stored(one) == START


def test_counters_that_many_count_up_lose_nothing(one: Api) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        update = {"$inc": {"n": 1}}
        list(pool.map(lambda _: one.run("updateOne", filter={"_id": 1}, update=update), range(80)))

    assert stored(one)["n"] == 85
