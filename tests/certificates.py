"""Certificates for tests: an authority, what it issues, and the variables of services that use it.

authority = Certificates(tmp_path)
environment = authority.rpc("orrery-store", callers="orrery-gateway=*")
"""

from pathlib import Path

from services.cli.certificates import Authority

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Certificates:
    """An authority and what it issued, each in a folder `NAME` with `tls.crt`, `tls.key` and `ca.crt`."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self.folder = folder
        self.authority = authority or Authority.new()

    def issue(self, name: str, *hosts: str, identity: str | None = None, days: float = 1, client: bool = True) -> Path:
        """Issue a certificate for a DNS name, loopback and further hosts, and return its folder.

        Issued again, it replaces the one before. `identity` is a SPIFFE id; `days=0` has ended already.
        """
        folder = self.folder / name
        self.authority.issue(folder, (name, *LOOPBACK, *hosts), identity=identity, days=days, client=client)
        return folder

    def rpc(self, name: str, *hosts: str, callers: str | None = None) -> dict[str, str]:
        """Return the variables of a service or caller with a certificate for a name."""
        folder = self.issue(name, *hosts)
        return {**rpc_variables(folder), **({} if callers is None else {"ORRERY_RPC_CALLERS": callers})}

    def http(self, name: str, *hosts: str) -> dict[str, str]:
        """Return the variables of a gateway that serves HTTPS."""
        folder = self.issue(name, *hosts, client=False)
        return {"ORRERY_HTTP_TLS_CERT": str(folder / "tls.crt"), "ORRERY_HTTP_TLS_KEY": str(folder / "tls.key")}


def rpc_variables(folder: Path) -> dict[str, str]:
    """Return the variables that name the files of a folder."""
    return {
        "ORRERY_RPC_TLS_CA": str(folder / "ca.crt"),
        "ORRERY_RPC_TLS_CERT": str(folder / "tls.crt"),
        "ORRERY_RPC_TLS_KEY": str(folder / "tls.key"),
    }
