"""Delivering batches to endpoints that are busy, small, slow, or refuse a document."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest

from services.documents.codec import JsonObject
from services.transfer import data_api
from services.transfer.data_api import DataApi, Endpoint, Patience
from services.transfer.delivery import BatchSize, Inserting, Replacing, Result, Stored, item_of
from services.transfer.errors import RefusedError, TransferError, UsageError
from services.transfer.sources import Rejection

Handler = Callable[[dict[str, Any]], httpx.Response]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None:
        return None

    monkeypatch.setattr(data_api.asyncio, "sleep", at_once)


def answer(documents: list[Any], errors: dict[Any, tuple[str, str]]) -> httpx.Response:
    """Answer insertMany: an error (code and family) for the documents of some ids, OK for the others."""
    responses: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    for document in documents:
        if document["_id"] in errors:
            code, family = errors[document["_id"]]
            responses.append({"_id": document["_id"], "status": "ERROR", "errorsIdx": len(problems)})
            problems.append({"errorCode": code, "family": family, "message": f"about {document['_id']}"})
        else:
            responses.append({"_id": document["_id"], "status": "OK"})
    body: dict[str, Any] = {"status": {"documentResponses": responses}}
    return httpx.Response(200, json=body | ({"errors": problems} if problems else {}))


def refused(code: str, family: str = "REQUEST") -> httpx.Response:
    return httpx.Response(200, json={"errors": [{"errorCode": code, "family": family, "message": "no"}]})


def deliver(
    handler: Handler, documents: list[JsonObject], size: BatchSize | None = None, *, replace: bool = False
) -> tuple[list[Result], list[int]]:
    """Deliver documents to a handler of commands; return results and the sizes of the commands sent."""
    sizes: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response:
        command = json.loads(request.content)
        assert request.headers["Token"] == "t"
        assert request.url.path == "/v1/default_keyspace/people"
        sizes.append(len(command.get("insertMany", {}).get("documents", [0])))
        return handler(command)

    async def run() -> list[Result]:
        endpoint = Endpoint("http://127.0.0.1:1", token="t")
        async with DataApi(endpoint, timeout=1, patience=5) as api:
            api._http = httpx.AsyncClient(transport=httpx.MockTransport(handle), headers=api._http.headers)
            delivery = (
                Replacing(api, "people") if replace else Inserting(api, "people", size or BatchSize(100, 1 << 20))
            )
            return await delivery.deliver([item_of(document) for document in documents])

    return asyncio.run(run()), sizes


def documents(count: int) -> list[JsonObject]:
    return [{"_id": number, "text": "x" * 10} for number in range(count)]


def batch(command: dict[str, Any]) -> list[Any]:
    assert command["insertMany"]["options"] == {"ordered": False, "returnDocumentResponses": True}
    return cast("list[Any]", command["insertMany"]["documents"])


def test_each_document_has_its_result() -> None:
    errors = {1: ("DOCUMENT_ALREADY_EXISTS", "REQUEST"), 3: ("SHRED_BAD_FIELD_NAME", "REQUEST")}
    results, sizes = deliver(lambda command: answer(batch(command), errors), documents(4))

    assert results == [Stored.LOADED, Stored.THERE, Stored.LOADED, Rejection("SHRED_BAD_FIELD_NAME", "about 3")]
    assert sizes == [4]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    failures = iter([httpx.Response(status, headers={"Retry-After": "0"})] * 3)
    results, sizes = deliver(lambda command: next(failures, None) or answer(batch(command), {}), documents(2))

    assert results == [Stored.LOADED] * 2
    assert sizes == [2, 2, 2, 2]


def test_a_connection_that_breaks_is_tried_again() -> None:
    broken = iter([httpx.ReadError("reset"), httpx.ConnectError("refused")])

    def handle(command: dict[str, Any]) -> httpx.Response:
        for problem in broken:
            raise problem
        return answer(batch(command), {2: ("DOCUMENT_ALREADY_EXISTS", "REQUEST")})

    assert deliver(handle, documents(3))[0] == [Stored.LOADED, Stored.LOADED, Stored.THERE]


def test_only_documents_that_may_pass_are_sent_again() -> None:
    rounds = iter([{1: ("EMBEDDING_PROVIDER_RATE_LIMITED", "SERVER")}, {}])
    results, sizes = deliver(lambda command: answer(batch(command), next(rounds)), documents(3))

    assert results == [Stored.LOADED] * 3
    assert sizes == [3, 1]


def test_a_refused_command_is_taken_apart_until_the_document_is_found() -> None:
    def handle(command: dict[str, Any]) -> httpx.Response:
        if any(document["_id"] == 5 for document in batch(command)):
            return refused("SHRED_DOC_LIMIT_VIOLATION")
        return answer(batch(command), {})

    results, _ = deliver(handle, documents(8))

    assert results[5] == Rejection("SHRED_DOC_LIMIT_VIOLATION", "no")
    assert results[:5] + results[6:] == [Stored.LOADED] * 7


def test_a_body_that_is_too_large_makes_the_next_ones_smaller() -> None:
    size = BatchSize(100, 1 << 20)

    def handle(command: dict[str, Any]) -> httpx.Response:
        return httpx.Response(413) if len(batch(command)) > 3 else answer(batch(command), {})

    results, sizes = deliver(handle, documents(16), size)

    assert results == [Stored.LOADED] * 16
    assert max(sizes[3:]) <= 8
    assert size.documents < 8


def test_a_document_too_large_for_any_body_is_rejected() -> None:
    results, _ = deliver(lambda command: httpx.Response(413), documents(1))

    assert results == [Rejection("HTTP_413", "127.0.0.1:1 takes no body of this size")]


def test_batches_grow_again() -> None:
    size = BatchSize(100, 1 << 20)
    size.shrink([item_of(document) for document in documents(100)])
    assert size.documents == 50
    for _ in range(400):
        size.succeeded()
    assert (size.documents, size.bytes) == (100, 1 << 20)


def test_a_batch_that_takes_too_long_is_halved() -> None:
    def handle(command: dict[str, Any]) -> httpx.Response:
        if len(batch(command)) > 2:
            raise httpx.ReadTimeout("slow")
        return answer(batch(command), {})

    results, sizes = deliver(handle, documents(4))

    assert results == [Stored.LOADED] * 4
    assert sizes == [4, 2, 2]


@pytest.mark.parametrize(
    "code", ["UNKNOWN_COLLECTION_OR_TABLE", "UNAUTHENTICATED_REQUEST", "VECTOR_SEARCH_NOT_SUPPORTED"]
)
def test_what_holds_for_every_document_ends_the_load(code: str) -> None:
    with pytest.raises(RefusedError, match=code):
        deliver(lambda command: refused(code), documents(4))


def test_a_document_that_breaks_the_server_is_rejected_at_last() -> None:
    def handle(command: dict[str, Any]) -> httpx.Response:
        if any(document["_id"] == 2 for document in batch(command)):
            return refused("UNEXPECTED_SERVER_ERROR", "SERVER")
        return answer(batch(command), {})

    results, sizes = deliver(handle, documents(4))

    assert results[2] == Rejection("UNEXPECTED_SERVER_ERROR", "no")
    assert len(sizes) < 15


def test_an_answer_that_is_none_is_told() -> None:
    with pytest.raises(RefusedError, match="is the endpoint right"):
        deliver(lambda command: httpx.Response(404, text="<html>"), documents(1))


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(data_api.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(TransferError, match="run the same command again"):
        deliver(lambda command: httpx.Response(503), documents(1))


def test_patience_counts_from_the_last_success(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(data_api.time, "monotonic", lambda: float(next(clock)))

    async def run() -> None:
        patience = Patience(5.0)
        for _ in range(10):
            await patience.pause("busy")
            patience.restore()

    asyncio.run(run())


def test_replacing_upserts_by_id() -> None:
    seen: list[Any] = []

    def handle(command: dict[str, Any]) -> httpx.Response:
        seen.append(command)
        if command["findOneAndReplace"]["filter"]["_id"] == 1:
            return refused("SHRED_BAD_FIELD_NAME")
        return httpx.Response(200, json={"data": {"document": None}, "status": {"matchedCount": 0}})

    results, _ = deliver(handle, documents(2), replace=True)

    assert results == [Stored.LOADED, Rejection("SHRED_BAD_FIELD_NAME", "no")]
    assert seen[0] == {
        "findOneAndReplace": {
            "filter": {"_id": 0},
            "replacement": {"_id": 0, "text": "x" * 10},
            "projection": {"*": 0},
            "options": {"upsert": True},
        }
    }


def test_an_endpoint_shows_no_secret() -> None:
    endpoint = Endpoint(
        "https://user:hunter2@example.org:444/api", token="tok-1", headers={"x-embedding-api-key": "sk"}
    )

    assert endpoint.host == "example.org:444"
    assert not any(secret in repr(endpoint) for secret in ("tok-1", "sk'"))


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8181/", "http://127.0.0.1:8181"),
        ("http://127.0.0.1:8181/v1", "http://127.0.0.1:8181"),
        ("https://x-y.apps.astra.datastax.com", "https://x-y.apps.astra.datastax.com/api/json"),
        ("https://x-y.apps.astra.datastax.com/api/json", "https://x-y.apps.astra.datastax.com/api/json"),
    ],
)
def test_where_commands_go(url: str, base: str) -> None:
    assert Endpoint(url).base == base


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="http://"):
        Endpoint("localhost:8181")
