"""Certificates from files: what is taken, what is not, and what stays in use meanwhile."""

import re
from pathlib import Path

import pytest

from services.runtime import tls
from services.runtime.errors import ConfigurationError
from services.runtime.tls import CertificateFiles
from tests.certificates import Certificates, rpc_variables


@pytest.fixture(autouse=True)
def looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_LOOK_SECONDS", 0)


@pytest.fixture
def authority(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def files_in(folder: Path) -> CertificateFiles:
    return CertificateFiles(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")


def test_without_variables_there_is_no_tls() -> None:
    assert CertificateFiles.of_rpcs({}) is None
    assert CertificateFiles.of_http({"ORRERY_RPC_TLS_CA": "elsewhere"}) is None


def test_variables_that_are_missing_are_named(authority: Certificates) -> None:
    variables = rpc_variables(authority.issue("store"))
    del variables["ORRERY_RPC_TLS_KEY"]

    with pytest.raises(ConfigurationError, match="ORRERY_RPC_TLS_KEY must be set too"):
        CertificateFiles.of_rpcs(variables)


def test_a_file_that_is_not_there_is_named(authority: Certificates) -> None:
    variables = {**rpc_variables(authority.issue("store")), "ORRERY_RPC_TLS_CA": "/nowhere/ca.crt"}

    with pytest.raises(ConfigurationError, match=re.escape("/nowhere/ca.crt")):
        CertificateFiles.of_rpcs(variables)


def test_a_certificate_that_has_ended_is_refused(authority: Certificates) -> None:
    with pytest.raises(ConfigurationError, match="ended at"):
        files_in(authority.issue("store", days=0))


def test_the_same_object_is_returned_until_the_files_change(authority: Certificates) -> None:
    files = files_in(authority.issue("store"))
    first = files.current()
    assert files.current() is first

    folder = authority.issue("store")

    assert files.current() is not first
    assert files.current().chain == (folder / "tls.crt").read_bytes()


def test_a_directory_that_kubernetes_swaps_is_followed(authority: Certificates, tmp_path: Path) -> None:
    old, new = authority.issue("first"), authority.issue("second")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..data").symlink_to(old)
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (mounted / name).symlink_to(Path("..data") / name)
    files = files_in(mounted)
    assert files.current().chain == (old / "tls.crt").read_bytes()

    (mounted / "..data_tmp").symlink_to(new)
    (mounted / "..data_tmp").replace(mounted / "..data")

    assert files.current().chain == (new / "tls.crt").read_bytes()


@pytest.mark.parametrize("spoil", ["half a key", "another's key", "nothing", "no certificate"])
def test_files_that_cannot_be_used_leave_what_was_there_and_are_logged_once(
    authority: Certificates, capsys: pytest.CaptureFixture[str], spoil: str
) -> None:
    folder, other = authority.issue("store"), authority.issue("other")
    files = files_in(folder)
    first = files.current()
    good = (folder / "tls.crt").read_bytes(), (folder / "tls.key").read_bytes()

    match spoil:
        case "half a key":
            (folder / "tls.key").write_bytes(good[1][:100])
        case "another's key":
            (folder / "tls.key").write_bytes((other / "tls.key").read_bytes())
        case "nothing":
            (folder / "tls.crt").unlink()
        case "no certificate":
            (folder / "tls.crt").write_text("certificate")
    assert [files.current() is first for _ in range(3)] == [True] * 3
    printed = capsys.readouterr().out
    assert printed.count("certificate not taken") == 1
    assert "PRIVATE KEY" not in printed

    (folder / "tls.key").write_bytes((other / "tls.key").read_bytes())
    (folder / "tls.crt").write_bytes((other / "tls.crt").read_bytes())
    assert files.current().chain == (other / "tls.crt").read_bytes()


def test_a_key_is_not_shown(authority: Certificates) -> None:
    assert "PRIVATE KEY" not in repr(files_in(authority.issue("store")).current())
