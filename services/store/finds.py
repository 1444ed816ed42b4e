"""The finds of a call: one, or several that arrived together, of which searches by vector share one search."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_to_status, unexpected_error
from services.store import messages
from services.store.changes import Selection, VectorOrder
from services.store.collection import NearestSearch
from services.store.engine import Engine
from services.store.records import Found

#: Documents of a streamed message where the caller says nothing.
_STREAMED_DOCUMENTS = 200
#: A collection by its names and uid, and the number of documents wanted.
_Shared = tuple[str, str, str, str, int]


def find(engine: Engine, request: pb.FindDocumentsRequest) -> pb.FindDocumentsResponse:
    """Answer one find."""
    name = request.collection
    found, next_after = engine.collection(name.database, name.keyspace, name.name, name.uid).find(
        messages.read_selection(request.filter, request.sort),
        messages.read_projection(request.projection),
        skip=request.skip,
        limit=max(1, request.limit),
        after=request.after,
    )
    return pb.FindDocumentsResponse(documents=map(messages.found_message, found), next_after=next_after)


def stream(engine: Engine, request: pb.StreamDocumentsRequest, most: int) -> Iterator[pb.StreamDocumentsResponse]:
    """Yield all documents that match, at most so many a message. Each page is a transaction of its own."""
    name = request.collection
    filter_, projection = messages.read_filter(request.filter), messages.read_projection(request.projection)
    limit = min(request.page_documents or _STREAMED_DOCUMENTS, most)
    after: int | None = request.after
    while after is not None:
        collection = engine.collection(name.database, name.keyspace, name.name, name.uid)
        found, after = collection.find(Selection(filter_), projection, skip=0, limit=limit, after=after)
        yield pb.StreamDocumentsResponse(documents=map(messages.found_message, found), next_after=after)


def find_together(engine: Engine, requests: Sequence[pb.FindDocumentsRequest]) -> list[pb.FindOutcome]:
    """Answer several finds; one that fails does not keep the others from their answers."""
    outcomes = [pb.FindOutcome()] * len(requests)
    shared: dict[_Shared, list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        key = _shared(request)
        if key is not None:
            shared[key].append(number)
        else:
            outcomes[number] = _outcome(lambda request=request: find(engine, request))  # type: ignore[misc]
    for key, numbers in shared.items():
        try:
            found = _find_nearest(engine, key, [requests[number] for number in numbers])
        except Exception:  # noqa: BLE001 - each is asked for alone, and has the error that is its own
            found = [_outcome(lambda number=number: find(engine, requests[number])) for number in numbers]  # type: ignore[misc]
        for number, outcome in zip(numbers, found, strict=True):
            outcomes[number] = outcome
    return outcomes


def _shared(request: pb.FindDocumentsRequest) -> _Shared | None:
    """Return what finds must have in common to be searched together; None for one that is answered alone."""
    if request.sort.WhichOneof("kind") != "vector" or request.skip or request.filter.WhichOneof("node") is not None:
        return None
    name = request.collection
    return name.database, name.keyspace, name.name, name.uid, max(1, request.limit)


def _find_nearest(engine: Engine, key: _Shared, requests: Sequence[pb.FindDocumentsRequest]) -> list[pb.FindOutcome]:
    *name, limit = key
    database, keyspace, collection, uid = map(str, name)
    pages = engine.collection(database, keyspace, collection, uid).find_nearest(
        [
            NearestSearch(VectorOrder(request.sort.vector), messages.read_projection(request.projection), int(limit))
            for request in requests
        ]
    )
    return [pb.FindOutcome(found=_response(page)) for page in pages]


def _response(page: Sequence[Found]) -> pb.FindDocumentsResponse:
    return pb.FindDocumentsResponse(documents=map(messages.found_message, page))


def _outcome(answer: Callable[[], pb.FindDocumentsResponse]) -> pb.FindOutcome:
    try:
        return pb.FindOutcome(found=answer())
    except DataApiError as error:
        problem = error
    except Exception as unforeseen:  # noqa: BLE001 - logged, and answered to whoever asked for this find
        problem = unexpected_error("FindDocumentsTogether", unforeseen)
    return pb.FindOutcome(error=error_to_status(problem).SerializeToString())
