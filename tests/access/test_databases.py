"""Databases of a running server: created, listed and dropped by commands; a drop that is killed is finished."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import grpc
import pytest

from tests.access.operating import Client, Operator, eventually
from tests.conftest import PROVIDER_SECRET
from tests.live import Orrery


def test_a_database_is_created_listed_and_dropped_by_command(server: Orrery, operator: Operator) -> None:
    created = server.command(
        "databases", "create", "by-command", "--domain", "data.example.org", "--region", "eu-west1"
    )
    assert created.returncode == 0, created.stderr
    assert "served as by-command-eu-west1.data.example.org" in created.stdout
    server.add_key("huggingface", "of-by-command", PROVIDER_SECRET, "by-command")
    token = operator.token("by-command")
    one = Client(server.url, "by-command.localhost", token)
    one.answer("/v1/default_keyspace", {"createCollection": {"name": "things"}})

    listed = json.loads(server.command("databases", "list", "--json").stdout)
    (found,) = (item for item in listed if item["name"] == "by-command")
    assert (found["state"], found["keyspaces"]) == ("there", {"default_keyspace": ["things"]})
    assert "by-command" in server.command("databases", "list").stdout

    unasked = server.command("databases", "drop", "by-command")
    assert (unasked.returncode, one.keyspaces()) == (1, ["default_keyspace"])
    # What goes with it is told before anything is done.
    for what in ("keyspace default_keyspace: things", f"token {token.split(':')[1]} (test), of this database alone"):
        assert what in unasked.stderr
    assert "give --yes" in unasked.stderr

    dropped = server.command("databases", "drop", "by-command", "--yes")
    assert (dropped.returncode, dropped.stdout) == (0, "dropped database by-command\n")
    assert "by-command" not in operator.names()
    (line,) = (line for line in server.command("keys", "list").stdout.splitlines() if "of-by-command" in line)
    assert line.split("│")[3].strip() == ""
    eventually(lambda: one.send("/v1", {"findKeyspaces": {}}).status_code == 401)


def test_a_drop_that_was_killed_is_finished_by_the_server(server: Orrery, operator: Operator) -> None:
    operator.create("killed")
    server.add_key("huggingface", "of-killed", PROVIDER_SECRET, "killed", "default")

    operator.begin_drop("killed")

    eventually(lambda: "killed" not in operator.names())
    (line,) = (line for line in server.command("keys", "list").stdout.splitlines() if "of-killed" in line)
    assert line.split("│")[3].strip() == "default"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "Not A Name"], "is not allowed"),
        (["create", "default"], "exists already"),
        (["drop", "none", "--yes"], "There is no database 'none'"),
        (["drop", "default", "--yes"], "always there"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(server: Orrery, arguments: list[str], says: str) -> None:
    done = server.command("databases", *arguments)

    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_request_right_after_the_creation_is_served(server: Orrery, operator: Operator) -> None:
    for number in range(5):
        operator.create(f"fresh-{number}")
        one = Client(server.url, f"fresh-{number}.localhost", server.token)
        assert one.keyspaces() == ["default_keyspace"]
        operator.begin_drop(f"fresh-{number}")


def test_databases_and_tokens_outlive_a_restart(server: Orrery, operator: Operator, database: str) -> None:
    token = operator.token(database)
    server.stop()
    server.start()

    assert Client(server.url, f"{database}.localhost", token).keyspaces()[1] == "default_keyspace"


def test_a_drop_without_the_embedder_is_finished_by_the_server(server: Orrery, operator: Operator) -> None:
    operator.create("alone")

    dropped = server.command("databases", "drop", "alone", "--yes", "--embedder", "127.0.0.1:1")

    assert (dropped.returncode, dropped.stdout) == (0, "dropped database alone\n")
    assert "a gateway that runs takes it out of their scopes" in dropped.stderr
    eventually(lambda: "alone" not in operator.names())


#: From before the drop is committed to after its files are removed, in seconds.
@pytest.mark.parametrize("moment", [0.0, 0.003, 0.02])
def test_a_store_that_is_killed_during_a_drop_has_all_of_the_database_or_nothing(
    server: Orrery, operator: Operator, moment: float
) -> None:
    name, things = f"killed-{moment * 1000:.0f}", [f"things{number}" for number in range(3)]
    operator.create(name)
    one = Client(server.url, f"{name}.localhost", server.token)
    for thing in things:
        one.answer("/v1/default_keyspace", {"createCollection": {"name": thing}})
        one.answer(f"/v1/default_keyspace/{thing}", {"insertOne": {"document": {"_id": name}}})

    def drop() -> None:
        try:
            operator.begin_drop(name)
        except grpc.RpcError:
            return  # the store is gone

    dropping = threading.Thread(target=drop)
    dropping.start()
    time.sleep(moment)
    os.kill(server.child("store"), signal.SIGKILL)
    dropping.join()

    eventually(lambda: one.http.get("/health/ready").status_code == 200)
    eventually(lambda: settled(operator, name))
    if name in operator.names():
        for thing in things:
            found = one.answer(f"/v1/default_keyspace/{thing}", {"countDocuments": {}})
            assert found["status"] == {"count": 1}
        operator.drop(name)
    folder = server.data_dir / "store" / "collections"
    eventually(lambda: all(name.encode() not in file.read_bytes() for file in folder.glob("*/*.db*")))


def test_commands_reach_a_database_by_its_host_name(
    server: Orrery, operator: Operator, database: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"_id": 1}\n{"_id": 2}\n')
    one = Client(server.url, f"{database}.localhost", operator.token(database))
    one.answer("/v1/default_keyspace", {"createCollection": {"name": "things"}})
    where = ("--endpoint", server.url.replace("127.0.0.1", f"{database}.localhost"), "--collection", "things")

    loaded = server.command("load", str(tmp_path / "rows.jsonl"), *where, "--token", one.token)
    refused = server.command("load", str(tmp_path / "rows.jsonl"), *where, "--token", operator.token("default"))

    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    assert one.answer("/v1/default_keyspace/things", {"countDocuments": {}})["status"] == {"count": 2}
    assert refused.returncode != 0
    assert "not valid for this database" in refused.stderr

    exported = server.command("export", str(tmp_path / "out"), *where, "--token", one.token)
    imported = server.command("import", str(tmp_path / "out"), *where[:2], "--collection", "more", "--token", one.token)
    assert (exported.returncode, imported.returncode) == (0, 0), exported.stderr + imported.stderr
    assert one.answer("/v1/default_keyspace/more", {"countDocuments": {}})["status"] == {"count": 2}


def settled(operator: Operator, name: str) -> bool:
    """Tell whether no drop of a database is under way; the store may be starting."""
    try:
        return name not in operator.dropping()
    except grpc.RpcError:
        return False
