"""Who asks, in which database, and whether that may be: the token, the host name, and the rates of both."""

import hashlib
import hmac
import math
import re
import time
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from services.gateway.access_table import AccessFollower, KnownToken
from services.gateway.audit import Audit
from services.gateway.hosts import Hosts
from services.gateway.rates import Buckets
from services.gateway.settings import RateSettings
from services.runtime.errors import DataApiError
from services.runtime.roles import Role

Headers = Sequence[tuple[bytes, bytes]]

_TOKEN_HEADERS = (b"token", b"x-cassandra-token")
_STORED_TOKEN = re.compile(rb"orrery:([0-9a-f]{12}):[A-Za-z0-9_-]{43}")
#: A token given at the start that is shorter may be one that can be guessed.
_GUESSABLE_CHARACTERS = 32
_ADDRESSES = 10_000
_TOKENS = 10_000
_UNKNOWN_DIGEST = bytes(32)
_IPV6_NETWORK_BITS = 64


class Caller(NamedTuple):
    """Who asks, and the database that is asked. `token_id` names the token in logs; it is no secret."""

    token_id: str
    token_name: str
    role: Role
    database: str
    address: str

    def check(self, role: Role, command: str) -> None:
        """Refuse a command that needs another role. Raises `UNAUTHORIZED_ACCESS`."""
        if not self.role.allows(role):
            raise DataApiError("UNAUTHORIZED_ACCESS", role=self.role, command=command, needed=role)


def operator_token(token_id: str) -> KnownToken:
    """Return what the token of the command line is, or being served without any: admin of everything."""
    return KnownToken(token_id, "", Role.ADMIN, None, None, None, b"")


_BOOTSTRAP, _ANYBODY = operator_token("bootstrap"), operator_token("anybody")


class Access:
    """Tells callers and databases, and refuses what may not be.

    `token` is the one given at the start; None asks for no token at all. `default` is the database of hosts that name
    none.
    """

    def __init__(
        self,
        token: str | None,
        default: str,
        hosts: Hosts,
        follower: AccessFollower,
        rates: RateSettings,
        audit: Audit,
    ) -> None:
        self.audit = audit
        self._digest = None if token is None else _digest(token.encode())
        self._guessable = token is not None and len(token) < _GUESSABLE_CHARACTERS
        self.default = default
        self._hosts = hosts
        self._follower = follower
        self._rates = rates
        self._requests = Buckets(_TOKENS)
        self._failures = Buckets(_ADDRESSES)

    async def admit(self, headers: Headers, address: str) -> Caller:
        """Return who asks in which database. `address` is the remote one.

        Raises `InvalidHostError`, `MISSING_AUTHENTICATION_TOKEN`, `UNAUTHENTICATED_REQUEST` (also for a database that
        the token does not open, there or not), `UNKNOWN_DATABASE` (for who may open all of them),
        `REQUEST_RATE_EXCEEDED`, and `UNAVAILABLE_DATABASE` where the store has not told of tokens for too long.
        """
        asked = self._hosts.database_of(_values(headers, b"host"))
        token = await self._token(headers, address)
        database = self.default if asked is None else await self._database(asked, token)
        if database is None and token.databases is None:
            raise DataApiError("UNKNOWN_DATABASE", database=asked)
        if database is None or not (token.databases is None or database in token.databases):
            # As if the token were unknown: whether there is such a database is none of its business.
            raise self._refusal(
                address, "wrong database", token=token.id, token_name=token.name, host=asked or self.default
            )
        self._count(token)
        return Caller(token.id, token.name, token.role, database, address)

    async def _token(self, headers: Headers, address: str) -> KnownToken:
        if self._digest is None:
            return _ANYBODY
        sent = _values(headers, _TOKEN_HEADERS[0]) or _values(headers, _TOKEN_HEADERS[1])
        if not sent:
            raise DataApiError("MISSING_AUTHENTICATION_TOKEN", authHeader="Token")
        # Of several, another reader might take another one.
        token = await self._find(sent[0], address) if len(sent) == 1 else None
        if token is None:
            raise self._refusal(address, "wrong token")
        return token

    async def _find(self, sent: bytes, address: str) -> KnownToken | None:
        """Return the token that a caller has sent, if it is one that is valid."""
        assert self._digest is not None
        digest = _digest(sent)
        # A short one is guessed no faster than wrong ones are taken; a long one cannot be locked out by guesses.
        locked = self._guessable and self._failures.exhausted(_network(address))
        if not locked and hmac.compare_digest(digest, self._digest):
            return _BOOTSTRAP
        form = _STORED_TOKEN.fullmatch(sent)
        if form is None:
            return None
        token_id = form[1].decode()
        if token_id not in self._follower.table.tokens:
            await self._follower.refresh_for_unknown()
        if stale := self._follower.stale_seconds:
            raise DataApiError(
                "UNAVAILABLE_DATABASE",
                problem=f"tokens cannot be checked, because the store has not answered for {stale:.0f} seconds",
                advice="Nothing was done; send the request again.",
            )
        token = self._follower.table.tokens.get(token_id)
        same = hmac.compare_digest(digest, _UNKNOWN_DIGEST if token is None else token.digest)
        if token is None or not same or (token.expires is not None and token.expires <= time.time()):
            return None
        return token

    async def _database(self, asked: str, token: KnownToken) -> str | None:
        """Return the name of a database by name or id, if it is known."""
        if asked == self.default:
            return asked
        # A database that is new is in the scope of no token that is known; to look for it would take a time that tells.
        if asked not in self._follower.table.names and token.databases is None:
            await self._follower.refresh_for_unknown()
        return self._follower.table.names.get(asked)

    def _refusal(self, address: str, reason: str, **details: str | None) -> DataApiError:
        """Return the error for a token that does not open what was asked, counted for its address."""
        rate, burst = self._rates.failures_per_second, self._rates.failures_burst
        wait = self._failures.take(_network(address), rate, burst)
        self.audit.denied(reason, address=address, **details)
        if wait:
            return _too_many("with a wrong token from this address", rate, wait)
        return DataApiError("UNAUTHENTICATED_REQUEST")

    def _count(self, token: KnownToken) -> None:
        """Count a request of a token. Raises `REQUEST_RATE_EXCEEDED`."""
        rate = token.rate or self._rates.requests_per_second
        if rate:
            wait = self._requests.take(token.id, rate, max(1.0, rate * self._rates.burst_seconds))
            if wait:
                raise _too_many("with this token", rate, wait)


def _too_many(source: str, rate: float, wait: float) -> DataApiError:
    return DataApiError("REQUEST_RATE_EXCEEDED", source=source, rate=f"{rate:g}", seconds=math.ceil(wait))


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _network(address: str) -> str:
    """Return what is counted for an address: of IPv6 the network, of which a caller may have every address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return parsed.exploded[: _IPV6_NETWORK_BITS // 4 + 3] if parsed.ipv4_mapped is None else str(parsed.ipv4_mapped)
