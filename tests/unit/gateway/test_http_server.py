"""The HTTP port: what it serves with which certificates, and how it stops."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.gateway.exchange import Request, Response
from services.gateway.http.server import HttpServer
from services.gateway.settings import HttpSettings
from services.runtime.errors import ConfigurationError
from services.runtime.tls import CertificateFiles
from tests.live import free_port


async def answer(_: Request) -> Response:
    return Response(200, b"answered")


def weak_certificate(folder: Path) -> CertificateFiles:
    """A certificate that fits its key, whose key is too short for TLS."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(
        key, hashes.SHA256()
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "tls.crt").write_bytes(certificate.public_bytes(encoding))
    (folder / "tls.key").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return CertificateFiles(None, folder / "tls.crt", folder / "tls.key")


def test_a_port_whose_certificate_tls_does_not_take_is_not_served_in_clear_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not take the certificate"):
        HttpServer(answer, f"127.0.0.1:{free_port()}", HttpSettings(), weak_certificate(tmp_path))
