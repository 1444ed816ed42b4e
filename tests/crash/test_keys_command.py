"""`orrery keys`, and where a secret never shows: outputs, logs, files."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.live import Orrery

SECRET = "hf_5ecret-Never-Shown-81c2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> object:
    with Orrery(tmp_path_factory.mktemp("keys"), arguments=("--log-level", "debug")) as orrery:
        yield orrery


def add(server: Orrery, name: str, *databases: str, provider: str = "huggingface") -> tuple[int, str]:
    scope = [part for database in databases for part in ("--database", database)]
    done = server.command("keys", "add", provider, name, *scope, secret=SECRET + "\n")
    assert SECRET not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def listed(server: Orrery) -> str:
    done = server.command("keys", "list")
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout


def test_a_key_is_added_listed_scoped_and_removed(server: Orrery) -> None:
    assert add(server, "team-1", "sales", "support") == (0, "added huggingface key team-1, usable by sales, support\n")
    assert "sales, support" in listed(server)

    changed = server.command("keys", "scope", "huggingface", "team-1", "--add", "research", "--remove", "sales")
    assert changed.stdout == "changed huggingface key team-1, usable by research, support\n"

    assert server.command("keys", "remove", "huggingface", "team-1").returncode == 0
    assert "team-1" not in listed(server)


@pytest.mark.parametrize("name", ["-a", "a-", "_a", "a b", "é", "a" * 51, "a/b"])
def test_a_bad_name_is_refused(server: Orrery, name: str) -> None:
    done = server.command("keys", "add", "huggingface", "--database", "d", "--", name, secret=SECRET)

    assert done.returncode != 0
    assert name not in listed(server)


@pytest.mark.parametrize("name", ["a", "A1", "a_b-c", "a" * 50])
def test_a_good_name_is_taken(server: Orrery, name: str) -> None:
    assert add(server, name, "d")[0] == 0
    assert server.command("keys", "remove", "huggingface", name).returncode == 0


def test_a_name_is_given_once_a_provider(server: Orrery) -> None:
    assert add(server, "twice", "d")[0] == 0
    code, said = add(server, "twice", "e")
    assert (code, "has a credential named 'twice' already" in said) == (1, True)
    assert add(server, "twice", "d", provider="jinaAI")[0] == 0


def test_ten_databases_at_once_and_any_number_in_all(server: Orrery) -> None:
    databases = [f"database-{number}" for number in range(11)]
    assert add(server, "wide", *databases)[0] == 1
    assert add(server, "wide", *databases[:10])[0] == 0

    done = server.command("keys", "scope", "huggingface", "wide", "--add", databases[10])
    assert "database-10" in done.stdout


@pytest.mark.parametrize(("provider", "says"), [("nobody", "no such provider"), ("local", "takes no stored keys")])
def test_a_provider_that_takes_no_key_is_refused(server: Orrery, provider: str, says: str) -> None:
    code, said = add(server, "k", "d", provider=provider)

    assert (code, says in said) == (1, True)


def test_the_secret_may_come_from_a_variable(server: Orrery) -> None:
    server.environment["MY_SECRET"] = SECRET
    os.environ["MY_SECRET"] = SECRET
    done = server.command("keys", "add", "jinaAI", "from-env", "--database", "d", "--from-env", "MY_SECRET")
    os.environ.pop("MY_SECRET")

    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout


def test_a_key_of_two_secrets_takes_both(server: Orrery) -> None:
    options = ("--database", "d")
    done = server.command("keys", "add", "bedrock", "aws", *options, secret=f"AKIA-1\n{SECRET}\n")
    assert (done.returncode, done.stdout) == (0, "added bedrock key aws, usable by d\n")

    half = server.command("keys", "add", "bedrock", "half", *options, secret="AKIA-1\n")
    assert half.returncode != 0
    for name in ("accessId", "secretKey"):
        assert name in half.stderr
    assert "half" not in listed(server)


def test_both_secrets_may_come_from_variables(server: Orrery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ID", "AKIA-1")
    monkeypatch.setenv("MY_SECRET", SECRET)
    base = ("keys", "add", "bedrock")
    both = ("--database", "d", "--from-env", "accessId=MY_ID", "--from-env", "secretKey=MY_SECRET")
    assert server.command(*base, "from-env", *both).returncode == 0

    for wrong in (both[:4], ("--database", "d", "--from-env", "MY_SECRET"), (*both, "--from-env", "other=MY_ID")):
        done = server.command(*base, "wrong", *wrong)
        assert done.returncode != 0
        assert "accessId=VAR" in done.stderr
    assert "wrong" not in listed(server)


def rotate(server: Orrery, name: str, *options: str, secret: str | None = None) -> tuple[int, str]:
    done = server.command("keys", "rotate", "huggingface", name, *options, secret=secret)
    assert SECRET not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_key_is_rotated_back_and_forth(server: Orrery) -> None:
    add(server, "turning", "d")
    said = "changed huggingface key turning: secret {}\n"

    assert rotate(server, "turning", secret=SECRET + "-2") == (0, said.format("2 in use, 1 beside it"))
    assert "2 in use, 1 beside it" in listed(server)
    assert rotate(server, "turning", "--switch") == (0, said.format("1 in use, 2 beside it"))
    assert rotate(server, "turning", "--drop") == (0, said.format("1 in use"))
    assert rotate(server, "turning", "--stage", secret=SECRET + "-3") == (0, said.format("1 in use, 3 beside it"))
    code, refused = rotate(server, "turning", secret=SECRET + "-4")
    assert (code, "orrery keys rotate huggingface turning --drop" in refused) == (1, True)
    assert rotate(server, "turning", "--replace", secret=SECRET) == (0, said.format("4 in use, 1 beside it"))


def test_what_cannot_be_rotated_is_told(server: Orrery) -> None:
    add(server, "single", "d")
    for option in ("--switch", "--drop"):
        code, said = rotate(server, "single", option)
        assert (code, "has one secret only" in said) == (1, True)
        code, said = rotate(server, "never", option)
        assert (code, "has no credential named 'never'" in said) == (1, True)
    assert rotate(server, "never", secret=SECRET)[0] == 1
    assert rotate(server, "single", "--switch", "--drop")[0] == 2
    assert rotate(server, "single", "--switch", "--replace")[0] == 2
    assert rotate(server, "single", secret="\n")[0] == 2


def test_a_key_of_two_secrets_is_rotated_whole(server: Orrery) -> None:
    base = ("keys", "rotate", "bedrock", "pair")
    server.command("keys", "add", "bedrock", "pair", "--database", "d", secret=f"AKIA-1\n{SECRET}\n")

    half = server.command(*base, secret="AKIA-2\n")
    assert half.returncode != 0
    assert "secretKey" in half.stderr
    done = server.command(*base, secret=f"AKIA-2\n{SECRET}\n")
    assert done.stdout == "changed bedrock key pair: secret 2 in use, 1 beside it\n"


def test_a_key_that_was_never_used_says_so(server: Orrery) -> None:
    add(server, "unused", "d")

    (line,) = [line for line in listed(server).splitlines() if "unused" in line]
    assert "never" in line


def test_what_was_used_is_listed_by_day_and_database(server: Orrery) -> None:
    service = {"provider": "local", "modelName": "sentence-transformers/all-MiniLM-L6-v2"}
    headers = {"Token": server.token}
    create = {"createCollection": {"name": "used", "options": {"vector": {"service": service}}}}
    httpx.post(f"{server.url}/v1/default_keyspace", json=create, headers=headers, timeout=30, trust_env=False)
    insert = {"insertMany": {"documents": [{"$vectorize": "one"}, {"$vectorize": "two"}]}}
    httpx.post(f"{server.url}/v1/default_keyspace/used", json=insert, headers=headers, timeout=30, trust_env=False)

    done = server.command("keys", "usage")

    (line,) = (line for line in done.stdout.splitlines() if "all-MiniLM-L6-v2" in line)
    cells = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert cells[1:9] == ["local", "of requests", "default", service["modelName"], "1", "2", "0", "0"]
    assert server.command("keys", "usage", "--since", "2999-01-01").stdout.count("local") == 0


def test_the_audit_log_is_printed_with_every_change(server: Orrery) -> None:
    add(server, "watched", "d")
    server.command("keys", "scope", "huggingface", "watched", "--add", "e")
    rotate(server, "watched", secret=SECRET + "-2")
    server.command("keys", "remove", "huggingface", "watched")

    done = server.command("keys", "audit")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["what"] for line in lines if line["name"] == "watched"] == [
        "created",
        "scope widened",
        "secret rotated",
        "deleted",
    ]
    assert SECRET not in done.stdout
    assert stat.S_IMODE((server.data_dir / "embedder" / "audit.log").stat().st_mode) == 0o600


def test_there_is_no_audit_log_before_the_first_change(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "keys", "audit", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, "no key has been changed yet" in done.stderr) == (1, True)


def test_an_empty_secret_is_refused(server: Orrery) -> None:
    done = server.command("keys", "add", "jinaAI", "empty", "--database", "d", secret="\n")

    assert done.returncode != 0
    assert "empty" not in listed(server)


def test_removing_what_is_not_there_is_told(server: Orrery) -> None:
    done = server.command("keys", "remove", "huggingface", "never")

    assert done.returncode == 1
    assert "has no credential named 'never'" in done.stderr


def test_no_file_holds_a_secret_in_clear(server: Orrery) -> None:
    add(server, "sealed", "d")

    holders = [path for path in server.data_dir.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert holders == []
    assert stat.S_IMODE((server.data_dir / "embedder" / "master.key").stat().st_mode) == 0o600


def test_another_master_key_is_told_from_the_right_one(tmp_path: Path) -> None:
    with Orrery(tmp_path) as orrery:
        orrery.add_key("huggingface", "k", SECRET)
    (tmp_path / "embedder" / "master.key").write_text("A" * 43 + "=\n")

    with pytest.raises(AssertionError, match="ended"):
        Orrery(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "embedder", "--data-dir", str(tmp_path / "embedder")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("orrery: the master key is not the one that")
