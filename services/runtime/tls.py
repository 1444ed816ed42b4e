"""Certificates of connections, from PEM files that may change while a service runs.

Kubernetes changes a mounted Secret by pointing a symbolic link elsewhere, people by copying one file after the other.
So files are told to have changed by what is in them, and are taken only when they fit together: until then, what was
read before stays in use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, cast

import grpc
import structlog

from services.runtime.errors import ConfigurationError

#: How often files are looked at, at most, in seconds.
_LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What one side of a connection shows and trusts, as PEM.

    `chain` is its own certificate, followed by those between it and its authority. `authority` has the certificates
    that the other side's is checked against; it is empty where the other side shows none.
    """

    authority: bytes
    chain: bytes
    key: bytes = field(repr=False)

    def expiry(self) -> datetime:
        """Return when the own certificate ends.

        Raises `ValueError` for what is no certificate, has ended, or does not fit the key.
        """
        # Imported here: services without certificates, as `orrery up` runs them, start sooner.
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

        certificate = x509.load_pem_x509_certificates(self.chain)[0]
        if self.authority:
            x509.load_pem_x509_certificates(self.authority)
        try:
            key = load_pem_private_key(self.key, password=None)
        except TypeError:
            raise ValueError("the key is protected by a password") from None
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
            raise ValueError("the key is not that of the certificate")
        expiry = certificate.not_valid_after_utc
        if expiry <= datetime.now(UTC):
            raise ValueError(f"the certificate ended at {expiry:%Y-%m-%d %H:%M} UTC")
        return expiry


class CertificateFiles:
    """Certificates in files, read anew when the files change. Safe to use from several threads.

    Raises `ConfigurationError` when made from files that cannot be used.
    """

    def __init__(self, authority: Path | None, chain: Path, key: Path) -> None:
        self.authority = authority
        self.chain = chain
        self.key = key
        self._looking = threading.Lock()
        self._look_again = 0.0
        self._refused: str | None = None
        try:
            self._current = self._read()
            self._current.expiry()
        except (OSError, ValueError) as problem:
            raise ConfigurationError(f"the certificate of {chain} and {key} cannot be used: {problem}") from None

    @classmethod
    def of_rpcs(cls, environment: Mapping[str, str]) -> Self | None:
        """Return the files that `ORRERY_RPC_TLS_CA`, `_CERT` and `_KEY` name, or None where they name none.

        Raises `ConfigurationError` when only some are given, or files cannot be used.
        """
        return cls._named(environment, "ORRERY_RPC_TLS_CERT", "ORRERY_RPC_TLS_KEY", "ORRERY_RPC_TLS_CA")

    @classmethod
    def of_http(cls, environment: Mapping[str, str]) -> Self | None:
        """Return the files that `ORRERY_HTTP_TLS_CERT` and `_KEY` name, or None where they name none.

        Raises `ConfigurationError` when only one is given, or files cannot be used.
        """
        return cls._named(environment, "ORRERY_HTTP_TLS_CERT", "ORRERY_HTTP_TLS_KEY")

    @classmethod
    def _named(cls, environment: Mapping[str, str], chain: str, key: str, authority: str | None = None) -> Self | None:
        variables = [name for name in (chain, key, authority) if name is not None]
        missing = [name for name in variables if not environment.get(name)]
        if len(missing) == len(variables):
            return None
        if missing:
            raise ConfigurationError(f"{' and '.join(missing)} must be set too: {', '.join(variables)} go together")
        paths = {name: Path(environment[name]) for name in variables}
        return cls(paths[authority] if authority else None, paths[chain], paths[key])

    def current(self) -> Certificates:
        """Return the certificates: the same object until others are to be used.

        Files that cannot be used are logged once, and what was read before stays.
        """
        with self._looking:
            if time.monotonic() >= self._look_again:
                self._look_again = time.monotonic() + _LOOK_SECONDS
                self._look()
            return self._current

    def _look(self) -> None:
        try:
            found = self._read()
            if found == self._current:
                self._refused = None
                return
            expiry = found.expiry()
        except (OSError, ValueError) as problem:
            if str(problem) != self._refused:
                self._refused = str(problem)
                log.error("certificate not taken", file=str(self.chain), problem=str(problem), kept="the one before")
            return
        self._current, self._refused = found, None
        log.info("certificate changed", file=str(self.chain), ends=expiry.isoformat())

    def _read(self) -> Certificates:
        authority = b"" if self.authority is None else self.authority.read_bytes()
        return Certificates(authority, self.chain.read_bytes(), self.key.read_bytes())


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Return credentials of an RPC server to which callers have to show a certificate.

    Connections made after the files changed use what they hold then.
    """
    served = files.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        latest = files.current()
        if latest is served:
            return None
        served = latest
        return _configuration(latest)

    # None says that nothing has changed; the type stubs do not know it.
    fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch)
    return grpc.dynamic_ssl_server_credentials(_configuration(served), fetcher, require_client_authentication=True)


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pairs = [(certificates.key, certificates.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, root_certificates=certificates.authority)


def channel_credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    """Return credentials of an RPC caller: the server's certificate has to be of the authority, and for its name."""
    return grpc.ssl_channel_credentials(certificates.authority, certificates.key, certificates.chain)
