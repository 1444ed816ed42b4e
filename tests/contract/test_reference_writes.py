"""What replaying the reference's own tests of writes and collections brought to light."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.api import Api, error_code
from tests.live import Orrery

RERANKING = {"provider": "nvidia", "modelName": "nvidia/llama-3.2-nv-rerankqa-1b-v2"}


@pytest.fixture
def empty(api: Api) -> Iterator[Api]:
    """A keyspace of one test alone."""
    api.keyspace = "reference_writes"
    api.at_database("createKeyspace", name=api.keyspace)
    yield api
    api.at_database("dropKeyspace", name=api.keyspace)


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ({}, ["provider"]),
        ({"provider": None, "modelName": "m"}, ["provider"]),
        ({"provider": "unknown"}, ["unknown"]),
        ({"provider": "nvidia"}, ["nvidia", "modelName"]),
        ({"provider": "nvidia", "modelName": "unknown"}, ["nvidia", "unknown"]),
        ({**RERANKING, "authentication": {"providerKey": "k"}}, ["nvidia", "authentication"]),
        ({**RERANKING, "parameters": {"test": "test"}}, ["nvidia", "parameters"]),
    ],
)
def test_a_bad_reranking_service_is_told_before_that_reranking_is_not_offered(
    empty: Api, service: dict[str, Any], names: list[str]
) -> None:
    answer = empty.at_keyspace("createCollection", name="c", options={"rerank": {"enabled": True, "service": service}})

    assert error_code(answer) == "INVALID_CREATE_COLLECTION_OPTIONS"
    assert all(name in answer["errors"][0]["message"] for name in names)


@pytest.mark.parametrize("service", [None, RERANKING, {**RERANKING, "authentication": {}, "parameters": {}}])
def test_a_good_reranking_service_is_not_offered(empty: Api, service: object) -> None:
    answer = empty.at_keyspace("createCollection", name="c", options={"rerank": {"enabled": True, "service": service}})

    assert error_code(answer) == "RERANKING_FEATURE_NOT_ENABLED"


@pytest.mark.parametrize("service", [None, {}, {"provider": None}])
def test_reranking_can_be_declared_disabled(empty: Api, service: object) -> None:
    answer = empty.at_keyspace("createCollection", name="c", options={"rerank": {"enabled": False, "service": service}})

    assert answer == {"status": {"ok": 1}}


@pytest.mark.parametrize("enabled", [True, False])
def test_an_unknown_member_of_a_reranking_service_is_refused(empty: Api, enabled: bool) -> None:
    rerank = {"enabled": enabled, "service": {**RERANKING, "x": 1}}

    answer = empty.at_keyspace("createCollection", name="c", options={"rerank": rerank})
    assert error_code(answer) == "COMMAND_FIELD_UNKNOWN"


@pytest.mark.parametrize(
    ("limits", "code", "numbers"),
    [
        ({"max_collections": 4, "indexes_available": 29}, "TOO_MANY_INDEXES_FOR_COLLECTION", ["10", "9 of 29"]),
        ({"max_collections": 2, "indexes_available": 40}, "TOO_MANY_COLLECTIONS", ["2"]),
        ({"max_collections": 2, "indexes_available": 20}, "TOO_MANY_COLLECTIONS", ["2"]),
    ],
)
def test_the_limit_that_was_reached_is_named(
    tmp_path: Path, limits: dict[str, int], code: str, numbers: list[str]
) -> None:
    arguments = [part for name, value in limits.items() for part in ("--limit", f"{name}={value}")]
    with Orrery(tmp_path, arguments=tuple(arguments)) as server:
        api = Api(server.url, server.token)
        for name in ("first", "second", "first"):
            assert api.at_keyspace("createCollection", name=name) == {"status": {"ok": 1}}

        refused = api.at_keyspace("createCollection", name="third")
        assert error_code(refused) == code
        assert all(number in refused["errors"][0]["message"] for number in ["'third'", *numbers])
        assert api.at_keyspace("createCollection", name="first") == {"status": {"ok": 1}}
        api.http.close()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"vector": {"dimension": 3, "metric": ""}}, "command.options.vector.metric"),
        ({"vector": {"dimension": 3, "function": ""}}, "command.options.vector.metric"),
        ({"vector": {"dimension": 3, "sourceModel": ""}}, "command.options.vector.sourceModel"),
        ({"defaultId": {"type": ""}}, "command.options.idConfig.idType"),
    ],
)
def test_an_empty_choice_is_none_of_the_choices(empty: Api, options: dict[str, Any], field: str) -> None:
    answer = empty.at_keyspace("createCollection", name="c", options=options)

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert f"'{field}'" in answer["errors"][0]["message"]


@pytest.mark.parametrize(
    ("command", "change"), [("findOneAndUpdate", {"update": {}}), ("findOneAndReplace", {"replacement": {}})]
)
def test_an_empty_image_is_neither_before_nor_after(documents: Api, command: str, change: dict[str, Any]) -> None:
    answer = documents.run(command, **change, options={"returnDocument": ""})
    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"

    assert documents.run(command, **change, options={"returnDocument": None})["data"] == {"document": None}


@pytest.mark.parametrize("name", [{}, []])
def test_a_name_that_is_no_scalar_has_the_wrong_structure(empty: Api, name: object) -> None:
    assert error_code(empty.at_keyspace("createCollection", name=name)) == "REQUEST_STRUCTURE_MISMATCH"


def test_a_number_as_a_name_is_taken_as_its_text(empty: Api) -> None:
    assert empty.at_keyspace("createCollection", name=5) == {"status": {"ok": 1}}

    assert empty.at_keyspace("findCollections") == {"status": {"collections": ["5"]}}


def test_pop_takes_a_one_with_a_fraction_of_nothing(documents: Api) -> None:
    documents.run("insertOne", document={"_id": 1, "l": [1, 2, 3], "m": [1, 2, 3]})

    answer = documents.run("updateOne", filter={"_id": 1}, update={"$pop": {"l": 1.0, "m": -1.0}})
    assert answer == {"status": {"matchedCount": 1, "modifiedCount": 1}}
    assert documents.run("findOne")["data"]["document"] == {"_id": 1, "l": [1, 2], "m": [2, 3]}

    answer = documents.run("updateOne", filter={"_id": 1}, update={"$pop": {"l": 1.5}})
    assert error_code(answer) == "UNSUPPORTED_UPDATE_OPERATION_PARAM"
