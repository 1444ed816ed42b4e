"""Which database a request's host name chooses.

`<database>-<region>.<domain>` as the product's endpoints are, and `<database>.localhost`; `<database>` is a name or an
id. Every host name below the domain or below `localhost` has to name a database; any other host (an IP address,
`localhost` itself, the name of a service) means the default one.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

#: What a Host header may be: a name or an IPv6 address, and a port.
_HOST = re.compile(rb"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LOCALHOST = "localhost"
#: Hosts whose meaning is remembered, and how long they may be: nobody is to fill the memory with hosts.
_REMEMBERED, _REMEMBERED_BYTES = 1024, 300


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
        if len(hosts) > 1:
            raise InvalidHostError
        if not hosts:
            return None
        read = _remembered if len(hosts[0]) <= _REMEMBERED_BYTES else _database_of
        return read(hosts[0], self.domain, self.region)

    def endpoint(self, database: str) -> str:
        """Return the host name of a database."""
        return f"{database}.{_LOCALHOST}" if self.domain is None else f"{database}-{self.region}.{self.domain}"


def _database_of(given: bytes, domain: str | None, region: str) -> str | None:
    if not _HOST.fullmatch(given):
        raise InvalidHostError
    if given.startswith(b"["):
        return None
    host = given.decode("ascii").partition(":")[0].lower().removesuffix(".")
    if host.endswith(f".{_LOCALHOST}"):
        return host.removesuffix(f".{_LOCALHOST}")
    if domain is None or not host.endswith(f".{domain}"):
        return None
    label = host.removesuffix(f".{domain}")
    return label.removesuffix(f"-{region}") if label.endswith(f"-{region}") else host


_remembered = lru_cache(_REMEMBERED)(_database_of)


def host_settings(domain: str | None, region: str) -> Hosts:
    """Return how host names are read. Raises `ValueError` for a domain or region that cannot be part of one."""
    lowered = domain.lower().strip(".") if domain else None
    label = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
    if lowered is not None and not all(label.fullmatch(part) for part in lowered.split(".")):
        raise ValueError(f"ORRERY_DOMAIN is {domain!r}, which is no domain; write one such as example.org")
    if not label.fullmatch(region.lower()):
        raise ValueError(f"ORRERY_REGION is {region!r}; it may have letters, digits and '-', such as eu-west1")
    return Hosts(lowered, region.lower())
