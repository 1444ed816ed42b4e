"""deleteCollection: gone with its documents."""

from tests.contract.api import Api, error_code


def test_a_deleted_collection_is_gone_and_a_new_one_is_empty(fresh: Api) -> None:
    fresh.at_keyspace("createCollection", name="c")
    fresh.collection = "c"
    fresh.run("insertOne", document={"_id": 1})

    assert fresh.at_keyspace("deleteCollection", name="c") == {"status": {"ok": 1}}
    assert error_code(fresh.run("find")) == "UNKNOWN_COLLECTION_OR_TABLE"
    fresh.at_keyspace("createCollection", name="c")
    assert fresh.run("countDocuments") == {"status": {"count": 0}}


def test_deleting_what_is_not_there_is_fine(fresh: Api) -> None:
    assert fresh.at_keyspace("deleteCollection", name="never") == {"status": {"ok": 1}}


def test_deleting_takes_no_options(fresh: Api) -> None:
    answer = fresh.at_keyspace("deleteCollection", name="c", options={"a": 1})

    assert error_code(answer) == "COMMAND_ACCEPTS_NO_OPTIONS"
