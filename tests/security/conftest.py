"""Services with mutual TLS that the tests of a module share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.live import free_port
from tests.services import Gateway, Service, rpc_service

CALLERS = "orrery-gateway=*,loader=StoreService/InsertDocuments|StoreService/GetCollection,spiffe://example.org/ops=OperationsService"


@dataclass(frozen=True)
class Secured:
    """A store, an embedder and a gateway that call one another with certificates of one authority."""

    folder: Path
    certificates: Certificates
    store: Service
    embedder: Service
    gateway: Gateway
    health: str


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    certificates = Certificates(folder / "certificates")
    health = f"127.0.0.1:{free_port()}"
    of_store = {**certificates.rpc("orrery-store", callers=CALLERS), "ORRERY_HEALTH": health}
    of_embedder = certificates.rpc("orrery-embedder", callers=CALLERS)
    of_gateway = {**certificates.rpc("orrery-gateway"), **certificates.http("gateway.example.org")}
    with (
        rpc_service("store", folder, environment=of_store) as store,
        rpc_service("embedder", folder, environment=of_embedder) as embedder,
        Gateway(folder, store=f"dns:///{store.address}", embedder=embedder.address, environment=of_gateway) as gateway,
    ):
        yield Secured(folder, certificates, store, embedder, gateway, health)
