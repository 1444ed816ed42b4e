"""The RPCs of credentials: what goes in and what comes out of messages."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from orrery.embedder.v1 import embedder_pb2 as pb

from services.embedder.catalogue import load_catalogue
from services.embedder.credential_directory import CredentialDirectory
from services.embedder.credential_service import CredentialServicer
from services.embedder.credentials import CredentialStore
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError
from tests.mounted import MountedVolume

SECRET = "sk-very-secret"
PAIR = {"accessId": "AKIA-1", "secretKey": SECRET}


class Caller:
    """Calls RPCs of a servicer."""

    def __init__(self, servicer: CredentialServicer) -> None:
        self._servicer = servicer

    def __getattr__(self, method: str) -> Any:
        def call(**members: Any) -> Any:
            request = getattr(pb, f"{method}Request")(**members)
            return asyncio.run(getattr(self._servicer, method)(request, None))

        return call


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CredentialStore]:
    """A store with a key of a directory."""
    MountedVolume(tmp_path / "mount", {"jinaAI/m/token": SECRET, "jinaAI/m/databases": "d"})
    directory = CredentialDirectory(tmp_path / "mount", load_catalogue())
    key = Secret(base64.b64encode(b"k" * 32).decode())
    credentials = CredentialStore(tmp_path / "credentials.db", key, directory)
    yield credentials
    credentials.close()


@pytest.fixture
def rpc(store: CredentialStore) -> Caller:
    """The RPCs."""
    return Caller(CredentialServicer(load_catalogue(), store, lambda _: "test"))


def test_a_credential_is_shown_with_versions_source_and_times(rpc: Caller, store: CredentialStore) -> None:
    rpc.CreateCredential(provider="bedrock", name="aws", secrets=PAIR, databases=["d"])
    rpc.StageSecret(provider="bedrock", name="aws", secrets={**PAIR, "accessId": "AKIA-2"})
    store.secrets("bedrock", {"accessId": "aws", "secretKey": "aws"}, "d")

    stored, mounted = rpc.ListCredentials().credentials
    assert stored.source == pb.CREDENTIAL_SOURCE_STORED
    assert [(version.number, version.active) for version in stored.versions] == [(1, True), (2, False)]
    assert all(version.create_time.seconds for version in stored.versions)
    assert stored.last_use_time.seconds >= stored.create_time.seconds > 0
    assert mounted.source == pb.CREDENTIAL_SOURCE_DIRECTORY
    assert list(mounted.versions) == []
    assert not mounted.HasField("last_use_time")
    assert SECRET not in f"{stored} {mounted}"


def test_every_change_is_audited_with_who_asked_for_it(rpc: Caller, tmp_path: Path) -> None:
    place = {"provider": "bedrock", "name": "aws"}
    rpc.CreateCredential(**place, secrets=PAIR, databases=["d"])
    rpc.AddDatabases(**place, databases=["e"])
    rpc.RemoveDatabases(**place, databases=["d"])
    rpc.ForgetDatabase(database="e", database_id="1")
    rpc.StageSecret(**place, secrets=PAIR)
    rpc.ActivateSecret(**place, version=2)
    rpc.DropSecret(**place, version=1)
    rpc.DeleteCredential(**place)

    entries = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(entry["what"], entry["who"]) for entry in entries if entry["name"] == "aws"] == [
        ("created", "test"),
        ("scope widened", "test"),
        ("scope narrowed", "test"),
        ("scope narrowed", "test"),
        ("secret staged", "test"),
        ("secret activated", "test"),
        ("secret dropped", "test"),
        ("deleted", "test"),
    ]


def test_versions_are_switched_and_dropped(rpc: Caller) -> None:
    place = {"provider": "bedrock", "name": "aws"}
    rpc.CreateCredential(**place, secrets=PAIR, databases=["d"])

    def versions(credential: pb.Credential) -> list[tuple[int, bool]]:
        return [(version.number, version.active) for version in credential.versions]

    rotated = rpc.StageSecret(**place, secrets=PAIR, activate=True).credential
    assert versions(rotated) == [(1, False), (2, True)]
    assert versions(rpc.ActivateSecret(**place, version=1).credential) == [(1, True), (2, False)]
    assert versions(rpc.DropSecret(**place, version=2).credential) == [(1, True)]


@pytest.mark.parametrize(
    ("provider", "secrets", "says"),
    [
        ("bedrock", {"accessId": "AKIA-1"}, "accessId and secretKey, and no other"),
        ("jinaAI", {**PAIR}, "the provider takes the secrets providerKey, and no other"),
        ("nobody", {"providerKey": SECRET}, "no such provider"),
        ("local", {"providerKey": SECRET}, "takes no stored keys"),
    ],
)
@pytest.mark.parametrize("method", ["CreateCredential", "StageSecret"])
def test_secrets_that_are_not_the_providers_are_refused(
    rpc: Caller, method: str, provider: str, secrets: dict[str, str], says: str
) -> None:
    with pytest.raises(DataApiError, match=says) as caught:
        getattr(rpc, method)(provider=provider, name="k", secrets=secrets)

    assert caught.value.code == "CREDENTIAL_INVALID"
    assert SECRET not in str(caught.value)


def test_a_database_that_was_dropped_is_in_no_scope_any_more(rpc: Caller) -> None:
    rpc.CreateCredential(provider="jinaAI", name="both", secrets={"providerKey": SECRET}, databases=["d", "e"])
    rpc.CreateCredential(provider="jinaAI", name="other", secrets={"providerKey": SECRET}, databases=["e"])

    answer = rpc.ForgetDatabase(database="d", database_id="1")

    assert [(credential.name, list(credential.databases)) for credential in answer.changed] == [("both", ["e"])]
    assert [credential.name for credential in answer.remaining] == ["m"]
    assert not rpc.ForgetDatabase(database="d", database_id="2").changed
    listed = rpc.ListCredentials(provider="jinaAI").credentials
    assert [list(credential.databases) for credential in listed] == [["e"], ["d"], ["e"]]


def test_a_drop_that_is_finished_twice_takes_nothing_from_a_later_database_of_the_name(rpc: Caller) -> None:
    rpc.ForgetDatabase(database="d", database_id="1")
    rpc.CreateCredential(provider="jinaAI", name="later", secrets={"providerKey": SECRET}, databases=["d"])

    assert not rpc.ForgetDatabase(database="d", database_id="1").changed
    assert [item.name for item in rpc.ForgetDatabase(database="d", database_id="2").changed] == ["later"]
