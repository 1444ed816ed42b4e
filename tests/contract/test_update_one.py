"""updateOne: operators, conflicts, upserts."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code
from tests.contract.samples import START


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
        ({"$inc": {"o.a": 1, "o.b.c": -2}}, {"o": {"a": 2, "b": {"c": 0}}}),
        ({"$mul": {"o.a": 2.5}}, {"o": {"a": 2.5, "b": {"c": 2}}}),
        ({"$min": {"o.a": 0}}, {"o": {"a": 0, "b": {"c": 2}}}),
        ({"$max": {"o.a": 7}}, {"o": {"a": 7, "b": {"c": 2}}}),
        ({"$inc": {"l.2": 1}}, {"l": [1, 2, 4]}),
        ({"$push": {"o.list": 1}}, {"o": {"a": 1, "b": {"c": 2}, "list": [1]}}),
        ({"$addToSet": {"o.set": 1}}, {"o": {"a": 1, "b": {"c": 2}, "set": [1]}}),
        ({"$addToSet": {"l": 9}}, {"l": [1, 2, 3, 9]}),
        ({"$set": {"u": {"$objectId": "65f000000000000000000001"}}}, {"u": {"$objectId": "65f000000000000000000001"}}),
        ({"$setOnInsert": {"q": 1}, "$set": {"n": 6}}, {"n": 6}),
        ({"$set": {"a": 1}, "$inc": {"n": 1}, "$push": {"l": 0}}, {"a": 1, "n": 6, "l": [1, 2, 3, 0]}),
    ],
)
def test_operators(one: Api, update: dict[str, Any], changes: dict[str, Any]) -> None:
    answer = one.run("updateOne", filter={"_id": 1}, update=update)

    assert answer == {"status": {"matchedCount": 1, "modifiedCount": 1}}
    assert one.stored() == {**START, **changes}


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

    assert one.stored() == expected


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
    assert one.stored() == START


def test_the_current_date(one: Api) -> None:
    one.run("updateOne", filter={"_id": 1}, update={"$currentDate": {"a": True, "b": {"$type": "date"}}})

    document = one.stored()
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
    assert one.stored() == START


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

    assert one.stored(2)["hit"] is True


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
        ({"_id": {"$in": ["x"]}}, {"$set": {"a": 1}}, {"_id": "x", "a": 1}),
    ],
)
def test_an_upsert_creates_the_document(
    documents: Api, filter_: dict[str, Any], update: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = documents.run("updateOne", filter=filter_, update=update, options={"upsert": True})

    assert answer == {"status": {"matchedCount": 0, "modifiedCount": 0, "upsertedId": expected["_id"]}}
    assert documents.stored(expected["_id"]) == expected


def test_counters_that_many_count_up_lose_nothing(one: Api) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        update = {"$inc": {"n": 1}}
        list(pool.map(lambda _: one.run("updateOne", filter={"_id": 1}, update=update), range(80)))

    assert one.stored()["n"] == 85


def test_a_nested_array_is_popped(one: Api) -> None:
    one.run("updateOne", filter={"_id": 1}, update={"$set": {"o.l": [1, 2]}})

    assert one.run("updateOne", filter={"_id": 1}, update={"$pop": {"o.l": 1}})["status"]["modifiedCount"] == 1
    assert one.stored()["o"]["l"] == [1]


def test_the_current_date_of_a_nested_path(one: Api) -> None:
    one.run("updateOne", filter={"_id": 1}, update={"$currentDate": {"o.at": True}})

    assert one.stored()["o"]["at"].keys() == {"$date"}


@pytest.mark.parametrize("vector", [[0.5, 0.25, 1], {"$binary": "PczMzT6AAADAQAAA"}, None])
def test_a_vector_is_set(vectors: Api, vector: object) -> None:
    vectors.run("insertOne", document={"_id": 1, "$vector": [1, 0, 0]})

    vectors.run("updateOne", filter={"_id": 1}, update={"$set": {"$vector": vector}})

    assert vectors.stored(1, projection={"$vector": 1}) == {"_id": 1, "$vector": vector}


def test_a_vector_is_taken_away_and_no_longer_found(vectors: Api) -> None:
    vectors.run("insertOne", document={"_id": 1, "$vector": [1, 0, 0]})

    vectors.run("updateOne", filter={"_id": 1}, update={"$unset": {"$vector": ""}})

    assert vectors.stored(1, projection={"$vector": 1}) == {"_id": 1}
    assert vectors.found(sort={"$vector": [1, 0, 0]}) == []


def test_a_vector_is_set_on_insert_alone(vectors: Api) -> None:
    update = {"$setOnInsert": {"$vector": [1, 0, 0]}, "$set": {"n": 1}}
    vectors.run("insertOne", document={"_id": 1})

    for identifier in (1, 2):
        vectors.run("updateOne", filter={"_id": identifier}, update=update, options={"upsert": True})

    assert vectors.found(sort={"$vector": [1, 0, 0]}) == [2]


@pytest.mark.parametrize(
    ("vector", "code"),
    [([1, 2], "INVALID_VECTOR_LENGTH"), ("x", "SHRED_BAD_DOCUMENT_VECTOR_TYPE"), ([], "SHRED_BAD_VECTOR_SIZE")],
)
def test_a_vector_that_does_not_fit_is_not_set(vectors: Api, vector: object, code: str) -> None:
    vectors.run("insertOne", document={"_id": 1, "$vector": [1, 0, 0]})

    assert error_code(vectors.run("updateOne", filter={"_id": 1}, update={"$set": {"$vector": vector}})) == code
    assert vectors.found(sort={"$vector": [1, 0, 0]}) == [1]


def test_pop_takes_a_one_with_a_fraction_of_nothing(documents: Api) -> None:
    documents.run("insertOne", document={"_id": 1, "l": [1, 2, 3], "m": [1, 2, 3]})

    answer = documents.run("updateOne", filter={"_id": 1}, update={"$pop": {"l": 1.0, "m": -1.0}})
    assert answer == {"status": {"matchedCount": 1, "modifiedCount": 1}}
    assert documents.run("findOne")["data"]["document"] == {"_id": 1, "l": [1, 2], "m": [2, 3]}

    answer = documents.run("updateOne", filter={"_id": 1}, update={"$pop": {"l": 1.5}})
    assert error_code(answer) == "UNSUPPORTED_UPDATE_OPERATION_PARAM"
