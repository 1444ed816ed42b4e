"""Tokens of a running server: made and revoked without a restart, with roles, rates, and an audit log."""

import json
import re
from collections.abc import Callable

import pytest

from tests.access.operating import Client, Operator, eventually
from tests.live import Orrery

HOME = "/v1/default_keyspace"
THINGS = f"{HOME}/things"
Make = Callable[..., Client]


def audited(server: Orrery) -> list[dict[str, object]]:
    """Return what `orrery audit` prints."""
    done = server.command("audit")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("read", {"find", "count"}),
        ("write", {"find", "count", "insert"}),
        ("admin", {"find", "count", "insert", "create"}),
    ],
)
def test_a_token_may_do_what_its_role_says(database: str, client: Make, role: str, allowed: set[str]) -> None:
    client(database).answer(HOME, {"createCollection": {"name": "things"}})
    commands = {
        "find": (THINGS, {"find": {}}),
        "count": (THINGS, {"countDocuments": {}}),
        "insert": (THINGS, {"insertOne": {"document": {}}}),
        "create": (HOME, {"createCollection": {"name": "more"}}),
    }
    one = client(database, role=role)

    for name, (path, command) in commands.items():
        response = one.send(path, command)
        if name in allowed:
            assert (response.status_code, response.json().get("errors")) == (200, None)
        else:
            assert response.status_code == 401
            (error,) = response.json()["errors"]
            assert (error["errorCode"], error["family"], error["scope"]) == (
                "UNAUTHORIZED_ACCESS",
                "REQUEST",
                "SECURITY",
            )
            assert f"has the role {role}" in error["message"]


def test_a_deprecated_name_needs_the_role_of_the_other_one(database: str, client: Make) -> None:
    response = client(database, role="write").send("/v1", {"createNamespace": {"name": "n"}})

    assert response.status_code == 401
    assert response.json()["status"]["warnings"][0]["errorCode"] == "DEPRECATED_COMMAND"
    assert client(database).keyspaces() == [database.replace("-", "_"), "default_keyspace"]


def test_a_token_is_made_and_revoked_by_command_while_the_server_runs(server: Orrery, database: str) -> None:
    made = server.command("tokens", "create", "--name", "by command", "--database", database, "--expires", "90d")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    one = Client(server.url, f"{database}.localhost", secret)
    assert one.keyspaces()

    listed = server.command("tokens", "list").stdout
    (line,) = (line for line in listed.splitlines() if "by command" in line)
    assert re.search(rf"│ {secret.split(':')[1]} │ by command │ read │ {database} │", re.sub(" +", " ", line))
    assert secret.split(":")[2] not in listed

    assert server.command("tokens", "revoke", secret.split(":")[1]).returncode == 0
    eventually(lambda: one.send("/v1", {"findKeyspaces": {}}).status_code == 401)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create"], "--all-databases"),
        (["create", "--database", "none"], "There is no database 'none'"),
        (["create", "--all-databases", "--expires", "soon"], "such as 90d"),
        (["create", "--all-databases", "--role", "king"], "king"),
        (["create", "--all-databases", "--rate", "0"], "must be over 0"),
        (["revoke", "000000000000"], "no token with the id"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(server: Orrery, arguments: list[str], says: str) -> None:
    done = server.command("tokens", *arguments)

    assert done.returncode != 0
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_that_comes_too_often_is_told_when_to_come_again(
    server: Orrery, operator: Operator, database: str
) -> None:
    slow = Client(server.url, f"{database}.localhost", operator.token(database, rate=0.2))
    slow.keyspaces()

    response = slow.send("/v1", {"findKeyspaces": {}})

    assert response.status_code == 429
    (error,) = response.json()["errors"]
    assert (error["errorCode"], error["scope"]) == ("REQUEST_RATE_EXCEEDED", "SECURITY")
    assert 1 <= int(response.headers["retry-after"]) <= 5
    assert Client(server.url, f"{database}.localhost", server.token).keyspaces()


def test_who_tries_tokens_is_slowed_down(server: Orrery, operator: Operator, database: str) -> None:
    # Another address, so that nobody else is.
    guessing = Client(server.url, f"{database}.localhost", "guess", address="127.0.0.2")
    statuses = {guessing.send("/v1", {"findKeyspaces": {}}).status_code for _ in range(400)}

    assert statuses == {401, 429}
    assert Client(server.url, f"{database}.localhost", operator.token(database), address="127.0.0.2").keyspaces()


def test_the_audit_log_has_who_changed_what_and_who_was_refused(
    server: Orrery, operator: Operator, database: str, client: Make
) -> None:
    admin, reader = client(database), client(database, role="read")
    admin.answer(HOME, {"createCollection": {"name": "audited"}})
    assert reader.code(HOME, {"deleteCollection": {"name": "audited"}}) == "UNAUTHORIZED_ACCESS"
    admin.answer(HOME, {"deleteCollection": {"name": "audited"}})
    outsider = client(host="localhost", token=reader.token)
    assert outsider.code("/v1", {"findKeyspaces": {}}) == "UNAUTHENTICATED_REQUEST"
    admin_id, reader_id = (one.token.split(":")[1] for one in (admin, reader))

    def mine() -> list[tuple[object, ...]]:
        told = [entry for entry in audited(server) if entry.get("token") in (admin_id, reader_id)]
        return [(entry["what"], entry["token"], entry.get("name")) for entry in told]

    expected = [
        ("token created", admin_id, None),
        ("token created", reader_id, None),
        ("createCollection", admin_id, "audited"),
        ("denied: deleteCollection", reader_id, "audited"),
        ("deleteCollection", admin_id, "audited"),
        ("denied: wrong database", reader_id, None),
    ]
    # Refusals are written after their answer.
    eventually(lambda: sorted(map(str, mine())) == sorted(map(str, expected)))
    assert (server.data_dir / "audit.log").stat().st_mode & 0o777 == 0o600


def test_no_secret_of_a_token_is_anywhere(server: Orrery, operator: Operator, database: str, client: Make) -> None:
    one = client(database)
    one.answer(HOME, {"createCollection": {"name": "things"}})
    one.send("/v1", {"unknown": {}})
    client(host="none.localhost", token=one.token).send("/v1", {"findKeyspaces": {}})
    secret = one.token.split(":")[2].encode()

    for path in server.data_dir.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path
    for service in ("store", "embedder", "gateway"):
        pid = server.child(service)
        for what in ("cmdline", "environ"):
            assert secret not in open(f"/proc/{pid}/{what}", "rb").read()  # noqa: PTH123, SIM115 - no file to keep
