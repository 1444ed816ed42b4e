"""TLS on the HTTP port: what it speaks, and certificates that change while requests run."""

import asyncio
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.http2_caller import calling
from tests.live import free_port
from tests.services import Gateway, Service

BODY = '{"findKeyspaces":{}}'


@dataclass(frozen=True)
class Https:
    certificates: Certificates
    gateway: Gateway

    @property
    def folder(self) -> Path:
        return self.certificates.folder / "api.example.org"

    def trusting(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.certificates.authority.pem.decode())
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def shown(self) -> bytes:
        """Return the certificate that the gateway shows now."""
        with (
            socket.create_connection(("127.0.0.1", self.gateway.port), timeout=10) as plain,
            self.trusting().wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    def wait_for_another_than(self, shown: bytes) -> None:
        deadline = time.monotonic() + 20
        while self.shown() == shown:
            assert time.monotonic() < deadline, "the certificate stayed the same"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Https]:
    folder = tmp_path_factory.mktemp("https")
    certificates = Certificates(folder / "certificates")
    store = f"unix:{folder}/run/s"
    limits = {"ORRERY_GATEWAY_HTTP_IDLE_SECONDS": "2"}
    with (
        Service("store", folder, "--data-dir", str(folder / "store"), "--listen", store),
        Gateway(
            folder,
            store=store,
            embedder=f"localhost:{free_port()}",
            environment={**certificates.http("api.example.org"), **limits},
        ) as gateway,
    ):
        yield Https(certificates, gateway)


def test_the_data_api_is_served(https: Https) -> None:
    assert https.gateway.post("/v1", BODY, https.trusting()) == (200, '{"status":{"keyspaces":["default_keyspace"]}}')


def test_all_services_together_serve_it_too(tmp_path: Path) -> None:
    certificates, address = Certificates(tmp_path / "certificates"), f"127.0.0.1:{free_port()}"
    arguments = ("--data-dir", str(tmp_path / "data"), "--http", address)
    with Service("up", tmp_path, *arguments, environment=certificates.http("api.example.org")) as everything:
        everything.logged(f"orrery: ready https://{address}")


@pytest.mark.parametrize(("offered", "taken"), [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1")])
def test_the_caller_chooses_the_protocol(https: Https, offered: tuple[str, ...], taken: str) -> None:
    with (
        socket.create_connection(("127.0.0.1", https.gateway.port), timeout=10) as plain,
        https.trusting(*offered).wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.selected_alpn_protocol() == taken


def test_a_request_over_http_2_is_answered(https: Https) -> None:
    async def call() -> bytes:
        async with calling(https.gateway.port, https.trusting("h2")) as caller:
            head = (("token", https.gateway.token), ("content-type", "application/json"))
            return (await caller.answer(caller.request(BODY.encode(), *head))).body

    assert asyncio.run(call()) == b'{"status":{"keyspaces":["default_keyspace"]}}'


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(https: Https) -> None:
    context = https.trusting()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError):
        https.gateway.post("/v1", BODY, context)


def test_a_token_sent_in_clear_is_not_answered(https: Https) -> None:
    with pytest.raises((OSError, http.client.BadStatusLine)):
        https.gateway.post("/v1", BODY)


@pytest.mark.parametrize("handshake", [False, True], ids=["no handshake", "a handshake and no more"])
def test_a_connection_that_nobody_uses_is_closed(https: Https, handshake: bool) -> None:
    with socket.create_connection(("127.0.0.1", https.gateway.port), timeout=15) as plain:
        if not handshake:
            assert plain.recv(1) == b""
            return
        with https.trusting("h2").wrap_socket(plain, server_hostname="localhost") as secured:
            while secured.recv(1000):
                pass


def test_a_certificate_changes_and_no_request_fails(https: Https) -> None:
    """Callers with connections of their own, and callers that open one for each request."""
    ended = threading.Event()

    def call(keep: bool) -> int:
        answers = 0
        while not ended.is_set():
            with closing(https.gateway.connect(https.trusting())) as connection:
                while not ended.is_set():
                    connection.request(
                        "POST", "/v1", BODY, {"Token": https.gateway.token, "Content-Type": "application/json"}
                    )
                    answer = connection.getresponse()
                    assert answer.status == 200
                    answer.read()
                    answers += 1
                    if not keep or answer.getheader("Connection") == "close":
                        break
        return answers

    shown = https.shown()
    with ThreadPoolExecutor(4) as threads:
        work = [threads.submit(call, keep) for keep in (True, True, False, False)]
        try:
            https.certificates.issue("api.example.org")
            https.wait_for_another_than(shown)
            time.sleep(6)  # until the server with the certificate before has stopped
        finally:
            ended.set()
        assert all(each.result() > 0 for each in work)


def test_half_a_certificate_leaves_the_one_before(https: Https) -> None:
    shown, chain = https.shown(), https.folder / "tls.crt"
    chain.write_bytes(chain.read_bytes()[:200])

    https.gateway.logged("certificate not taken")

    assert https.shown() == shown
    https.certificates.issue("api.example.org")
    https.wait_for_another_than(shown)
