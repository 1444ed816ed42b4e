"""The HTTP port: what it serves with which certificates, and how it stops."""

import asyncio
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from services.gateway.exchange import Request, Response
from services.gateway.http.server import HttpServer
from services.gateway.settings import HttpSettings
from services.runtime.errors import ConfigurationError
from services.runtime.tls import CertificateFiles
from tests.certificates import Certificates
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


def test_stopping_does_not_wait_for_callers_that_keep_connections_for_later(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    folder = certificates.issue("localhost", client=False)
    trusting = ssl.create_default_context(cadata=certificates.authority.pem.decode())

    def ask(port: int) -> ssl.SSLSocket:
        caller = trusting.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost")
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert caller.recv(4096).startswith(b"HTTP/1.1 200 ")
        return caller

    async def run() -> None:
        port, stop = free_port(), asyncio.Event()
        files = CertificateFiles(None, folder / "tls.crt", folder / "tls.key")
        server = HttpServer(answer, f"127.0.0.1:{port}", HttpSettings(stop_seconds=20.0), files)
        serving = asyncio.create_task(server.serve(stop, 0))
        with await asyncio.to_thread(ask, port):
            stop.set()
            with capture_logs() as lines:
                await serving
        assert "requests ended unanswered" not in [line["event"] for line in lines]

    uvloop.run(run())


def test_a_large_answer_may_be_taken_slowly_over_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    folder = certificates.issue("localhost", client=False)
    trusting = ssl.create_default_context(cadata=certificates.authority.pem.decode())
    large = b"x" * (12 * 1024 * 1024)

    async def answer_much(_: Request) -> Response:
        return Response(200, large)

    def take(port: int) -> int:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        plain.connect(("127.0.0.1", port))
        with trusting.wrap_socket(plain, server_hostname="localhost") as caller:
            caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            taken = 0
            while part := caller.recv(16 * 1024):
                taken += len(part)
                time.sleep(0.003)
            return taken

    async def run() -> None:
        port, stop = free_port(), asyncio.Event()
        files = CertificateFiles(None, folder / "tls.crt", folder / "tls.key")
        server = HttpServer(answer_much, f"127.0.0.1:{port}", HttpSettings(idle_seconds=0.6), files)
        serving = asyncio.create_task(server.serve(stop, 0))
        assert await asyncio.to_thread(take, port) > len(large)
        stop.set()
        await serving

    uvloop.run(run())
