"""Who is let in where: a store's databases and tokens over RPCs, and a gateway's answers to headers."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent import futures
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from orrery.embedder.v1 import embedder_pb2_grpc
from orrery.store.v1 import access_pb2_grpc

from services.embedder.catalogue import load_catalogue
from services.embedder.credential_service import CredentialServicer
from services.embedder.credentials import CredentialStore
from services.embedder.secret import Secret
from services.gateway.access import Access, Caller
from services.gateway.access_table import AccessFollower
from services.gateway.audit import Audit
from services.gateway.hosts import Hosts
from services.gateway.settings import AccessSettings, RateSettings
from services.runtime.errors import ConfigurationError, DataApiError
from services.runtime.roles import Role
from services.runtime.rpc import AsyncErrorInterceptor, ErrorInterceptor
from services.store.access import Access as StoredAccess
from services.store.access_service import AccessServicer
from services.store.engine import Engine

BOOTSTRAP = "a-token-given-at-the-start-that-is-long-enough"


@dataclass
class Store:
    """A store's access, and where its RPCs are answered."""

    access: StoredAccess
    engine: Engine
    server: grpc.Server
    address: str

    def token(self, *databases: str, role: Role = Role.READ, **more: Any) -> str:
        """Make a token and return what is sent."""
        return self.access.create_token("t", role, databases, "test", **more)[1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the databases `default` and `shop`."""
    engine = Engine(tmp_path / "store")
    access = StoredAccess(engine)
    for name in ("default", "shop"):
        access.create_database(name, [], "test")
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[ErrorInterceptor()])
    access_pb2_grpc.add_AccessServiceServicer_to_server(AccessServicer(access), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield Store(access, engine, server, address)
    server.stop(None).wait()
    engine.close()


@dataclass
class Gateway:
    """A gateway's access to a store."""

    access: Access
    follower: AccessFollower
    forgotten: list[str]

    async def admit(self, token: str | None, host: str = "localhost", address: str = "10.0.0.1") -> Caller:
        """Return who is let in with a token, for a host, from an address."""
        headers = [(b"host", host.encode()), *([(b"token", token.encode())] if token is not None else [])]
        return await self.access.admit(headers, address)

    async def refused(self, *arguments: Any, **named: Any) -> str:
        """Return the code with which somebody is not let in."""
        with pytest.raises(DataApiError) as refused:
            await self.admit(*arguments, **named)
        return refused.value.code


@asynccontextmanager
async def gateway(
    store: Store,
    *,
    token: str | None = BOOTSTRAP,
    embedder: str = "127.0.0.1:1",
    settings: AccessSettings | None = None,
    rates: RateSettings | None = None,
) -> AsyncIterator[Gateway]:
    """Give a gateway's access that has asked the store once, and asks again only when something is not known."""
    forgotten: list[str] = []
    async with grpc.aio.insecure_channel(store.address) as channel, grpc.aio.insecure_channel(embedder) as other:

        async def create_default() -> None:
            store.access.create_database("default", [], "gateway")

        follower = AccessFollower(
            channel,
            other,
            settings or AccessSettings(),
            "default",
            forget=forgotten.append,
            create_default=create_default,
        )
        await follower.refresh()
        access = Access(token, "default", Hosts(), follower, rates or RateSettings(), Audit())
        yield Gateway(access, follower, forgotten)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run what a test awaits."""

    async def bounded() -> None:
        await asyncio.wait_for(test(), 60)

    asyncio.run(bounded())


# --- tokens ---


def test_each_token_opens_its_databases_with_its_role(store: Store) -> None:
    shop = store.token("shop", role=Role.WRITE)
    everything = store.token(role=Role.READ)

    async def test() -> None:
        async with gateway(store) as there:
            in_shop = await there.admit(shop, "shop.localhost")
            assert (in_shop.database, in_shop.role, in_shop.token_name) == ("shop", Role.WRITE, "t")
            assert (await there.admit(everything)).database == "default"
            assert (await there.admit(everything, "shop.localhost")).role is Role.READ
            operator = await there.admit(BOOTSTRAP, "shop.localhost")
            assert (operator.database, operator.role, operator.token_id) == ("shop", Role.ADMIN, "bootstrap")

    run(test)


def test_what_a_token_does_not_open_is_refused_alike_whether_it_is_there_or_not(store: Store) -> None:
    shop = store.token("shop")

    async def test() -> None:
        async with gateway(store) as there:
            for host in ("localhost", "default.localhost", "none.localhost", "a.b.localhost"):
                assert await there.refused(shop, host) == "UNAUTHENTICATED_REQUEST", host
                assert await there.refused("wrong", host) == "UNAUTHENTICATED_REQUEST", host
            assert await there.refused(BOOTSTRAP, "none.localhost") == "UNKNOWN_DATABASE"

    run(test)


@pytest.mark.parametrize("how", ["", "x", "orrery:000000000000:" + "A" * 43, "Cassandra:eA==:eA==", "AstraCS:x:y"])
def test_tokens_that_were_never_made_are_refused(store: Store, how: str) -> None:
    async def test() -> None:
        async with gateway(store) as there:
            assert await there.refused(how) == "UNAUTHENTICATED_REQUEST"
            assert await there.refused(None) == "MISSING_AUTHENTICATION_TOKEN"

    run(test)


def test_a_token_with_another_secret_is_refused(store: Store) -> None:
    secret = store.token()
    other = secret[:-1] + ("A" if secret[-1] != "A" else "B")

    async def test() -> None:
        async with gateway(store) as there:
            assert await there.refused(other) == "UNAUTHENTICATED_REQUEST"
            assert (await there.admit(secret)).database == "default"

    run(test)


def test_an_expired_token_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = store.token(lifetime_seconds=60)

    async def test() -> None:
        async with gateway(store) as there:
            await there.admit(secret)
            later = store.access.tokens()[0].created + 60
            monkeypatch.setattr("services.gateway.access.time.time", lambda: later)
            assert await there.refused(secret) == "UNAUTHENTICATED_REQUEST"

    run(test)


def test_the_token_of_the_start_may_have_the_form_of_a_user_and_a_password(store: Store) -> None:
    user, password = (base64.b64encode(text.encode()).decode() for text in ("cassandra", "pässword"))
    token = f"Cassandra:{user}:{password}"

    async def test() -> None:
        async with gateway(store, token=token) as there:
            assert (await there.admit(token)).role is Role.ADMIN
            assert await there.refused(f"Cassandra:{user}:{user}") == "UNAUTHENTICATED_REQUEST"

    run(test)


def test_of_several_tokens_in_one_request_none_is_taken(store: Store) -> None:
    async def test() -> None:
        async with gateway(store) as there:
            token = BOOTSTRAP.encode()
            with pytest.raises(DataApiError, match="not valid"):
                await there.access.admit([(b"token", token), (b"token", token)], "")
            await there.access.admit([(b"x-cassandra-token", token)], "")
            # The newer header counts where both are there.
            with pytest.raises(DataApiError, match="not valid"):
                await there.access.admit([(b"x-cassandra-token", token), (b"token", b"wrong")], "")

    run(test)


# --- keeping up with the store ---


def test_what_is_new_is_found_at_once(store: Store) -> None:
    async def test() -> None:
        async with gateway(store) as there:
            store.access.create_database("new", [], "test")
            assert (await there.admit(BOOTSTRAP, "new.localhost")).database == "new"
            by_id = store.access.create_database("newer", [], "test").id
            assert (await there.admit(BOOTSTRAP, f"{by_id}.localhost")).database == "newer"
            assert (await there.admit(store.token("newer"), "newer.localhost")).database == "newer"

    run(test)


def test_what_is_not_there_does_not_make_the_gateway_ask_without_end(store: Store) -> None:
    async def test() -> None:
        async with gateway(store, rates=RateSettings(failures_burst=1e6)) as there:
            asked = 0
            ask = store.access.listing

            def counting(version: str) -> Any:
                nonlocal asked
                asked += 1
                return ask(version)

            store.access.listing = counting  # type: ignore[method-assign]
            for number in range(300):
                await there.refused(f"orrery:{number:012x}:{'A' * 43}")
                await there.refused(BOOTSTRAP, f"none{number}.localhost")
            assert 1 <= asked < 100

    run(test)


def test_a_revoked_token_and_a_dropped_database_are_gone_after_the_next_question(store: Store) -> None:
    secret = store.token("shop")

    async def test() -> None:
        async with gateway(store) as there:
            caller = await there.admit(secret, "shop.localhost")
            store.access.revoke_token(caller.token_id, "test")
            await there.follower.refresh()
            assert await there.refused(secret, "shop.localhost") == "UNAUTHENTICATED_REQUEST"
            store.access.drop_database("shop", "", "test")
            await there.follower.refresh()
            assert await there.refused(BOOTSTRAP, "shop.localhost") == "UNKNOWN_DATABASE"
            assert there.forgotten == ["shop"]

    run(test)


def test_a_database_of_the_same_name_is_another_one(store: Store) -> None:
    secret = store.token("shop", "default")

    async def test() -> None:
        async with gateway(store) as there:
            await there.admit(secret, "shop.localhost")
            store.access.finish_drop(store.access.drop_database("shop", "", "test")[0].id)
            store.access.create_database("shop", [], "test")
            await there.follower.refresh()
            assert there.forgotten == ["shop"]
            assert await there.refused(secret, "shop.localhost") == "UNAUTHENTICATED_REQUEST"
            assert (await there.admit(secret)).database == "default"

    run(test)


def test_tokens_are_taken_for_a_while_without_the_store_and_then_no_more(store: Store) -> None:
    secret = store.token()

    async def test() -> None:
        async with gateway(store, settings=AccessSettings(stale_seconds=1.0)) as there:
            store.server.stop(None).wait()
            assert (await there.admit(secret)).database == "default"
            await asyncio.sleep(1.1)
            assert await there.refused(secret) == "UNAVAILABLE_DATABASE"
            assert (await there.admit(BOOTSTRAP)).database == "default"

    run(test)


def test_a_drop_that_nobody_finished_is_finished_with_the_embedder(store: Store, tmp_path: Path) -> None:
    credentials = CredentialStore(tmp_path / "credentials.db", Secret(base64.b64encode(b"k" * 32).decode()))
    credentials.create("jinaAI", "key", {"providerKey": Secret("s")}, ["shop", "default", "other"])

    async def test() -> None:
        server = grpc.aio.server(interceptors=[AsyncErrorInterceptor()])
        servicer = CredentialServicer(load_catalogue(), credentials)
        embedder_pb2_grpc.add_CredentialServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        dropped = {store.access.drop_database(name, "", "test")[0].id for name in ("shop", "default")}
        async with gateway(store, embedder=f"127.0.0.1:{port}", settings=AccessSettings(poll_seconds=0.05)) as there:
            following = asyncio.create_task(there.follower.follow())
            for _ in range(500):
                databases = store.access.databases()
                # The default one is always there.
                if [item.name for item in databases] == ["default"] and dropped.isdisjoint(
                    item.id for item in databases
                ):
                    break
                await asyncio.sleep(0.02)
            following.cancel()
        await server.stop(None)

    run(test)
    assert [credential.databases for credential in credentials.list()] == [("other",)]
    assert [database.name for database in store.access.databases()] == ["default"]
    credentials.close()


# --- rates ---


def test_a_token_is_taken_as_often_as_its_own_rate_says(store: Store) -> None:
    slow, other = store.token(rate=0.5), store.token()

    async def test() -> None:
        async with gateway(store, rates=RateSettings(requests_per_second=1000.0)) as there:
            await there.admit(slow)
            with pytest.raises(DataApiError) as refused:
                await there.admit(slow)
            assert refused.value.code == "REQUEST_RATE_EXCEEDED"
            assert 1 <= int(refused.value.details["seconds"]) <= 2
            for _ in range(20):
                await there.admit(other)

    run(test)


def test_wrong_tokens_of_one_address_are_slowed_down_and_right_ones_are_not(store: Store) -> None:
    secret = store.token()
    rates = RateSettings(failures_per_second=0.01, failures_burst=3.0)

    async def test() -> None:
        async with gateway(store, rates=rates) as there:
            codes = [await there.refused("wrong", address="10.0.0.7") for _ in range(5)]
            assert codes == ["UNAUTHENTICATED_REQUEST"] * 3 + ["REQUEST_RATE_EXCEEDED"] * 2
            await there.admit(secret, address="10.0.0.7")
            await there.admit(BOOTSTRAP, address="10.0.0.7")
            assert await there.refused("wrong", address="10.0.0.8") == "UNAUTHENTICATED_REQUEST"

    run(test)


def test_a_short_token_of_the_start_is_not_compared_for_who_guesses(store: Store) -> None:
    rates = RateSettings(failures_per_second=0.01, failures_burst=3.0)

    async def test() -> None:
        async with gateway(store, token="short", rates=rates) as there:
            for _ in range(3):
                await there.refused("guess", address="10.0.0.7")
            assert await there.refused("short", address="10.0.0.7") == "REQUEST_RATE_EXCEEDED"
            await there.admit("short", address="10.0.0.8")

    run(test)


def test_the_addresses_of_an_ipv6_network_are_counted_together(store: Store) -> None:
    rates = RateSettings(failures_per_second=0.01, failures_burst=1.0)

    async def test() -> None:
        async with gateway(store, rates=rates) as there:
            await there.refused("wrong", address="2001:db8::1")
            assert await there.refused("wrong", address="2001:db8::ffff:1") == "REQUEST_RATE_EXCEEDED"
            assert await there.refused("wrong", address="2001:db8:0:1::1") == "UNAUTHENTICATED_REQUEST"
            await there.refused("wrong", address="::ffff:10.0.0.9")
            assert await there.refused("wrong", address="10.0.0.9") == "REQUEST_RATE_EXCEEDED"

    run(test)


def test_without_a_token_of_the_start_anybody_may_do_everything(store: Store) -> None:
    async def test() -> None:
        async with gateway(store, token=None) as there:
            caller = await there.admit(None, "shop.localhost")
            assert (caller.role, caller.database, caller.token_id) == (Role.ADMIN, "shop", "anybody")
            assert await there.refused(None, "none.localhost") == "UNKNOWN_DATABASE"

    run(test)


def test_requests_that_come_together_share_what_is_asked(store: Store) -> None:
    asked: list[int] = []
    ask = store.access.listing

    def noting(version: str) -> Any:
        asked.append(threading.get_ident())
        return ask(version)

    async def test() -> None:
        async with gateway(store) as there:
            store.access.listing = noting  # type: ignore[method-assign]
            await asyncio.gather(*(there.follower.refresh() for _ in range(50)))

    run(test)
    assert 1 <= len(asked) <= 3


def test_an_audit_log_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none/audit\.log cannot be written"):
        Audit(str(tmp_path / "none" / "audit.log"))
