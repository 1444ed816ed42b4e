"""findOne: the first of what find finds, and projections."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code
from tests.contract.samples import BODIES


@pytest.mark.parametrize(
    ("projection", "expected"),
    [
        ({}, BODIES[0]),
        ({"name": 1}, {"_id": 1, "name": "Ceres"}),
        ({"name": True, "_id": 0}, {"name": "Ceres"}),
        ({"orbit.au": 1}, {"_id": 1, "orbit": {"au": 2.77}}),
        ({"orbit": {"au": 1}}, {"_id": 1, "orbit": {"au": 2.77}}),
        ({"name.x": 1}, {"_id": 1, "name": "Ceres"}),
        ({"name": 0, "orbit.au": 0, "radius": 0}, {"_id": 1, "tags": ["ice", "belt"], "orbit": {"around": "Sun"}}),
        ({"_id": 0, "name": 0, "orbit": 0}, {"radius": 469.7, "tags": ["ice", "belt"]}),
        ({"*": 1}, BODIES[0]),
        ({"*": 0}, {}),
        ({"tags": {"$slice": 1}, "name": 1}, {"_id": 1, "name": "Ceres", "tags": ["ice"]}),
        ({"tags": {"$slice": -1}, "name": 0, "orbit": 0, "radius": 0}, {"_id": 1, "tags": ["belt"]}),
        ({"tags": {"$slice": [1, 5]}, "_id": 1, "name": 1}, {"_id": 1, "name": "Ceres", "tags": ["belt"]}),
        ({"tags": {"$slice": [-9, 1]}, "name": 1}, {"_id": 1, "name": "Ceres", "tags": ["ice"]}),
    ],
)
def test_projections(bodies: Api, projection: dict[str, Any], expected: dict[str, Any]) -> None:
    answer = bodies.run("findOne", filter={"_id": 1}, projection=projection)

    assert answer["data"]["document"] == expected


def test_projection_paths_go_through_arrays(documents: Api) -> None:
    documents.run("insertOne", document={"_id": 1, "items": [{"p": 1, "q": 2}, 5, [{"p": 3}]]})

    answer = documents.run("findOne", projection={"items.p": 1})

    assert answer["data"]["document"] == {"_id": 1, "items": [{"p": 1}, 5, [{"p": 3}]]}


def test_similarity_shows_whatever_the_projection(vectors: Api) -> None:
    vectors.run("insertOne", document={"_id": 1, "$vector": [1, 0, 0]})

    answer = vectors.run(
        "findOne", sort={"$vector": [1, 0, 0]}, projection={"*": 0}, options={"includeSimilarity": True}
    )

    assert answer["data"]["document"] == {"$similarity": 1.0}


def test_find_one_finds_nothing(documents: Api) -> None:
    assert documents.run("findOne", filter={"a": 1}) == {"data": {"document": None}}


def test_find_one_knows_no_paging(documents: Api) -> None:
    for option in ("limit", "skip", "pageState"):
        assert error_code(documents.run("findOne", options={option: 1})) == "COMMAND_FIELD_UNKNOWN"


def test_the_sort_vector_is_given_where_it_is_asked_for(vectors: Api) -> None:
    options = {"includeSortVector": True}

    assert vectors.run("find", sort={"$vector": [1, 0, 0.5]}, options=options)["status"] == {"sortVector": [1, 0, 0.5]}
    assert vectors.run("find", options=options)["status"] == {"sortVector": None}
    assert vectors.run("findOne", options=options)["status"] == {"sortVector": None}


def test_the_first_of_a_sort(bodies: Api) -> None:
    assert bodies.run("findOne", sort={"radius": -1})["data"]["document"]["_id"] == 5
    assert bodies.run("findOne", sort={"orbit.au": -1, "_id": 1})["data"]["document"]["_id"] == 2


def test_the_nearest_of_a_vector(vectors: Api) -> None:
    vectors.run("insertMany", documents=[{"_id": n, "$vector": [1, n, 0]} for n in range(5)])

    answer = vectors.run("findOne", filter={"_id": {"$gt": 0}}, sort={"$vector": [1, 0, 0]})

    assert answer["data"]["document"] == {"_id": 1}


@pytest.mark.parametrize(
    ("projection", "members"),
    [
        ({}, {"_id", "n"}),
        ({"$vector": 1}, {"_id", "n", "$vector"}),
        ({"$vectorize": 1}, {"_id", "n", "$vectorize"}),
        ({"$vector": 0}, {"_id", "n"}),
        ({"$vectorize": 0}, {"_id", "n"}),
        ({"n": 1, "$vector": 1, "$vectorize": 1}, {"_id", "n", "$vector", "$vectorize"}),
        ({"n": 0, "$vector": 1}, {"_id", "$vector"}),
        ({"*": 1}, {"_id", "n", "$vector", "$vectorize"}),
        ({"*": 0}, set()),
    ],
)
def test_special_members_show_where_they_are_asked_for(
    texts: Api, projection: dict[str, int], members: set[str]
) -> None:
    texts.run("insertOne", document={"_id": 1, "n": 5, "$vectorize": "ice on a moon"})

    assert texts.stored(1, projection=projection).keys() == members


@pytest.mark.parametrize("option", [True, False])
def test_similarity_is_an_option(vectors: Api, option: bool) -> None:
    vectors.run("insertOne", document={"_id": 1, "$vector": [1, 0, 0]})

    answer = vectors.run("findOne", sort={"$vector": [1, 0, 0]}, options={"includeSimilarity": option})

    assert ("$similarity" in answer["data"]["document"]) is option
