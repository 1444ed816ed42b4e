"""The list of callers: its form, and what it allows."""

import pytest

from services.runtime.callers import Callers, identities_of
from services.runtime.errors import ConfigurationError

FIND = "/orrery.store.v1.StoreService/FindDocuments"
INSERT = "/orrery.store.v1.StoreService/InsertDocuments"
BACKUP = "/orrery.store.v1.OperationsService/BackupDatabase"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("*", {FIND, INSERT, BACKUP, REFLECTION}),
        ("StoreService", {FIND, INSERT}),
        ("orrery.store.v1.StoreService", {FIND, INSERT}),
        ("StoreService/FindDocuments", {FIND}),
        ("orrery.store.v1.StoreService/FindDocuments", {FIND}),
        ("StoreService/FindDocuments|OperationsService", {FIND, BACKUP}),
        ("ServerReflection", {REFLECTION}),
        ("StoreServic", set()),
        ("FindDocuments", set()),
    ],
)
def test_rules_name_services_and_methods(rules: str, allowed: set[str]) -> None:
    callers = Callers.parse(f"orrery-gateway={rules}")

    assert {each for each in (FIND, INSERT, BACKUP, REFLECTION) if callers.allow(["orrery-gateway"], each)} == allowed


def test_each_caller_has_rules_of_its_own() -> None:
    callers = Callers.parse("spiffe://example.org/gateway=*, loader=StoreService/InsertDocuments ,")

    assert callers.allow(["spiffe://example.org/gateway"], BACKUP)
    assert callers.allow(["loader"], INSERT)
    assert not callers.allow(["loader"], FIND)
    assert not callers.allow(["stranger"], FIND)
    assert not callers.allow([], FIND)


def test_health_is_open_to_every_certificate() -> None:
    assert Callers.parse("orrery-gateway=*").allow(["stranger"], "/grpc.health.v1.Health/Check")


@pytest.mark.parametrize("text", ["", " , ", "orrery-gateway", "=*", "a=", "a=b c", "a=*|", "a=Service/", "a=**"])
def test_what_is_no_list_of_callers_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(ConfigurationError, match="ORRERY_RPC_CALLERS"):
        Callers.parse(text)


def test_a_caller_is_named_once() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        Callers.parse("a=StoreService,a=*")


def test_a_spiffe_id_comes_before_dns_names() -> None:
    both = {"peer_spiffe_id": [b"spiffe://example.org/gateway"], "peer_dns": [b"gateway", b"localhost"]}

    assert identities_of(both) == ("spiffe://example.org/gateway",)
    assert identities_of({"peer_dns": [b"gateway", b"localhost"]}) == ("gateway", "localhost")
    assert identities_of({"x509_common_name": [b"gateway"]}) == ()
