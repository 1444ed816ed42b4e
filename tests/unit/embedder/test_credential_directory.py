"""The directory of credentials: what is read, what is ignored and why, and how changes come in."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.embedder.catalogue import load_catalogue
from services.embedder.credential_directory import CredentialDirectory
from services.embedder.credentials import CredentialStore
from services.embedder.secret import Secret
from services.runtime.errors import ConfigurationError, DataApiError
from tests.mounted import MountedVolume

KEY = Secret(base64.b64encode(b"k" * 32).decode())
SECRET = "hf-mounted-secret"
HF = ("huggingface", "k", "providerKey")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory, with one key `k` of Hugging Face for the database `d`."""
    folder = tmp_path / "mount"
    write(folder, "huggingface/k", token=SECRET + "\n", databases="d\n")
    return folder


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def write(folder: Path, entry: str, **files: str) -> None:
    """Write the files of an entry."""
    (folder / entry).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / entry / name).write_text(text)


def open_store(tmp_path: Path, root: Path) -> CredentialStore:
    """Return a store with the directory."""
    return CredentialStore(tmp_path / "credentials.db", KEY, CredentialDirectory(root, load_catalogue()))


def settle(store: CredentialStore) -> None:
    """Poll until a change is taken."""
    store.reload_directory()
    store.reload_directory()


def problems(logged: list[Any]) -> dict[str, str]:
    """Return what was reported, by entry."""
    return {item["entry"]: f"{item['problem']}: {item['remedy']}" for item in logged if "problem" in item}


def test_a_credential_is_read_and_used(tmp_path: Path, root: Path) -> None:
    store = open_store(tmp_path, root)

    assert store.secret(*HF, "d").reveal() == SECRET
    (listed,) = store.list()
    assert (listed.provider, listed.name, listed.databases, listed.stored) == ("huggingface", "k", ("d",), False)
    assert abs(listed.created - (root / "huggingface" / "k" / "token").stat().st_mtime) < 1
    assert listed.last_used is not None
    with pytest.raises(DataApiError, match="Add a line e to the file databases of huggingface/k"):
        store.check(*HF, "e")


def test_one_file_for_each_of_several_secrets(tmp_path: Path, root: Path) -> None:
    write(root, "bedrock/aws", accessId="AKIA-1\n", secretKey="s3\n", databases="d\n\n e \nd\n")
    store = open_store(tmp_path, root)

    found = store.secrets("bedrock", {"accessId": "aws", "secretKey": "aws"}, "e")
    assert {token: secret.reveal() for token, secret in found.items()} == {"accessId": "AKIA-1", "secretKey": "s3"}


def test_the_only_secret_may_have_its_own_name(tmp_path: Path, root: Path) -> None:
    write(root, "jinaAI/j", providerKey="jina", databases="d")

    assert open_store(tmp_path, root).secret("jinaAI", "j", "providerKey", "d").reveal() == "jina"


BAD = [
    ("nobody/k", {"token": SECRET, "databases": "d"}, "nobody", "no such provider"),
    ("local/k", {"token": SECRET, "databases": "d"}, "local", "takes no stored keys"),
    ("huggingface/bad name", {"token": SECRET, "databases": "d"}, "huggingface/bad name", "1 to 50 letters"),
    ("huggingface/x", {"databases": "d"}, "huggingface/x", "no providerKey: put the files token and databases there"),
    ("huggingface/x", {"token": SECRET}, "huggingface/x", "it has no databases"),
    ("huggingface/x", {"token": " \n", "databases": "d"}, "huggingface/x", "token does not hold one line"),
    ("huggingface/x", {"token": f"{SECRET}\nb", "databases": "d"}, "huggingface/x", "token does not hold one line"),
    ("huggingface/x", {"token": SECRET, "databases": "\n"}, "huggingface/x", "names no database"),
    ("huggingface/x", {"token": SECRET, "providerKey": SECRET, "databases": "d"}, "huggingface/x", "it has both"),
    ("huggingface/x", {"token": SECRET * 10_000, "databases": "d"}, "huggingface/x", "at most 65536 bytes"),
    ("bedrock/x", {"token": SECRET, "databases": "d"}, "bedrock/x", "no accessId and no secretKey"),
    ("bedrock/x", {"accessId": SECRET, "databases": "d"}, "bedrock/x", "put the files accessId, secretKey, databases"),
]


@pytest.mark.parametrize(("entry", "files", "reported", "says"), BAD)
def test_a_bad_entry_is_reported_and_ignored(
    tmp_path: Path, root: Path, logged: list[Any], entry: str, files: dict[str, str], reported: str, says: str
) -> None:
    write(root, entry, **files)
    store = open_store(tmp_path, root)

    assert [item.name for item in store.list()] == ["k"]
    assert says in problems(logged)[reported]
    assert SECRET not in str(logged)


def test_what_cannot_be_read_is_reported(tmp_path: Path, root: Path, logged: list[Any]) -> None:
    write(root, "huggingface/binary", databases="d")
    (root / "huggingface" / "binary" / "token").write_bytes(b"\xff\xfe")
    write(root, "huggingface/pipe", databases="d")
    os.mkfifo(root / "huggingface" / "pipe" / "token")
    write(root, "huggingface/dangling", databases="d")
    (root / "huggingface" / "dangling" / "token").symlink_to("nowhere")
    (root / "huggingface" / "file").write_text(SECRET)
    (root / "jinaAI").write_text(SECRET)
    store = open_store(tmp_path, root)

    assert [item.name for item in store.list()] == ["k"]
    reported = problems(logged)
    assert "not UTF-8" in reported["huggingface/binary"]
    assert "not a plain file" in reported["huggingface/pipe"]
    assert "cannot be read" in reported["huggingface/dangling"]
    assert "it is not a folder" in reported["huggingface/file"]
    assert "it is not a folder" in reported["jinaAI"]


def test_a_bad_entry_says_so_when_it_is_used(tmp_path: Path, root: Path) -> None:
    write(root, "huggingface/x", token=SECRET)
    store = open_store(tmp_path, root)

    with pytest.raises(DataApiError, match="The embedder's log says what to mend"):
        store.check("huggingface", "x", "providerKey", "d")


def test_a_directory_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ORRERY_CREDENTIALS_DIR"):
        open_store(tmp_path, tmp_path / "nowhere")


# --- changes ----------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "huggingface/k/"])
def test_a_swap_of_kubelet_is_taken_as_a_whole(tmp_path: Path, prefix: str) -> None:
    """Both ways to mount: one volume for all with paths, and a Secret at each key's folder."""
    folder = tmp_path / "mount"
    inside = "" if prefix else "huggingface/k/"
    volume = MountedVolume(folder / prefix, {f"{inside}token": "one", f"{inside}databases": "d"})
    store = open_store(tmp_path, folder)
    assert store.secret(*HF, "d").reveal() == "one"

    volume.swap({f"{inside}token": "two", f"{inside}databases": "d\ne"})
    settle(store)

    assert store.secret(*HF, "e").reveal() == "two"


def test_a_change_is_taken_once_it_has_settled(tmp_path: Path, root: Path) -> None:
    store = open_store(tmp_path, root)
    write(root, "huggingface/k", token="")
    store.reload_directory()
    assert store.secret(*HF, "d").reveal() == SECRET
    write(root, "huggingface/k", token="another-secret")
    settle(store)

    assert store.secret(*HF, "d").reveal() == "another-secret"


def test_an_entry_goes_comes_and_is_mended(tmp_path: Path, root: Path, logged: list[Any]) -> None:
    store = open_store(tmp_path, root)
    (root / "huggingface" / "k").rename(root / "huggingface" / "l")
    settle(store)
    assert [item.name for item in store.list()] == ["l"]

    (root / "huggingface" / "l" / "databases").write_text("")
    settle(store)
    assert store.list() == []
    assert "names no database" in problems(logged)["huggingface/l"]

    (root / "huggingface" / "l" / "databases").write_text("e")
    settle(store)
    assert [item.databases for item in store.list()] == [("e",)]


def test_a_directory_that_goes_away_leaves_what_was_read(tmp_path: Path, root: Path, logged: list[Any]) -> None:
    store = open_store(tmp_path, root)
    root.rename(tmp_path / "away")
    for _ in range(3):
        store.reload_directory()

    assert store.secret(*HF, "d").reveal() == SECRET
    assert len([item for item in logged if "cannot be read" in item["event"]]) == 1

    (tmp_path / "away").rename(root)
    write(root, "huggingface/k", token="after")
    settle(store)
    assert store.secret(*HF, "d").reveal() == "after"


def test_the_audit_log_has_what_changed_without_the_secret(tmp_path: Path, root: Path) -> None:
    store = open_store(tmp_path, root)
    write(root, "huggingface/k", token="another-secret")
    settle(store)
    os.utime(root / "huggingface" / "k" / "token", (1, 1))
    settle(store)
    write(root, "huggingface/k", databases="e")
    settle(store)
    (root / "huggingface").rename(tmp_path / "gone")
    settle(store)

    text = (tmp_path / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["what"], line["databases_before"], line["databases_after"]) for line in lines] == [
        ("directory added", [], ["d"]),
        ("directory changed", ["d"], ["d"]),
        ("directory changed", ["d"], ["e"]),
        ("directory removed", ["e"], []),
    ]
    assert {line["who"] for line in lines} == {"directory"}
    assert "secret" not in text


# --- beside stored ones -----------------------------------------------------


def test_what_comes_from_the_directory_cannot_be_changed_here(tmp_path: Path, root: Path) -> None:
    write(root, "huggingface/bad", token=SECRET)
    store = open_store(tmp_path, root)
    new = {"providerKey": Secret("new")}
    changes = [
        lambda: store.create("huggingface", "k", new, ["d"]),
        lambda: store.create("huggingface", "bad", new, ["d"]),
        lambda: store.add_databases("huggingface", "k", ["e"]),
        lambda: store.remove_databases("huggingface", "k", ["d"]),
        lambda: store.stage("huggingface", "k", new),
        lambda: store.activate("huggingface", "k", 1),
        lambda: store.drop("huggingface", "k", 1),
        lambda: store.delete("huggingface", "k"),
    ]
    for change in changes:
        with pytest.raises(DataApiError, match=str(root)) as caught:
            change()
        assert caught.value.code == "CREDENTIAL_READ_ONLY"


def test_a_stored_key_goes_first_until_it_is_removed(tmp_path: Path, root: Path, logged: list[Any]) -> None:
    before = CredentialStore(tmp_path / "credentials.db", KEY)
    before.create("huggingface", "k", {"providerKey": Secret("stored")}, ["d"])
    before.close()

    store = open_store(tmp_path, root)
    assert store.secret(*HF, "d").reveal() == "stored"
    assert [item.stored for item in store.list()] == [True]
    (said,) = [item for item in logged if "a stored key has its name" in item["event"]]
    assert "orrery keys remove huggingface k" in said["remedy"]

    store.delete("huggingface", "k")
    assert store.secret(*HF, "d").reveal() == SECRET


def test_the_time_of_use_outlives_a_restart(tmp_path: Path, root: Path) -> None:
    store = open_store(tmp_path, root)
    store.secret(*HF, "d")
    used = [item.last_used for item in store.list()]
    store.close()

    assert [item.last_used for item in open_store(tmp_path, root).list()] == used != [None]
