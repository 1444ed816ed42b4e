"""createKeyspace and its deprecated name createNamespace."""

import pytest

from tests.contract.api import Api, error_code


def test_a_keyspace_is_created_once_and_creating_it_again_is_fine(api: Api) -> None:
    for _ in range(2):
        assert api.at_database("createKeyspace", name="shop_1") == {"status": {"ok": 1}}

    assert api.at_database("findKeyspaces")["status"]["keyspaces"].count("shop_1") == 1


@pytest.mark.parametrize(
    "replication",
    [
        {"class": "SimpleStrategy", "replication_factor": 2},
        {"class": "SimpleStrategy", "replicationFactor": 1},
        {"class": "NetworkTopologyStrategy", "dc1": 3},
        None,
    ],
)
def test_replication_is_accepted(api: Api, replication: object) -> None:
    answer = api.at_database("createKeyspace", name="replicated", options={"replication": replication})

    assert answer == {"status": {"ok": 1}}


def test_an_unknown_replication_class_is_refused(api: Api) -> None:
    answer = api.at_database("createKeyspace", name="bad", options={"replication": {"class": "Other"}})

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "bad" not in api.at_database("findKeyspaces")["status"]["keyspaces"]


@pytest.mark.parametrize("name", ["", "a-b", "a b", "é", "x" * 49, "${car}", None])
def test_a_bad_name_is_refused(api: Api, name: object) -> None:
    answer = api.at_database("createKeyspace", name=name)

    assert error_code(answer) == "UNSUPPORTED_SCHEMA_NAME"
    assert "48" in answer["errors"][0]["message"]


@pytest.mark.parametrize("name", ["x" * 48, "1", "_", "A9_"])
def test_a_good_name_is_accepted(api: Api, name: str) -> None:
    assert api.at_database("createKeyspace", name=name) == {"status": {"ok": 1}}
    assert api.at_database("dropKeyspace", name=name) == {"status": {"ok": 1}}


@pytest.mark.parametrize(
    ("deprecated", "replacement", "members", "key"),
    [
        ("createNamespace", "createKeyspace", {"name": "old_style"}, "ok"),
        ("findNamespaces", "findKeyspaces", {}, "namespaces"),
        ("dropNamespace", "dropKeyspace", {"name": "old_style"}, "ok"),
    ],
)
def test_a_deprecated_name_works_and_warns(
    api: Api, deprecated: str, replacement: str, members: dict[str, str], key: str
) -> None:
    status = api.at_database(deprecated, **members)["status"]

    assert key in status
    (warning,) = status["warnings"]
    assert (warning["errorCode"], warning["scope"]) == ("DEPRECATED_COMMAND", "WARNING")
    assert deprecated in warning["message"]
    assert replacement in warning["message"]


def test_a_deprecated_name_warns_on_failure_too(api: Api) -> None:
    answer = api.at_database("createNamespace", name="a-b")

    assert error_code(answer) == "UNSUPPORTED_SCHEMA_NAME"
    assert answer["status"]["warnings"][0]["errorCode"] == "DEPRECATED_COMMAND"


@pytest.mark.parametrize(
    ("command", "members"),
    [
        ("dropNamespace", {}),
        ("findNamespaces", {"options": {"a": 1}}),
        ("createNamespace", {"x": 1}),
        ("createNamespace", {"name": {}}),
    ],
)
def test_a_command_that_was_not_understood_has_errors_alone(api: Api, command: str, members: dict[str, object]) -> None:
    assert api.at_database(command, **members).keys() == {"errors"}
