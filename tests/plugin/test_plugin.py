"""The pytest plugin, as a project of a user's has it: each test runs pytest on a small project of its own."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pytest_orrery.server import ProviderKey
from tests.clients import toolchains
from tests.conftest import PROVIDER_SECRET
from tests.upstream.server import Upstream

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
#: It is loaded by itself once Orrery is installed with it.
LOADED = any(entry.name == "orrery" for entry in entry_points(group="pytest11"))
ARGUMENTS = () if LOADED else ("-p", "pytest_orrery.plugin")
ENDED_SECONDS = 60

CALL = """
import json
import urllib.error
import urllib.request


def call(database, command, collection=""):
    headers = {"Token": database.token, "Content-Type": "application/json"}
    url = f"{database.endpoint}/v1/{database.keyspace}/{collection}".rstrip("/")
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, json.dumps(command).encode(), headers))
    except urllib.error.HTTPError as refusal:
        answer = refusal
    with answer:
        return json.load(answer)
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package found where the tests are run, and no settings of this run's environment."""
    paths = [str(ROOT), str(ROOT / "protos"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    for name in list(os.environ):
        if name.startswith(("ORRERY_", "PYTEST_")):
            monkeypatch.delenv(name)


def test_the_package_declares_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["entry-points"]["pytest11"] == {"orrery": "pytest_orrery.plugin"}


def test_a_run_that_does_not_use_the_plugin_imports_the_plugin_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys


        def test_nothing():
            ours = {name for name in sys.modules if name.partition(".")[0] in ("services", "orrery", "pytest_orrery")}
            assert ours == {"pytest_orrery", "pytest_orrery.plugin"}
        """
    )

    pytester.runpytest_subprocess(*ARGUMENTS).assert_outcomes(passed=1)


def test_each_test_has_an_empty_database_and_a_failed_one_the_servers_log(pytester: pytest.Pytester) -> None:
    # A project may have a folder of the same name as the package.
    pytester.mkpydir("services")
    pytester.makepyfile(
        CALL
        + """
import pytest

SERVICE = {"provider": "deterministic", "modelName": "hash"}
seen = set()


@pytest.mark.parametrize("number", range(3))
def test_it_is_empty(orrery_database, number):
    assert call(orrery_database, {"findCollections": {}}) == {"status": {"collections": []}}
    call(orrery_database, {"createCollection": {"name": "books", "options": {"vector": {"service": SERVICE}}}})
    call(orrery_database, {"insertOne": {"document": {"_id": number, "$vectorize": "a text"}}}, "books")
    find = {"find": {"sort": {"$vectorize": "a text"}, "options": {"includeSimilarity": True}}}
    (found,) = call(orrery_database, find, "books")["data"]["documents"]
    assert found["_id"] == number and found["$similarity"] > 0.99
    assert orrery_database.token not in repr(orrery_database)
    seen.add(orrery_database)


def test_earlier_ones_are_gone(orrery_server):
    assert len({database.endpoint for database in seen}) == 3
    with orrery_server.database() as another:
        assert call(another, {"findCollections": {}}) == {"status": {"collections": []}}
    for earlier in (*seen, another):
        (error,) = call(earlier, {"findCollections": {}})["errors"]
        assert error["errorCode"] == "UNKNOWN_DATABASE"


def test_that_fails(orrery_server, orrery_database):
    with orrery_server.log_file.open("a") as log:
        log.write("said during the test\\n")
    # Two lines of the server's own after it.
    with orrery_server.database():
        pass
    raise AssertionError
"""
    )

    result = pytester.runpytest_subprocess(*ARGUMENTS)

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*Orrery's log*", "said during the test"])
    assert "orrery: ready" not in result.stdout.str() and "database created" not in result.stdout.str()


def test_recorded_embeddings_need_neither_key_nor_provider(pytester: pytest.Pytester, upstream: Upstream) -> None:
    settings = "".join(f"    {name}={value}\n" for name, value in upstream.environment().items())
    pytester.makeini(
        f"""
[pytest]
orrery_recordings = embeddings.sqlite
orrery_keys = openai my-key TEST_API_KEY
orrery_environment =
{settings}"""
    )
    pytester.makepyfile(
        CALL
        + """
SERVICE = {"provider": "openai", "modelName": "text-embedding-3-small", "authentication": {"providerKey": "my-key"}}


def insert(database, text):
    call(database, {"createCollection": {"name": "books", "options": {"vector": {"service": SERVICE}}}})
    return call(database, {"insertOne": {"document": {"_id": 1, "$vectorize": text}}}, "books")


def test_known(orrery_database):
    assert orrery_database.keys == ("my-key",)
    assert insert(orrery_database, "a text") == {"status": {"insertedIds": [1]}}


def test_new(orrery_database, pytestconfig):
    if not pytestconfig.getoption("--orrery-record"):
        assert "recorded" in insert(orrery_database, "another text")["errors"][0]["message"]
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_API_KEY", PROVIDER_SECRET)
        pytester.runpytest_subprocess(*ARGUMENTS, "--orrery-record").assert_outcomes(passed=2)
    asked = len(upstream.requests)

    pytester.runpytest_subprocess(*ARGUMENTS).assert_outcomes(passed=2)

    assert asked == len(upstream.requests) == 1


def test_keyspaces_may_do_and_the_server_ends_with_a_pytest_that_is_killed(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\norrery_isolation = keyspace\n")
    pytester.makepyfile(
        CALL
        + """
import time


def test_keyspaces(orrery_server, orrery_database):
    assert orrery_database.endpoint == orrery_server.url
    assert call(orrery_database, {"findCollections": {}}) == {"status": {"collections": []}}
    with orrery_server.database() as another:
        assert another.keyspace != orrery_database.keyspace
    (error,) = call(another, {"findCollections": {}})["errors"]
    print("gone:", error["errorCode"])


def test_it_hangs(orrery_server):
    print("server", orrery_server._process.pid, flush=True)
    time.sleep(60)
"""
    )
    command = [sys.executable, "-m", "pytest", "-s", *ARGUMENTS]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"server (\d+)", line):
                break
        process.send_signal(signal.SIGKILL)
    assert found, said
    server = int(found[1])
    assert any("gone: UNKNOWN_KEYSPACE" in line for line in said), said
    deadline = time.monotonic() + ENDED_SECONDS
    while Path(f"/proc/{server}").exists() and Path(f"/proc/{server}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the server goes on"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("settings", "arguments", "said"),
    [
        ("orrery_arguments = --limit nonsense=1", (), "orrery up ended with status"),
        ("orrery_isolation = nonsense", (), "it may be database or keyspace"),
        ("orrery_environment = NONSENSE", (), "'NONSENSE' is no NAME=VALUE"),
        ("orrery_keys = openai", (), "write PROVIDER NAME VARIABLE"),
        ("orrery_recordings = missing.sqlite", (), "make it with --orrery-record"),
        ("", ("--orrery-record",), "writes the file that `orrery_recordings` names"),
    ],
)
def test_what_cannot_be_started_is_said_without_a_traceback(
    settings: str, arguments: tuple[str, ...], said: str, pytester: pytest.Pytester
) -> None:
    pytester.makeini(f"[pytest]\n{settings}\n")
    pytester.makepyfile("def test_something(orrery_database):\n    pass\n")

    result = pytester.runpytest_inprocess(*ARGUMENTS, *arguments)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"orrery: *{said}*"])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ("openai my-key OPENAI_API_KEY", (("", "OPENAI_API_KEY"),)),
        ("bedrock my-key accessId=AWS_ID secretKey=AWS_KEY", (("accessId", "AWS_ID"), ("secretKey", "AWS_KEY"))),
    ],
)
def test_keys_name_the_variables_of_their_secrets(line: str, secrets: tuple[tuple[str, str], ...]) -> None:
    assert ProviderKey.parse(line).secrets == secrets


def examples() -> Iterator[tuple[str, str]]:
    """Give the name and the text of each example of docs/testing.md."""
    text = (ROOT / "docs" / "testing.md").read_text()
    yield from re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL)


@pytest.mark.clients
@pytest.mark.timeout(600)
def test_the_example_of_the_documentation_runs_with_astrapy(pytester: pytest.Pytester) -> None:
    for name, text in examples():
        (pytester.path / name).write_text(text)
    # What Orrery's own environment does not have: astrapy, and what it needs of others.
    (packages,) = Path(toolchains.python("python_astrapy_2")[0]).parents[1].glob("lib/python*/site-packages")
    pytester.makeconftest(f"import sys\n\nsys.path.append({str(packages)!r})\n")

    pytester.runpytest_subprocess(*ARGUMENTS).assert_outcomes(passed=2)
