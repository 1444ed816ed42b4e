"""Which database a request's host name chooses.

`<database>-<region>.<domain>` as the product's endpoints are, and `<database>.localhost`; `<database>` is a name or an
id. Every host name below the domain or below `localhost` has to name a database; any other host (an IP address,
`localhost` itself, the name of a service) means the default one.
"""

import re
from dataclasses import dataclass

#: What a Host header may be: a name or an IPv6 address, and a port.
_HOST = re.compile(rb"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LOCALHOST = "localhost"


class InvalidHostError(Exception):
    """A request has several hosts, or one that is none: answered 400, because two readers could read it apart."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """How host names are read. `domain` None knows only `localhost`."""

    domain: str | None = None
    region: str = "local"

    def database_of(self, hosts: list[bytes]) -> str | None:
        """Return the name or id of a database in a request's Host headers; None where they name none.

        A host that has to name one and cannot is returned whole: no database is called so. Raises `InvalidHostError`.
        """
        if len(hosts) > 1 or (hosts and not _HOST.fullmatch(hosts[0])):
            raise InvalidHostError
        if not hosts or hosts[0].startswith(b"["):
            return None
        host = hosts[0].decode("ascii").partition(":")[0].lower().removesuffix(".")
        if host.endswith(f".{_LOCALHOST}"):
            return host.removesuffix(f".{_LOCALHOST}")
        if self.domain is None or not host.endswith(f".{self.domain}"):
            return None
        label = host.removesuffix(f".{self.domain}")
        return label.removesuffix(f"-{self.region}") if label.endswith(f"-{self.region}") else host

    def endpoint(self, database: str) -> str:
        """Return the host name of a database."""
        return f"{database}.{_LOCALHOST}" if self.domain is None else f"{database}-{self.region}.{self.domain}"


def host_settings(domain: str | None, region: str) -> Hosts:
    """Return how host names are read. Raises `ValueError` for a domain or region that cannot be part of one."""
    lowered = domain.lower().strip(".") if domain else None
    label = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
    if lowered is not None and not all(label.fullmatch(part) for part in lowered.split(".")):
        raise ValueError(f"ORRERY_DOMAIN is {domain!r}, which is no domain; write one such as example.org")
    if not label.fullmatch(region.lower()):
        raise ValueError(f"ORRERY_REGION is {region!r}; it may have letters, digits and '-', such as eu-west1")
    return Hosts(lowered, region.lower())
