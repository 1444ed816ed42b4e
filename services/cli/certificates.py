"""`orrery certificates`: an authority and certificates for mutual TLS between services, on a laptop and in tests.

Where there is an authority already, such as cert-manager's, its certificates are better: this one's key lies in a file.
"""

import ipaddress
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AUTHORITY_DAYS = 3650
#: Clocks of other machines may be behind.
_EARLIER = timedelta(minutes=5)


def certificates(
    out: Annotated[Path, typer.Option(help="Folder to write to. An authority that is there is used again.")],
    name: Annotated[list[str], typer.Option(help="A service or caller: its DNS name. May be given again.")],
    host: Annotated[
        list[str] | None, typer.Option(help="A further host name or IP address of every service, besides loopback.")
    ] = None,
    spiffe: Annotated[
        str | None, typer.Option(help="A trust domain: callers are then known as spiffe://DOMAIN/NAME.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long the certificates are good for.")] = 90,
) -> None:
    """Make certificates: OUT/NAME/tls.crt, tls.key and ca.crt, the files of ORRERY_RPC_TLS_CERT, _KEY and _CA.

    Run it again to renew them: services take the new files without a restart.
    """
    authority = Authority.kept(out)
    for each in name:
        identity = None if spiffe is None else f"spiffe://{spiffe}/{each}"
        authority.issue(out / each, (each, *_LOOPBACK, *(host or ())), identity=identity, days=days)
        typer.echo(f"orrery: {out / each} is good for {days} days")


class Authority:
    """Who signs certificates: a certificate of its own and a key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def new(cls) -> "Authority":
        """Return an authority that nobody knows yet."""
        key = ec.generate_private_key(ec.SECP256R1())
        # With a name of its own: of two authorities of one name, TLS tries only one.
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Orrery authority {secrets.token_hex(4)}")])
        builder = _builder(subject, subject, key.public_key(), timedelta(days=_AUTHORITY_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(builder.sign(key, SHA256()), key)

    @classmethod
    def kept(cls, folder: Path) -> "Authority":
        """Return the authority of a folder (`ca.crt` and `ca.key`), made where there is none.

        Raises `ValueError` for files that hold none.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        certificate, key = folder / "ca.crt", folder / "ca.key"
        if key.exists():
            loaded = load_pem_private_key(key.read_bytes(), None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key} is no key of an authority that `orrery certificates` made")
            return cls(x509.load_pem_x509_certificate(certificate.read_bytes()), loaded)
        made = cls.new()
        _write(certificate, made.pem)
        _write(key, _key_pem(made._key))
        return made

    @property
    def pem(self) -> bytes:
        """The authority's certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        folder: Path,
        hosts: tuple[str, ...],
        *,
        identity: str | None = None,
        days: float = 90,
        client: bool = True,
    ) -> None:
        """Write `tls.crt`, `tls.key` and `ca.crt` to a folder: a certificate for hosts, and for a caller.

        `identity` is a SPIFFE id. A certificate without `client` is a server's only; one for no days has ended.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
        names = [_general_name(host) for host in hosts]
        if identity is not None:
            names.append(x509.UniformResourceIdentifier(identity))
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])]
        issuer = self.certificate.subject
        builder = _builder(subject, issuer, key.public_key(), timedelta(days=days))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        _write(folder / "tls.key", _key_pem(key))
        _write(folder / "tls.crt", builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        _write(folder / "ca.crt", self.pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    start = now - _EARLIER
    return x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), start, max(now + life, start + timedelta(seconds=1))
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its user may read, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    new.replace(path)
