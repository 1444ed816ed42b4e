"""What channels are allowed, and which calls they make again."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pool import Default
from grpc_health.v1 import health_pb2
from orrery.embedder.v1 import embedder_pb2
from orrery.store.v1 import access_pb2, operations_pb2, store_pb2

from services.runtime.channels import SAFE_METHODS, files_for
from services.runtime.errors import ConfigurationError
from services.runtime.tls import CertificateFiles
from tests.certificates import Certificates, rpc_variables

#: They are found by name once their modules are imported.
CONTRACTS = (health_pb2, embedder_pb2, store_pb2, operations_pb2, access_pb2)
WRITES = ("Create", "Drop", "Insert", "Update", "Replace", "Delete", "Truncate", "Add", "Remove", "Stage", "Activate")


@pytest.mark.parametrize("target", ["store:8182", "dns:///store:8182", "10.0.0.1:8182", "ipv4:10.0.0.1:8182"])
def test_what_is_on_the_network_is_not_called_without_tls(target: str) -> None:
    with pytest.raises(ConfigurationError, match="with TLS only"):
        files_for(target, None)


@pytest.mark.parametrize("target", ["unix:/run/s", "localhost:8182", "dns:///localhost:8182", "ipv4:127.0.0.1:8182"])
def test_sockets_and_loopback_are_called_without_tls(target: str) -> None:
    assert files_for(target, None) is None


def test_a_socket_needs_no_tls(tmp_path: Path) -> None:
    files = CertificateFiles.of_rpcs(rpc_variables(Certificates(tmp_path).issue("gateway")))

    assert files_for("unix:/run/s", files) is None
    assert files_for("127.0.0.1:1", files) is files


@pytest.mark.parametrize("service", SAFE_METHODS)
def test_calls_that_are_made_again_are_of_the_contracts_and_write_nothing(service: str) -> None:
    known = Default().FindServiceByName(service).methods_by_name

    assert set(SAFE_METHODS[service]) <= set(known)
    assert not [method for method in SAFE_METHODS[service] if method.startswith(WRITES)]
