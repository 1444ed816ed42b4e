"""findCollections: names, or names with options."""

import pytest

from tests.contract.api import Api, error_code

OPTIONS = {
    "vector": {"dimension": 3, "metric": "euclidean", "sourceModel": "other"},
    "indexing": {"deny": ["blob", "o.secret"]},
    "defaultId": {"type": "uuidv6"},
    "lexical": {"enabled": False},
    "rerank": {"enabled": False},
}


@pytest.mark.parametrize("options", [None, {}, {"explain": False}, {"explain": None}])
def test_names_alone(fresh: Api, options: object) -> None:
    for name in ("b", "a"):
        fresh.at_keyspace("createCollection", name=name)

    answer = fresh.at_keyspace("findCollections", options=options)

    assert answer.keys() == {"status"}
    assert sorted(answer["status"]["collections"]) == ["a", "b"]


def test_explained_they_show_the_options_they_were_created_with(fresh: Api) -> None:
    fresh.at_keyspace("createCollection", name="c", options=OPTIONS)

    answer = fresh.at_keyspace("findCollections", options={"explain": True})

    assert answer == {"status": {"collections": [{"name": "c", "options": OPTIONS}]}}


def test_options_as_they_are_shown_create_the_same_again(fresh: Api) -> None:
    service = {"provider": "local", "modelName": "sentence-transformers/all-MiniLM-L6-v2"}
    fresh.at_keyspace("createCollection", name="c", options={"vector": {"service": service}})

    shown = fresh.options_of("c")

    assert fresh.at_keyspace("createCollection", name="c", options=shown) == {"status": {"ok": 1}}
    assert fresh.at_keyspace("createCollection", name="d", options=shown) == {"status": {"ok": 1}}
    assert fresh.options_of("d") == shown


def test_an_unknown_keyspace_is_named(fresh: Api) -> None:
    fresh.keyspace = "nowhere"

    answer = fresh.at_keyspace("findCollections")
    assert error_code(answer) == "UNKNOWN_KEYSPACE"
    assert "nowhere" in answer["errors"][0]["message"]


def test_unknown_options_are_refused(fresh: Api) -> None:
    assert error_code(fresh.at_keyspace("findCollections", options={"x": 1})) == "COMMAND_FIELD_UNKNOWN"
