"""find: filters, sorts, pages and vectors."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.api import Api, error_code


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"name": "Io"}, [3]),
        ({"name": {"$eq": 7}}, [5]),
        ({"name": "7"}, []),
        ({"radius": 1821.0}, [3]),
        ({"tags": "ice"}, [1, 2, 5]),
        ({"tags": {"$eq": ["ice", "belt"]}}, [1]),
        ({"tags": {"$eq": ["belt", "ice"]}}, []),
        ({"tags.1": "ocean"}, [2]),
        ({"orbit": {"au": 2.77, "around": "Sun"}}, [1]),
        ({"orbit": {"around": "Sun", "au": 2.77}}, []),
        ({"orbit.around": "Jupiter"}, [2]),
        ({"orbit": None}, [3]),
        ({"a&.b.c&&d": True}, [4]),
        ({"seen": {"$date": 1000}}, [3]),
        ({"seen": 1000}, []),
        ({"alive": False}, [5]),
        ({"radius": {"$ne": 1821}}, [1, 2, 4, 5]),
        ({"tags": {"$ne": "ice"}}, [3, 4]),
        ({"orbit": {"$ne": None}}, [1, 2, 4, 5]),
        ({"radius": {"$gt": 469.7}}, [2, 3]),
        ({"radius": {"$gte": 469.7, "$lt": 1821}}, [1, 2]),
        ({"name": {"$lt": "F"}}, [1, 2]),
        ({"seen": {"$lte": {"$date": 1500}}}, [3]),
        ({"alive": {"$lt": True}}, [5]),
        ({"name": {"$in": ["Io", 7]}}, [3, 5]),
        ({"orbit": {"$in": [None]}}, [3]),
        ({"tags": {"$in": ["ocean", "volcano"]}}, [2, 3]),
        ({"tags": {"$in": []}}, []),
        ({"tags": {"$nin": ["ice"]}}, [3, 4]),
        ({"tags": {"$nin": []}}, [1, 2, 3, 4, 5]),
        ({"orbit": {"$exists": True}}, [1, 2, 3]),
        ({"orbit": {"$exists": False}}, [4, 5]),
        ({"tags": {"$all": ["ice", "ocean"]}}, [2]),
        ({"tags": {"$all": ["ice"]}}, [1, 2, 5]),
        ({"tags": {"$size": 0}}, [4]),
        ({"tags": {"$size": 2}}, [1, 2]),
        ({"$and": [{"tags": "ice"}, {"radius": {"$gt": 1000}}]}, [2]),
        ({"$or": [{"name": "Io"}, {"tags": {"$size": 0}}]}, [3, 4]),
        ({"$not": {"tags": "ice"}}, [3, 4]),
        ({"$not": {"radius": {"$gte": 1000}}}, [1]),
        ({"$not": {"$or": [{"_n": 1}, {"tags": "ice"}]}}, [3, 4]),
        ({"$not": {"$not": {"name": "Io"}}}, [3]),
        ({"$and": [], "name": "Io"}, [3]),
        ({"_id": {"$in": [1, 4, "1"]}}, [1, 4]),
        ({"_id": {"$gt": 3}}, [4, 5]),
        ({"_id": {"$ne": 3}}, [1, 2, 4, 5]),
        ({"_id": {"$exists": False}}, []),
        ({"never.was": 1}, []),
        ({"name": {"$gt": "Halley"}}, [3]),
        ({"name": {"$gte": "Halley", "$lte": "Io"}}, [3, 4]),
        ({"seen": {"$gt": {"$date": 1000}}}, [4]),
        ({"seen": {"$gte": {"$date": 1000}, "$lt": {"$date": 2000}}}, [3]),
        ({"alive": {"$gte": False}}, [5]),
        ({"alive": {"$gt": False}}, []),
        ({"radius": {"$lte": 1560.8}}, [1, 2]),
        ({"seen": {"$ne": {"$date": 1000}}}, [1, 2, 4, 5]),
        ({"alive": {"$ne": False}}, [1, 2, 3, 4]),
        ({"tags": {"$ne": ["ice", "belt"]}}, [2, 3, 4, 5]),
        ({"orbit": {"$ne": {"au": 2.77, "around": "Sun"}}}, [2, 3, 4, 5]),
        ({"seen": {"$eq": {"$date": 2000}}}, [4]),
        ({"alive": {"$eq": False}}, [5]),
        ({"orbit": {"$eq": None}}, [3]),
        ({"name": {"$eq": "Io"}}, [3]),
        ({"seen": {"$in": [{"$date": 1000}, {"$date": 2000}]}}, [3, 4]),
        ({"tags": {"$in": [["ice", "belt"], "volcano"]}}, [1, 3]),
        ({"orbit": {"$nin": [{"au": 2.77, "around": "Sun"}]}}, [2, 3, 4, 5]),
        ({"orbit.around": {"$exists": True}}, [1, 2]),
        ({"tags.0": {"$exists": True}}, [1, 2, 3]),
        ({"tags": {"$all": [["ice"]]}}, []),
        ({"_id": {"$in": []}}, []),
        ({"_id": {"$nin": [1, 2]}}, [3, 4, 5]),
        ({"_id": {"$gte": 4}}, [4, 5]),
        ({"_id": {"$lte": 2}}, [1, 2]),
        ({"_id": {"$exists": True}}, [1, 2, 3, 4, 5]),
        ({"$and": [{"$or": [{"name": "Io"}, {"name": "Ceres"}]}, {"$not": {"radius": {"$lt": 1000}}}]}, [3]),
        ({"$or": []}, [1, 2, 3, 4, 5]),
        ({"never.was": {"$exists": False}}, [1, 2, 3, 4, 5]),
    ],
)
def test_filters(bodies: Api, filter_: dict[str, Any], expected: list[int]) -> None:
    assert bodies.found(filter=filter_) == expected
    assert bodies.run("countDocuments", filter=filter_)["status"]["count"] == len(expected)


IDS = {
    "uuid": {"$uuid": "0191f4c0-0000-7000-8000-000000000001"},
    "objectId": {"$objectId": "65f000000000000000000001"},
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("operator", ["$eq", "$in", "$gte", None])
def test_uuids_and_object_ids_are_compared_as_text(documents: Api, kind: str, operator: str | None) -> None:
    value = IDS[kind]
    documents.run("insertMany", documents=[{"_id": 1, "ref": value}, {"_id": 2, "ref": 5}])
    operand = [value] if operator == "$in" else value

    assert documents.found(filter={"ref": operand if operator is None else {operator: operand}}) == [1]


def test_the_presence_of_a_vector_is_a_filter(vectors: Api) -> None:
    vectors.run("insertMany", documents=[{"_id": 1, "$vector": [1, 2, 3]}, {"_id": 2}, {"_id": 3, "$vector": None}])

    assert vectors.found(filter={"$vector": {"$exists": True}}) == [1, 3]
    assert vectors.found(filter={"$vector": {"$exists": False}}) == [2]


def test_ids_outside_the_index_are_compared_by_equality_alone(api: Api) -> None:
    api.collection = "nothing_indexed"
    api.at_keyspace("createCollection", name=api.collection, options={"indexing": {"deny": ["*"]}})
    api.run("insertMany", documents=[{"_id": 1, "a": 1}, {"_id": 2}])

    assert api.found(filter={"_id": 1}) == [1]
    assert api.found(filter={"_id": {"$in": [1, 2]}}) == [1, 2]
    for operator, operand in (("$gt", 1), ("$ne", 1), ("$nin", [1])):
        answer = api.run("find", filter={"_id": {operator: operand}})
        assert error_code(answer) == "FILTER_ID_NOT_INDEXED"
        assert operator in answer["errors"][0]["message"]
    assert error_code(api.run("find", filter={"a": 1})) == "FILTER_PATH_UNINDEXED"
    assert error_code(api.run("find", filter={"$vector": {"$exists": True}})) == "FILTER_PATH_UNINDEXED"
    api.at_keyspace("deleteCollection", name=api.collection)


def test_a_denied_path_reaches_into_the_objects_of_an_array(api: Api) -> None:
    api.collection = "through_arrays"
    api.at_keyspace("createCollection", name=api.collection, options={"indexing": {"deny": ["contact.email"]}})
    api.run("insertOne", document={"_id": 1, "contact": [{"phone": "123", "email": "x" * 9000}, "phone please"]})

    assert api.found(filter={"contact": {"$all": [{"phone": "123"}]}}) == [1]
    assert api.found(filter={"contact.0.phone": "123"}) == [1]
    for filter_ in ({"contact.email": "a"}, {"contact.0.email": "a"}, {"contact": {"$in": [[{"email": "a"}]]}}):
        answer = api.run("find", filter=filter_)
        assert error_code(answer) == "FILTER_PATH_UNINDEXED"
        assert "email" in answer["errors"][0]["message"]
    api.at_keyspace("deleteCollection", name=api.collection)


@pytest.mark.parametrize(
    ("filter_", "code"),
    [
        ([], "FILTER_UNSUPPORTED_DATA_TYPE"),
        ("x", "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"a": {"$regex": "x"}}, "FILTER_UNSUPPORTED_OPERATOR"),
        ({"a": {"$guid": "x"}}, "FILTER_UNSUPPORTED_OPERATOR"),
        ({"$gt": {"a": 1}}, "FILTER_INVALID_EXPRESSION"),
        ({"": 1}, "FILTER_INVALID_EXPRESSION"),
        ({"a&b": 1}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"b": {"$eq": 1}}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": [1]}, "FILTER_INVALID_EXPRESSION"),
        ({"$not": [1]}, "FILTER_INVALID_EXPRESSION"),
        ({"$and": {"a": 1}}, "FILTER_INVALID_EXPRESSION"),
        ({"$or": [5]}, "FILTER_INVALID_EXPRESSION"),
        ({"$or": [[5]]}, "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"a": {"$in": 5}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$in": list(range(101))}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$exists": 1}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$all": []}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$size": True}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$size": -1}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$size": 1.5}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$gt": None}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$gt": [1]}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$gt": {"$date": "x"}}}, "FILTER_INVALID_EXPRESSION"),
        ({"a": {"$date": "x"}}, "SHRED_BAD_EJSON_VALUE"),
        ({"a": {"$uuid": "x"}}, "SHRED_BAD_EJSON_VALUE"),
        ({"_id": {"a": 1}}, "SHRED_BAD_DOCID_TYPE"),
        ({"_id": ""}, "SHRED_BAD_DOCID_VALUE"),
        ({"_id": {"$gt": 1, "$lt": 5}}, "FILTER_MULTIPLE_ID_FILTER"),
        ({"$or": [{"_id": 1}]}, "FILTER_INVALID_EXPRESSION"),
        ({"_id": {"$ne": True}}, "FILTER_UNSUPPORTED_DATA_TYPE"),
        ({"$vector": [1]}, "FILTER_INVALID_EXPRESSION"),
        ({"$vectorize": "x"}, "FILTER_INVALID_EXPRESSION"),
        ({"$lexical": {"$match": "x"}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"a": {"$match": "x"}}, "FILTER_INVALID_EXPRESSION"),
        ({f"f{number}": 1 for number in range(65)}, "FILTER_FIELDS_LIMIT_VIOLATION"),
    ],
)
def test_bad_filters_are_refused(bodies: Api, filter_: Any, code: str) -> None:
    assert error_code(bodies.run("find", filter=filter_)) == code


def test_paths_outside_the_index_are_refused(api: Api) -> None:
    api.collection = "partly_indexed"
    api.at_keyspace("createCollection", name=api.collection, options={"indexing": {"deny": ["blob", "o.secret"]}})
    api.run("insertOne", document={"_id": 1, "blob": "x" * 9000, "o": {"street": "1 B", "secret": 5}, "n": 1})

    assert api.found(filter={"n": 1}) == [1]
    assert api.found(filter={"o": {"$eq": {"street": "1 B"}}}) == [1]
    for filter_ in ({"blob": "x"}, {"blob.a": 1}, {"o.secret": 5}, {"o": {"$eq": {"secret": 5}}}):
        assert error_code(api.run("find", filter=filter_)) == "FILTER_PATH_UNINDEXED"
    assert error_code(api.run("find", sort={"blob": 1})) == "SORT_CLAUSE_PATH_UNINDEXED"
    api.at_keyspace("deleteCollection", name=api.collection)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ({"name": 1}, [5, 1, 2, 4, 3]),
        ({"name": -1}, [3, 4, 2, 1, 5]),
        ({"radius": 1}, [4, 1, 2, 3, 5]),
        ({"radius": -1}, [5, 3, 2, 1, 4]),
        ({"orbit.around": -1}, [1, 2, 3, 4, 5]),
        ({"_id": -1}, [5, 4, 3, 2, 1]),
        ({"alive": 1, "seen": -1}, [4, 3, 1, 2, 5]),
        ({"orbit.au": 1}, [3, 4, 5, 1, 2]),
        ({"_id": 1}, [1, 2, 3, 4, 5]),
    ],
)
def test_sorts_by_fields(bodies: Api, sort: dict[str, int], expected: list[int]) -> None:
    assert bodies.found(sort=sort) == expected


def test_sorts_skip_and_limit_and_have_no_pages(bodies: Api) -> None:
    answer = bodies.run("find", sort={"_id": -1}, options={"skip": 1, "limit": 2})

    assert [document["_id"] for document in answer["data"]["documents"]] == [4, 3]
    assert answer["data"]["nextPageState"] is None


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"sort": []}, "SORT_CLAUSE_INVALID"),
        ({"sort": {"a": 1.5}}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"sort": {"a": "asc"}}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"sort": {"a": True}}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"sort": {"": 1}}, "SORT_CLAUSE_PATH_INVALID"),
        ({"sort": {"$x": 1}}, "SORT_CLAUSE_PATH_INVALID"),
        ({"sort": {"$vector": [1, 2]}}, "VECTOR_SEARCH_NOT_SUPPORTED"),
        ({"sort": {"$vectorize": "x"}}, "EMBEDDING_SERVICE_NOT_CONFIGURED"),
        ({"sort": {"$lexical": "x"}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"sort": {"a": 1}, "options": {"pageState": "x"}}, "SORT_CLAUSE_INVALID"),
        ({"options": {"skip": 0}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"options": {"limit": 0}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"options": {"limit": -1}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"sort": {"$vector": [1]}, "options": {"limit": 1001}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"sort": {"$vector": [1]}, "options": {"skip": 1}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"options": {"pageState": "forged"}}, "COMMAND_FIELD_VALUE_INVALID"),
    ],
)
def test_bad_sorts_and_options_are_refused(bodies: Api, members: dict[str, Any], code: str) -> None:
    assert error_code(bodies.run("find", **members)) == code


def test_too_many_candidates_for_a_sort_are_refused(documents: Api) -> None:
    for start in range(0, 10_000, 100):
        documents.run("insertMany", documents=[{"_id": start + number} for number in range(100)])

    assert error_code(documents.run("find", sort={"n": 1}, options={"limit": 1})) == "OVERLOADED_SORT_ROW_LIMIT"
    assert len(documents.found(filter={"_id": {"$lt": 9999}}, sort={"n": 1})) == 50


@pytest.mark.parametrize(
    ("projection", "code"),
    [
        (None, "UNSUPPORTED_PROJECTION_DEFINITION"),
        ([], "UNSUPPORTED_PROJECTION_DEFINITION"),
        ({"a": 1, "b": 0}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": "x"}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": None}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"*": 1, "a": 1}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"$x": 1}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": {"$x": 1}}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"": 1}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a..b": 1}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a&": 1}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": 1, "a.b": 1}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": {"$slice": "x"}}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": {"$slice": [1, -1]}}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": {"$slice": [1, 2, 3]}}, "UNSUPPORTED_PROJECTION_PARAM"),
        ({"a": {"$slice": 1.5}}, "UNSUPPORTED_PROJECTION_PARAM"),
    ],
)
def test_bad_projections_are_refused_even_where_nothing_matches(documents: Api, projection: Any, code: str) -> None:
    assert error_code(documents.run("find", projection=projection)) == code


def pages(api: Api, **options: Any) -> list[list[Any]]:
    """Return the ids of each page of a find."""
    result: list[list[Any]] = []
    state = None
    while True:
        answer = api.run("find", options={**options, **({"pageState": state} if state else {})})
        result.append([document["_id"] for document in answer["data"]["documents"]])
        state = answer["data"]["nextPageState"]
        if state is None:
            return result


@pytest.fixture
def many(documents: Api) -> Api:
    """120 documents."""
    for start in (0, 60):
        documents.run("insertMany", documents=[{"_id": start + number} for number in range(60)])
    return documents


def test_pages_of_fifty(many: Api) -> None:
    assert [len(page) for page in pages(many)] == [50, 50, 20]
    assert [identifier for page in pages(many) for identifier in page] == list(range(120))


@pytest.mark.parametrize(
    ("limit", "sizes"), [(7, [7]), (50, [50]), (60, [50, 10]), (100, [50, 50]), (500, [50, 50, 20])]
)
def test_a_limit_holds_over_all_pages(many: Api, limit: int, sizes: list[int]) -> None:
    assert [len(page) for page in pages(many, limit=limit)] == sizes


def test_pages_neither_repeat_nor_lose_while_others_write(many: Api) -> None:
    first = many.run("find")["data"]
    many.run("deleteMany", filter={"_id": {"$in": [10, 49, 50, 60]}})
    many.run("insertOne", document={"_id": "new"})
    many.run("updateOne", filter={"_id": 70}, update={"$set": {"a": 1}})
    seen = [document["_id"] for document in first["documents"]]
    state = first["nextPageState"]
    while state:
        page = many.run("find", options={"pageState": state})["data"]
        seen += [document["_id"] for document in page["documents"]]
        state = page["nextPageState"]

    assert seen == [*range(50), *(n for n in range(51, 120) if n != 60), "new"]


def test_pages_hold_what_stays_exactly_once_while_three_writers_write(many: Api, api: Api) -> None:
    stop = threading.Event()

    def write(writer: int) -> int:
        client = Api(api.url, api.token, collection=many.collection)
        rounds = 0
        while not stop.is_set():
            passing = {"_id": f"passing {writer} {rounds}"}
            client.run("insertOne", document=passing)
            client.run("updateMany", filter={"_id": {"$lt": 120}}, update={"$inc": {"n": 1}})
            client.run("findOneAndReplace", filter={"_id": 7 * rounds % 120}, replacement={"n": 0})
            client.run("deleteOne", filter=passing)
            rounds += 1
        client.http.close()
        return rounds

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        try:
            seen = [identifier for _ in range(10) for page in pages(many) for identifier in page]
        finally:
            stop.set()
        rounds = sum(writer.result() for writer in writers)

    assert rounds > 3
    assert [identifier for identifier in seen if isinstance(identifier, int)] == list(range(120)) * 10


def test_a_page_state_that_was_altered_is_refused(many: Api) -> None:
    state = many.run("find")["data"]["nextPageState"]
    altered = ("B" if state[2] != "B" else "C").join((state[:2], state[3:]))

    assert error_code(many.run("find", options={"pageState": altered})) == "COMMAND_FIELD_VALUE_INVALID"


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("cosine", [(1, 1.0), (3, 0.8535534), (2, 0.5)]),
        ("dot_product", [(1, 1.0), (3, 1.0), (2, 0.5)]),
        ("euclidean", [(1, 1.0), (3, 0.5), (2, 0.3333333)]),
    ],
)
def test_vectors_are_found_by_nearness(api: Api, metric: str, expected: list[tuple[int, float]]) -> None:
    api.collection = f"by_{metric}"
    api.at_keyspace("createCollection", name=api.collection, options={"vector": {"dimension": 2, "metric": metric}})
    vectors = {1: [1, 0], 2: [0, 1], 3: [1, 1]}
    api.run("insertMany", documents=[{"_id": key, "$vector": value} for key, value in vectors.items()])
    api.run("insertOne", document={"_id": "without"})

    answer = api.run("find", sort={"$vector": [1, 0]}, options={"includeSimilarity": True})

    documents = answer["data"]["documents"]
    assert [document["_id"] for document in documents] == [key for key, _ in expected]
    assert [document["$similarity"] for document in documents] == pytest.approx([value for _, value in expected])
    api.at_keyspace("deleteCollection", name=api.collection)


def test_a_vector_search_keeps_to_the_filter_and_the_limit(vectors: Api) -> None:
    documents = [{"_id": n, "even": n % 2 == 0, "$vector": [1, n, 0]} for n in range(20)]
    vectors.run("insertMany", documents=documents)

    sort = {"$vector": {"$binary": "P4AAAAAAAAAAAAAA"}}
    assert vectors.found(filter={"even": False}, sort=sort, options={"limit": 3}) == [1, 3, 5]
    assert vectors.found(filter={"even": "no"}, sort=sort) == []


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        ([], "SHRED_BAD_VECTOR_SIZE"),
        (["x"], "SHRED_BAD_VECTOR_VALUE"),
        ([1, 2], "INVALID_VECTOR_LENGTH"),
        ([0, 0, 0], "INVALID_DATABASE_QUERY"),
        ("x", "SORT_CLAUSE_VALUE_INVALID"),
        ({"$binary": "x"}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$binary": "AAA="}, "SORT_CLAUSE_VALUE_INVALID"),
    ],
)
def test_bad_query_vectors_are_refused(vectors: Api, vector: Any, code: str) -> None:
    assert error_code(vectors.run("find", sort={"$vector": vector})) == code


def test_an_unknown_collection_names_those_that_are_there(documents: Api) -> None:
    documents.collection = "nowhere"

    answer = documents.run("find")
    assert error_code(answer) == "UNKNOWN_COLLECTION_OR_TABLE"
    assert "documents" in answer["errors"][0]["message"]


@pytest.fixture
def three(documents: Api) -> Api:
    """Three documents that differ in `_id` and `n`."""
    documents.run("insertMany", documents=[{"_id": number, "n": number} for number in range(3)])
    return documents


@pytest.mark.parametrize(
    "members",
    [
        {"sort": {"n": 1}, "options": {"skip": 5_000_000_000}},
        {"sort": {"n": 1}, "options": {"skip": str(10**30)}},
        {"options": {"limit": 1 << 31}},
        {"options": {"limit": "1_0"}},
        {"options": {"limit": 0, "includeSimilarity": "maybe"}},
    ],
)
def test_options_that_are_no_integers_of_32_bits_or_no_booleans(three: Api, members: dict[str, Any]) -> None:
    assert error_code(three.run("find", **members)) == "REQUEST_STRUCTURE_MISMATCH"


@pytest.mark.parametrize("limit", [2147483647, "", " 3 ", "null", 3.9])
def test_limits_that_stand_for_integers_or_for_none(three: Api, limit: Any) -> None:
    assert len(three.run("find", options={"limit": limit})["data"]["documents"]) == 3


def test_an_id_may_stand_in_a_not_below_an_or(three: Api) -> None:
    answer = three.run("find", filter={"$or": [{"$not": {"_id": 1}}, {"n": 7}]}, sort={"_id": 1})

    assert [document["_id"] for document in answer["data"]["documents"]] == [0, 2]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"filter": {"$lexical": "words"}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"filter": {"$lexical": {"$exists": True}}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"filter": {"$lexical": {"$match": 5}}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"sort": {"$lexical": 5}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"sort": {"n": 1, "$lexical": "words"}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"sort": {"n": 2, "": 1}}, "SORT_CLAUSE_PATH_INVALID"),
    ],
)
@pytest.mark.parametrize("command", ["find", "findOne"])
def test_the_check_that_comes_first_answers(three: Api, command: str, members: dict[str, Any], code: str) -> None:
    assert error_code(three.run(command, **members)) == code
