"""The databases and tokens of the store as a gateway knows them, and how it keeps up with them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import grpc
import structlog
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from orrery.store.v1 import access_pb2, access_pb2_grpc

from services.gateway.rates import Bucket
from services.gateway.remote import embedder_remote, store_remote
from services.gateway.settings import AccessSettings
from services.runtime.errors import ConfigurationError, DataApiError
from services.runtime.roles import Role

_ROLES = {access_pb2.ROLE_READ: Role.READ, access_pb2.ROLE_WRITE: Role.WRITE, access_pb2.ROLE_ADMIN: Role.ADMIN}
#: How long one question may take; the next one comes soon.
_ASK_SECONDS = 5.0
#: Questions a second, and at once, that requests with something unknown may cause besides the regular ones.
_EXTRA_PER_SECOND, _EXTRA_AT_ONCE = 5.0, 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token of the store. `databases` None opens every one; `expires` is in seconds since 1970."""

    id: str
    name: str
    role: Role
    databases: frozenset[str] | None
    rate: float | None
    expires: float | None
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccessTable:
    """Databases and tokens of one moment: names of databases by name and by id, ids by name, tokens by id."""

    version: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, KnownToken] = field(default_factory=dict)
    dropping: Mapping[str, str] = field(default_factory=dict)


def table_of(response: access_pb2.ListAccessResponse) -> AccessTable:
    """Return the table that the store answered."""
    ids = {database.name: database.id for database in response.databases if not database.dropping}
    return AccessTable(
        version=response.version,
        names={**{id_: name for name, id_ in ids.items()}, **{name: name for name in ids}},
        ids=ids,
        tokens={item.token.id: _known(item) for item in response.tokens},
        dropping={database.name: database.id for database in response.databases if database.dropping},
    )


def _known(item: access_pb2.TokenDigest) -> KnownToken:
    token = item.token
    return KnownToken(
        token.id,
        token.name,
        _ROLES[token.role],
        None if token.all_databases else frozenset(token.databases),
        token.requests_per_second if token.HasField("requests_per_second") else None,
        token.expire_time.ToSeconds() if token.HasField("expire_time") else None,
        item.digest,
    )


class AccessFollower:
    """Keeps a table as the store has it.

    `forget` is called with each database whose name no longer means what it did. Drops that were begun and not
    finished are finished, with the embedder, and the database `default` is made anew by `create_default` where it is
    missing.
    """

    def __init__(
        self,
        store: grpc.aio.Channel,
        embedder: grpc.aio.Channel,
        settings: AccessSettings,
        default: str,
        *,
        forget: Callable[[str], None],
        create_default: Callable[[], Awaitable[None]],
    ) -> None:
        self.table = AccessTable()
        self._store = access_pb2_grpc.AccessServiceStub(store)
        self._credentials = embedder_pb2_grpc.CredentialServiceStub(embedder)
        self._store_remote = store_remote(_ASK_SECONDS)
        self._embedder_remote = embedder_remote(_ASK_SECONDS)
        self._settings = settings
        self._default = default
        self._forget = forget
        self._create_default = create_default
        self._asking = asyncio.Lock()
        self._asked = self._answered = -float("inf")
        self._extra = Bucket(_EXTRA_PER_SECOND, _EXTRA_AT_ONCE, _EXTRA_AT_ONCE, time.monotonic())
        self._reported: set[str] = set()

    @property
    def stale_seconds(self) -> float:
        """How many seconds longer than allowed the store has not answered; 0 where it has."""
        unheard = time.monotonic() - self._answered
        return unheard if unheard > self._settings.stale_seconds else 0.0

    async def begin(self) -> None:
        """Have the table for the first time; a store that is still starting is waited for.

        Raises `ConfigurationError` where it does not answer within `access.start_seconds`.
        """
        seconds = self._settings.start_seconds
        last: DataApiError | None = None
        log.info("waiting for the store", seconds=seconds)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        await self.refresh()
                    except DataApiError as problem:
                        last = problem
                        self._report("store", "the store does not answer yet", problem)
                        await asyncio.sleep(self._settings.poll_seconds)
                    else:
                        self._reported.discard("store")
                        return
        except TimeoutError:
            said = f": {last.message}" if last else ""
            raise ConfigurationError(
                f"the store did not answer within {seconds:g} s of the gateway's start{said}. Start it, or see whether "
                "--store (ORRERY_STORE) is where it listens"
            ) from None

    async def refresh(self) -> None:
        """Have the table as it is now. Raises `DataApiError` where the store does not answer."""
        wanted = time.monotonic()
        async with self._asking:
            # Another caller may have asked while this one waited; what was asked before may not have the change.
            if self._asked > wanted:
                return
            self._asked = time.monotonic()
            request = access_pb2.ListAccessRequest(if_version=self.table.version)
            response = await self._store_remote.call(self._store.ListAccess, request)
            self._answered = time.monotonic()
            if response.version != self.table.version:
                self._replace(table_of(response))

    async def refresh_for_unknown(self) -> None:
        """Have the table as it is now, because a request names what is not in it; not more often than is bearable."""
        if self._extra.take(time.monotonic()):
            return
        try:
            await self.refresh()
        except DataApiError as problem:
            log.warning("databases and tokens could not be read", problem=problem.message)

    async def follow(self) -> None:
        """Ask the store again and again, until cancelled."""
        while True:
            # Gateways that were started together are not to ask together.
            await asyncio.sleep(self._settings.poll_seconds * random.uniform(0.8, 1.0))  # noqa: S311 - no secret
            try:
                await self.refresh()
                self._reported.discard("store")
                await self._finish_drops(self.table.dropping)
                if self._default not in self.table.ids and self._default not in self.table.dropping:
                    await self._create_default()
            except DataApiError as problem:
                self._report("store", "databases and tokens could not be read", problem)
            except Exception:
                # It must not end: tokens would be neither revoked nor, after a while, taken any more.
                log.exception("databases and tokens could not be followed")

    async def _finish_drops(self, dropping: Mapping[str, str]) -> None:
        """Take dropped databases out of the scopes of credentials, and give their names free."""
        for name, database_id in dropping.items():
            try:
                request = embedder_pb2.ForgetDatabaseRequest(database=name, database_id=database_id)
                forgotten = await self._embedder_remote.call(self._credentials.ForgetDatabase, request)
                finish = access_pb2.FinishDropRequest(id=database_id)
                await self._store_remote.call(self._store.FinishDrop, finish)
            except DataApiError as problem:
                self._report(database_id, f"the drop of database {name} could not be finished yet", problem)
                continue
            remaining = [f"{item.provider}/{item.name}" for item in forgotten.remaining]
            log.warning("database gone", database=name, database_id=database_id, keys_of_the_directory=remaining)
        self._reported &= {"store", *dropping.values()}

    def _report(self, key: str, what: str, problem: DataApiError) -> None:
        """Log a problem the first time."""
        if key not in self._reported:
            self._reported.add(key)
            log.warning(what, problem=problem.message)

    def _replace(self, table: AccessTable) -> None:
        before, self.table = self.table, table
        for name in _changed(before.ids, table.ids):
            self._forget(name)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[str]:
    return [name for name, database_id in before.items() if after.get(name) != database_id]
