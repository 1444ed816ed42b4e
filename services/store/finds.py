"""The finds of a call: one, or several that arrived together, of which searches by vector share one search."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_to_status, unexpected_error
from services.store import messages
from services.store.changes import Selection, VectorOrder
from services.store.collection import Collection, NearestSearch
from services.store.engine import Engine
from services.store.filters import Filter
from services.store.records import Found

#: Documents of a streamed message where the caller says nothing.
_STREAMED_DOCUMENTS = 200
#: A collection by its names and uid, and the filter as an object: for the same message most often the same one.
_Shared = tuple[str, str, str, str, int]
#: A find's place among others, and its search.
_Placed = tuple[int, NearestSearch]


def find(engine: Engine, request: pb.FindDocumentsRequest, response: pb.FindDocumentsResponse) -> None:
    """Write the answer of one find into its response."""
    found, next_after = _collection(engine, request.collection).find(
        messages.read_selection(request.filter, request.sort),
        messages.read_projection(request.projection),
        skip=request.skip,
        limit=max(1, request.limit),
        after=request.after,
    )
    _fill(response, found)
    if next_after is not None:
        response.next_after = next_after


def stream(engine: Engine, request: pb.StreamDocumentsRequest, most: int) -> Iterator[pb.StreamDocumentsResponse]:
    """Yield all documents that match, at most so many a message. Each page is a transaction of its own."""
    filter_, projection = messages.read_filter(request.filter), messages.read_projection(request.projection)
    limit = min(request.page_documents or _STREAMED_DOCUMENTS, most)
    after: int | None = request.after
    while after is not None:
        collection = _collection(engine, request.collection)
        found, after = collection.find(Selection(filter_), projection, skip=0, limit=limit, after=after)
        response = pb.StreamDocumentsResponse(next_after=after)
        _fill(response, found)
        yield response


def find_together(
    engine: Engine, requests: Sequence[pb.FindDocumentsRequest], response: pb.FindDocumentsTogetherResponse
) -> None:
    """Write the answers of several finds into a response; one that fails does not keep the others from theirs."""
    outcomes = [response.outcomes.add() for _ in requests]
    shared: dict[_Shared, list[_Placed]] = defaultdict(list)
    alone: list[int] = []
    for number, request in enumerate(requests):
        search = _search(request)
        if search is None:
            alone.append(number)
        else:
            name = request.collection
            key = name.database, name.keyspace, name.name, name.uid, id(search.filter)
            shared[key].append((number, search))
    for placed in shared.values():
        try:
            collection = _collection(engine, requests[placed[0][0]].collection)
            pages = collection.find_nearest([search for _, search in placed])
        except Exception:  # noqa: BLE001 - each is asked for alone, and has the error that is its own
            alone.extend(number for number, _ in placed)
            continue
        for (number, _), page in zip(placed, pages, strict=True):
            _fill(outcomes[number].found, page)
    for number in alone:
        _answer(engine, requests[number], outcomes[number])


def _collection(engine: Engine, name: pb.CollectionRef) -> Collection:
    return engine.collection(name.database, name.keyspace, name.name, name.uid)


def _search(request: pb.FindDocumentsRequest) -> NearestSearch | None:
    """Return the search that a find is, which others may share; None for one that is answered alone."""
    if request.sort.WhichOneof("kind") != "vector":
        return None
    try:
        filter_: Filter = messages.read_filter(request.filter)
        projection = messages.read_projection(request.projection)
    except DataApiError:
        return None
    return NearestSearch(filter_, VectorOrder(request.sort.vector), projection, request.skip, max(1, request.limit))


def _fill(response: pb.FindDocumentsResponse | pb.StreamDocumentsResponse, page: Iterable[Found]) -> None:
    response.SetInParent()
    for found in page:
        messages.fill(response.documents.add(), found)


def _answer(engine: Engine, request: pb.FindDocumentsRequest, outcome: pb.FindOutcome) -> None:
    """Write into an outcome what a find is answered alone, or its error."""
    try:
        find(engine, request, outcome.found)
        return
    except DataApiError as error:
        problem = error
    except Exception as unforeseen:  # noqa: BLE001 - logged, and answered to whoever asked for this find
        problem = unexpected_error("FindDocumentsTogether", unforeseen)
    outcome.error = error_to_status(problem).SerializeToString()
