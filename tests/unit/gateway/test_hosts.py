"""Host names: which database each one chooses, and which are refused."""

import pytest

from services.gateway.hosts import Hosts, InvalidHostError, host_settings

HOSTS = Hosts("example.org", "eu-west1")


@pytest.mark.parametrize(
    ("host", "database"),
    [
        # The product's form, by name and by id.
        ("shop-eu-west1.example.org", "shop"),
        ("my-shop-eu-west1.example.org", "my-shop"),
        ("shop-eu-west1.example.org:8181", "shop"),
        ("SHOP-EU-West1.Example.ORG.:443", "shop"),
        ("5b1f6f62-93a4-4be8-8bd5-1d8ab3a1a0f1-eu-west1.example.org", "5b1f6f62-93a4-4be8-8bd5-1d8ab3a1a0f1"),
        # On a laptop.
        ("shop.localhost", "shop"),
        ("Shop.LocalHost.:8181", "shop"),
        # Nothing is named: the default database.
        ("", None),
        ("localhost:8181", None),
        ("127.0.0.1:8181", None),
        ("[::1]:8181", None),
        ("orrery-gateway", None),
        ("orrery_gateway.default.svc.cluster.local:80", None),
        ("example.org", None),
        ("notexample.org", None),
        ("shop-eu-west1.example.org.evil.net", None),
        # Below the domain or localhost, and no database's: returned whole, which no database is called.
        ("shop.example.org", "shop.example.org"),
        ("shop-us-east1.example.org", "shop-us-east1.example.org"),
        ("a.shop.localhost", "a.shop"),
        (".localhost", ""),
        ("-eu-west1.example.org", ""),
    ],
)
def test_a_host_chooses_a_database(host: str, database: str | None) -> None:
    assert HOSTS.database_of([host.encode()]) == database


def test_a_request_without_a_host_is_for_the_default_database() -> None:
    assert HOSTS.database_of([]) is None


@pytest.mark.parametrize(
    "hosts",
    [
        [b"a.localhost", b"b.localhost"],
        [b"a.localhost", b"a.localhost"],
        [b"a.localhost, b.localhost"],
        [b"a.localhost b.localhost"],
        [b"user@a.localhost"],
        [b"a.localhost/b"],
        [b"a.localhost:80:80"],
        [b"a.localhost:x"],
        [b"a.localhost\x00.example.org"],
        [b"\xc3\xa4.localhost"],
        [b"[::1"],
        [b"a%2elocalhost"],
    ],
)
def test_what_two_readers_could_read_apart_is_refused(hosts: list[bytes]) -> None:
    with pytest.raises(InvalidHostError):
        HOSTS.database_of(hosts)


def test_without_a_domain_only_localhost_names_databases() -> None:
    assert Hosts().database_of([b"shop-local.example.org"]) is None
    assert Hosts().database_of([b"shop.localhost"]) == "shop"


@pytest.mark.parametrize("hosts", [HOSTS, Hosts(), host_settings("Example.org.", "EU")])
def test_the_endpoint_of_a_database_chooses_it(hosts: Hosts) -> None:
    assert hosts.database_of([hosts.endpoint("shop").encode()]) == "shop"


@pytest.mark.parametrize(("domain", "region"), [("a..b", "r"), ("a_b.org", "r"), ("a.org:80", "r"), ("a.org", "r.s")])
def test_a_domain_or_region_that_is_part_of_no_host_name_is_refused(domain: str, region: str) -> None:
    with pytest.raises(ValueError, match="ORRERY_"):
        host_settings(domain, region)


def test_a_host_of_any_length_is_read_alike() -> None:
    for length in (200, 250, 300, 400, 60_000):
        name = "a" * length
        assert HOSTS.database_of([f"{name}.localhost".encode()]) == name
        with pytest.raises(InvalidHostError):
            HOSTS.database_of([f"{name}/".encode()])
