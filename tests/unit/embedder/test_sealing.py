"""The master key, and what is sealed with it."""

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from services.embedder.sealing import MasterKeyError, Sealer, load_master_key
from services.embedder.secret import Secret

KEY = Secret(base64.b64encode(b"k" * 32).decode())


def test_a_master_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = load_master_key(tmp_path, None)

    assert load_master_key(tmp_path, None).reveal() == first.reveal()
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


def test_a_master_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_master_key(tmp_path, None)
    (tmp_path / "master.key").chmod(0o644)

    with pytest.raises(MasterKeyError, match="chmod 600"):
        load_master_key(tmp_path, None)


@pytest.mark.parametrize("text", ["not base64!", "c2hvcnQ="])
def test_a_malformed_master_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(MasterKeyError, match="32 bytes") as caught:
        load_master_key(tmp_path, Secret(text))

    assert text not in str(caught.value)


def test_a_sealed_secret_opens_for_its_own_words_alone() -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(Secret("s"), "p", "k", "1", "providerKey")

    assert sealed != b"s"
    assert sealer.open(sealed, "p", "k", "1", "providerKey").reveal() == "s"
    with pytest.raises(InvalidTag):
        sealer.open(sealed, "p", "k", "2", "providerKey")


@pytest.mark.parametrize("probe", [b"", b"short", b"x" * 60])
def test_a_probe_of_another_key_or_none_does_not_fit(probe: bytes) -> None:
    sealer = Sealer(KEY)

    assert sealer.fits(sealer.probe())
    assert not sealer.fits(probe)
