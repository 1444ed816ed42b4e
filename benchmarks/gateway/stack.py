"""The gateway's application in one process, with a store that answers at once from memory."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec
from orrery.store.v1 import store_pb2 as pb

from benchmarks.load.bodies import DIMENSION, documents, vectors
from services.gateway.access import Access
from services.gateway.access_table import AccessFollower
from services.gateway.app import Application
from services.gateway.audit import Audit
from services.gateway.collection import CollectionOptions, VectorOptions, encode_options
from services.gateway.command import Features
from services.gateway.embedding import Embedding
from services.gateway.exchange import Headers
from services.gateway.health import Health
from services.gateway.hosts import Hosts
from services.gateway.limits import Limits
from services.gateway.metrics import GatewayMetrics
from services.gateway.observer import Observer
from services.gateway.pages import Pages
from services.gateway.settings import AccessSettings, RateSettings
from services.gateway.storage import Storage

TOKEN = "a-token-given-at-the-start-that-is-long-enough"
#: Documents of one insertion, and of one answer.
INSERTED, FOUND = 20, 10

Answer = Callable[[Any], Any]


class AnsweringChannel:
    """In the place of a gRPC channel: the store's methods that the requests need, answered at once."""

    def __init__(self) -> None:
        options = CollectionOptions(vector=VectorOptions(DIMENSION, "cosine", "other"))
        collection = pb.GetCollectionResponse(
            collection=pb.Collection(name="books", uid="1", attributes=encode_options(options))
        )
        shown = [msgspec.json.encode(document) for document in documents()[:FOUND]]
        found = pb.FindDocumentsResponse(
            documents=[pb.FoundDocument(document=pb.Document(json=json), similarity=0.5) for json in shown]
        )
        inserted = pb.InsertDocumentsResponse(outcomes=[pb.INSERT_OUTCOME_INSERTED] * INSERTED)
        self._answers: Mapping[str, Any] = {
            "GetCollection": collection,
            "FindDocumentsInTurn": pb.FindDocumentsInTurnResponse(found=found),
            "InsertDocuments": inserted,
        }

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Callable[..., Awaitable[Any]]:
        """Return what calls a method."""
        answer = self._answers.get(method.rpartition("/")[2])

        async def call(request: Any, **_: Any) -> Any:
            return answer

        return call

    unary_stream = stream_unary = unary_unary

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Callable[[], "AnsweringStream"]:
        """Return what opens a stream of calls."""
        return lambda: AnsweringStream(self._answers[method.rpartition("/")[2]])


class AnsweringStream:
    """In the place of a gRPC stream: whatever is written, there is the same answer to read."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def write(self, _: Any) -> None:
        """Take a call."""

    async def read(self) -> Any:
        """Return the answer."""
        return self._answer

    def done(self) -> bool:
        """Tell whether the stream has ended, which it never does."""
        return False


def application() -> Application:
    """Return a gateway's application."""
    channel = cast("Any", AnsweringChannel())

    async def create_default() -> None:
        return

    follower = AccessFollower(
        channel, channel, AccessSettings(), "default", forget=lambda _: None, create_default=create_default
    )
    metrics = GatewayMetrics()
    return Application(
        access=Access(TOKEN, "default", Hosts(), follower, RateSettings(), Audit()),
        storage=Storage(channel, 20.0),
        embedding=Embedding(channel, 60.0),
        limits=Limits(),
        features=Features(),
        pages=Pages(Health({}, 2.0), metrics, Limits()),
        observer=Observer(metrics),
    )


def bodies() -> dict[str, bytes]:
    """Return the body of each kind of request, by a name for it."""
    some = documents()[:INSERTED]
    found = [[float(number) for number in vector] for vector in vectors([str(one) for one in some])]
    find = {
        "filter": {"kind": "moon", "radius": {"$gt": 100}},
        "sort": {"$vector": found[0]},
        "options": {"limit": FOUND, "includeSimilarity": True},
    }
    inserted = [{**one, "$vector": vector} for one, vector in zip(some, found, strict=True)]
    return {
        "find": msgspec.json.encode({"find": find}),
        "insertMany": msgspec.json.encode({"insertMany": {"documents": inserted}}),
    }


def headers_of(body: bytes) -> Headers:
    """Return the headers of a request, as clients send them."""
    return [
        (b"host", b"127.0.0.1:8181"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"connection", b"keep-alive"),
        (b"user-agent", b"astrapy/2.1.0"),
        (b"token", TOKEN.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
