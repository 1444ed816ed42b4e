"""Addresses: their form, and who can reach them."""

from pathlib import Path

import pytest

from services.runtime.addresses import is_loopback, socket_address, split_host_port
from services.runtime.servers import check_listen_address


@pytest.mark.parametrize(
    ("address", "parts"), [("127.0.0.1:8181", ("127.0.0.1", 8181)), ("[::1]:80", ("::1", 80)), ("h:0", ("h", 0))]
)
def test_host_and_port(address: str, parts: tuple[str, int]) -> None:
    assert split_host_port(address) == parts


@pytest.mark.parametrize("address", ["8181", ":8181", "host:", "host:x", "host:70000"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_host_port(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("10.0.0.1:1", False),
        ("example.org:1", False),
        ("[::]:1", False),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_rpc_servers_refuse_addresses_that_the_network_can_reach() -> None:
    with pytest.raises(ValueError, match="no authentication"):
        check_listen_address("0.0.0.0:8182")


def test_a_socket_lies_in_its_data_directory(tmp_path: Path) -> None:
    home = Path("/srv/orrery")

    assert socket_address(home, "store") == "unix:/srv/orrery/run/store.sock"


def test_a_long_data_directory_gets_a_short_socket_that_every_process_finds() -> None:
    home = Path("/srv/" + "long/" * 30)

    address = socket_address(home, "store")

    assert len(address) < 108
    assert address == socket_address(home, "store")
    assert address != socket_address(home / "other", "store")
