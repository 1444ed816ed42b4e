"""Keys change while commands run: rotation without a failed command, and a directory that Kubernetes would mount."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROVIDER_SECRET
from tests.contract.api import Api, error_code
from tests.live import Orrery
from tests.mounted import MountedVolume
from tests.upstream.server import Upstream

NEXT_SECRET = "sk-upstream-next-77ab"
WRONG_SECRET = "sk-upstream-wrong-01cd"
#: How long a change of the directory may take until it is used, in seconds.
RELOAD_SECONDS = 10


def create(api: Api, name: str, key: str) -> None:
    """Create a collection that embeds by Hugging Face with a key, and work on it."""
    api.collection = name
    service = {
        "provider": "huggingface",
        "modelName": "sentence-transformers/all-MiniLM-L6-v2",
        "authentication": {"providerKey": key},
    }
    answer = api.at_keyspace("createCollection", name=name, options={"vector": {"service": service}})
    assert answer == {"status": {"ok": 1}}


def keys_seen(upstream: Upstream) -> list[str]:
    """Return the keys of the provider's requests, in order."""
    return [request["headers"]["authorization"].removeprefix("Bearer ") for request in upstream.requests]


def insert(api: Api) -> dict[str, Any]:
    """Insert a document whose text is embedded."""
    return api.run("insertOne", document={"$vectorize": "A recipe for a rich chocolate cake"})


# --- rotation ---------------------------------------------------------------


class Load:
    """Commands that embed, one after the other in a few threads, until it ends; `answers` are theirs."""

    def __init__(self, api: Api, threads: int = 3) -> None:
        self.answers: list[dict[str, Any]] = []
        self._api = api
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._done.is_set():
            self.answers.append(insert(self._api))

    def wait_for(self, more: int) -> None:
        """Wait until so many more commands have been answered."""
        wanted, deadline = len(self.answers) + more, time.monotonic() + 60
        while len(self.answers) < wanted:
            assert time.monotonic() < deadline, "the load stands still"
            time.sleep(0.01)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.wait_for(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(60)


def test_a_key_is_rotated_under_load_without_a_failed_command(api: Api, orrery: Orrery, upstream: Upstream) -> None:
    upstream.accept(NEXT_SECRET)
    orrery.add_key("huggingface", "turning", PROVIDER_SECRET)
    create(api, "turning", "turning")

    def rotate(*options: str, secret: str | None = None) -> None:
        done = orrery.command("keys", "rotate", "huggingface", "turning", *options, secret=secret)
        assert done.returncode == 0, done.stderr

    def used_from_now_on(load: Load) -> set[str]:
        # Commands under way end with the key they began with: they are at most as many as there are threads.
        load.wait_for(6)
        start = len(upstream.requests)
        load.wait_for(6)
        return set(keys_seen(upstream)[start:])

    with Load(api) as load:
        rotate("--stage", secret=NEXT_SECRET)
        assert used_from_now_on(load) == {PROVIDER_SECRET}
        rotate("--switch")
        assert used_from_now_on(load) == {NEXT_SECRET}
        rotate("--switch")
        assert used_from_now_on(load) == {PROVIDER_SECRET}
        rotate("--switch")
        rotate("--drop")
        assert used_from_now_on(load) == {NEXT_SECRET}

    assert [answer for answer in load.answers if "errors" in answer] == []
    assert api.count() == len(load.answers)
    api.at_keyspace("deleteCollection", name="turning")
    orrery.command("keys", "remove", "huggingface", "turning")


def test_a_command_under_way_keeps_the_key_it_began_with(api: Api, orrery: Orrery, upstream: Upstream) -> None:
    upstream.accept(NEXT_SECRET)
    orrery.add_key("huggingface", "slowly", PROVIDER_SECRET)
    create(api, "slowly", "slowly")
    # The first try fails after the rotation; the second must not have another key.
    upstream.behave("slow", seconds=0.0)
    insert(api)
    upstream.behave("rate_limited", retry_after=3)
    answers: list[dict[str, Any]] = []
    under_way = threading.Thread(target=lambda: answers.append(insert(api)))
    under_way.start()
    while len(upstream.requests) < 2:
        time.sleep(0.01)
    done = orrery.command("keys", "rotate", "huggingface", "slowly", secret=NEXT_SECRET)
    seen_before = len(upstream.requests)
    under_way.join(60)

    assert (done.returncode, seen_before) == (0, 2)
    assert "errors" not in answers[0]
    insert(api)
    assert keys_seen(upstream) == [PROVIDER_SECRET] * 3 + [NEXT_SECRET]
    api.at_keyspace("deleteCollection", name="slowly")
    orrery.command("keys", "remove", "huggingface", "slowly")


def test_the_list_tells_when_a_key_was_used(api: Api, orrery: Orrery) -> None:
    orrery.add_key("huggingface", "told", PROVIDER_SECRET)
    create(api, "told", "told")

    def row() -> str:
        (line,) = [line for line in orrery.command("keys", "list").stdout.splitlines() if " told " in line]
        return line

    assert "never" in row()
    insert(api)
    assert "never" not in row()
    api.at_keyspace("deleteCollection", name="told")
    orrery.command("keys", "remove", "huggingface", "told")


# --- a mounted directory ----------------------------------------------------


@pytest.fixture
def volume(tmp_path: Path) -> MountedVolume:
    """A Secret `hf` of Hugging Face that the provider refuses."""
    return MountedVolume(tmp_path / "mount" / "huggingface" / "hf", {"token": WRONG_SECRET, "databases": "default\n"})


@pytest.fixture
def mounted(tmp_path: Path, volume: MountedVolume, upstream: Upstream) -> Iterator[Orrery]:
    """A live server with the directory, and its log in a file."""
    environment = {**upstream.environment(), "ORRERY_CREDENTIALS_DIR": str(tmp_path / "mount")}
    with Orrery(tmp_path / "data", environment=environment) as server:
        yield server


def eventually(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + RELOAD_SECONDS
    while not true():
        assert time.monotonic() < deadline, "the change was not taken"
        time.sleep(0.2)


def test_a_key_of_a_directory_is_used_and_changed_by_a_swap(
    mounted: Orrery, volume: MountedVolume, upstream: Upstream
) -> None:
    api = Api(mounted.url, mounted.token)
    create(api, "mounted", "hf")
    assert error_code(insert(api)) == "EMBEDDING_PROVIDER_CLIENT_ERROR"

    volume.swap({"token": PROVIDER_SECRET + "\n", "databases": "default\nother\n"})
    eventually(lambda: "errors" not in insert(api))

    volume.swap({"token": PROVIDER_SECRET, "databases": "other\n"})
    eventually(lambda: "errors" in insert(api))
    refused = insert(api)
    assert error_code(refused) == "VECTORIZE_CREDENTIAL_INVALID"
    assert "Add a line default to the file databases of huggingface/hf" in refused["errors"][0]["message"]
    assert PROVIDER_SECRET not in str(refused)

    listed = mounted.command("keys", "list").stdout
    assert "from the directory" in listed
    for command in (["remove"], ["rotate", "--switch"], ["scope", "--add", "default"]):
        done = mounted.command("keys", command[0], "huggingface", "hf", *command[1:])
        assert done.returncode == 1
        assert "can only be changed there" in done.stderr
    audited = [json.loads(line) for line in mounted.command("keys", "audit").stdout.splitlines()]
    assert [line["what"] for line in audited] == ["directory added", "directory changed", "directory changed"]
    api.http.close()
