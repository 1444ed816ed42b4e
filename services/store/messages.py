"""The contract's messages and the store's typed values, each from the other. Nothing else knows both."""

from decimal import Decimal
from functools import lru_cache

from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonError, JsonValue, decode
from services.documents.indexing import EVERYTHING as INDEX_EVERYTHING
from services.documents.indexing import Indexing
from services.documents.paths import Path
from services.documents.rules import DocumentLimits
from services.documents.values import Scalar, Timestamp
from services.runtime.errors import DataApiError
from services.store.catalog import CollectionEntry
from services.store.changes import (
    Changed,
    Deleted,
    Image,
    Replacement,
    Selection,
    Special,
    Update,
    VectorizeText,
    VectorOrder,
)
from services.store.filters import (
    EVERYTHING,
    AllOf,
    AnyOf,
    Composite,
    ContainsAll,
    Exists,
    Filter,
    In,
    MatchesText,
    Not,
    Operand,
    Range,
    Size,
)
from services.store.ordering import FieldOrder, SortField
from services.store.projection import WHOLE, Projection, Slice
from services.store.records import CollectionSettings, Found, Record, StoredVector, VectorSettings
from services.store.updates import Operation
from services.store.vectors.similarity import Metric

_METRICS = {
    pb.METRIC_COSINE: Metric.COSINE,
    pb.METRIC_DOT_PRODUCT: Metric.DOT_PRODUCT,
    pb.METRIC_EUCLIDEAN: Metric.EUCLIDEAN,
}
_METRIC_NUMBERS = {metric: number for number, metric in _METRICS.items()}
#: Filters and projections that are remembered, each of so many bytes at most: clients ask with few, again and again.
_REMEMBERED, _REMEMBERED_BYTES = 500, 1_000
_IMAGES = {pb.RETURN_IMAGE_BEFORE: Image.BEFORE, pb.RETURN_IMAGE_AFTER: Image.AFTER}


def _malformed(problem: str) -> DataApiError:
    return DataApiError("REQUEST_STRUCTURE_MISMATCH", problem=problem)


# --- collections ------------------------------------------------------------


def read_settings(message: pb.CollectionSettings) -> CollectionSettings:
    """Return a collection's settings. Raises `REQUEST_STRUCTURE_MISMATCH` for ones that say nothing sensible."""
    vector = None
    if message.HasField("vector"):
        if message.vector.metric not in _METRICS or not message.vector.dimension:
            raise _malformed("vector settings need a dimension and a metric")
        vector = VectorSettings(message.vector.dimension, _METRICS[message.vector.metric])
    given = message.limits
    limits = DocumentLimits(
        max_characters=given.max_characters or None,
        max_depth=given.max_depth or None,
        max_path_characters=given.max_path_characters or None,
        max_object_members=given.max_object_members or None,
        max_members=given.max_members or None,
        max_array_elements=given.max_array_elements or None,
        max_string_bytes=given.max_string_bytes or None,
    )
    return CollectionSettings(vector, _indexing(message.indexing), limits)


def _indexing(message: pb.IndexingSettings) -> Indexing:
    if message.deny_all:
        return Indexing(deny_all=True)
    if message.allow:
        return Indexing(allow=frozenset(map(_path, message.allow)))
    if message.deny:
        return Indexing(deny=frozenset(map(_path, message.deny)))
    return INDEX_EVERYTHING


def collection_message(entry: CollectionEntry) -> pb.Collection:
    """Return a collection as a message."""
    settings, limits = entry.settings, entry.settings.limits
    message = pb.Collection(name=entry.name, uid=entry.uid, attributes=entry.attributes)
    if settings.vector is not None:
        message.settings.vector.dimension = settings.vector.dimension
        message.settings.vector.metric = _METRIC_NUMBERS[settings.vector.metric]
    message.settings.indexing.deny_all = settings.indexing.deny_all
    message.settings.indexing.allow.extend(pb.Path(segments=path) for path in settings.indexing.allow or ())
    message.settings.indexing.deny.extend(pb.Path(segments=path) for path in settings.indexing.deny)
    message.settings.limits.max_characters = limits.max_characters or 0
    message.settings.limits.max_depth = limits.max_depth or 0
    message.settings.limits.max_path_characters = limits.max_path_characters or 0
    message.settings.limits.max_object_members = limits.max_object_members or 0
    message.settings.limits.max_members = limits.max_members or 0
    message.settings.limits.max_array_elements = limits.max_array_elements or 0
    message.settings.limits.max_string_bytes = limits.max_string_bytes or 0
    return message


# --- documents --------------------------------------------------------------


def read_record(message: pb.Document) -> Record:
    """Return a document."""
    return Record(
        message.json,
        _vector(message.vector) if message.HasField("vector") else None,
        message.vectorize if message.HasField("vectorize") else None,
        message.lexical if message.HasField("lexical") else None,
    )


def _changing(message: pb.Document) -> Record:
    """Return a document that is changed before it is stored."""
    if not isinstance(_json(message.json), dict):
        raise _malformed("a document is no JSON object")
    return read_record(message)


def _vector(message: pb.Vector) -> StoredVector:
    return StoredVector(message.values, message.literal)


def found_message(found: Found) -> pb.FoundDocument:
    """Return a found document as a message."""
    message = pb.FoundDocument()
    fill(message, found)
    return message


def fill(message: pb.FoundDocument, found: Found) -> None:
    """Write a found document into an empty message: in its place, several times as fast as making one to be copied."""
    record, document = found.record, message.document
    document.json = record.json
    if found.similarity is not None:
        message.similarity = found.similarity
    if record.vectorize is not None:
        document.vectorize = record.vectorize
    if record.lexical is not None:
        document.lexical = record.lexical
    if record.vector is not None:
        document.vector.values = record.vector.values
        document.vector.literal = record.vector.literal


# --- clauses ----------------------------------------------------------------


def _path(message: pb.Path) -> Path:
    return tuple(message.segments)


def read_filter(message: pb.Filter) -> Filter:
    """Return a filter, for the same message most often the same object.

    Raises `REQUEST_STRUCTURE_MISMATCH` for one that is malformed.
    """
    size = message.ByteSize()
    if not size:
        return EVERYTHING
    return _remembered_filter(message.SerializeToString()) if size <= _REMEMBERED_BYTES else _filter(message)


@lru_cache(maxsize=_REMEMBERED)
def _remembered_filter(message: bytes) -> Filter:
    return _filter(pb.Filter.FromString(message))


def _filter(message: pb.Filter) -> Filter:
    node = message.WhichOneof("node")
    if node is None:
        return EVERYTHING
    if node == "all_of":
        return AllOf(tuple(map(_filter, message.all_of.filters)))
    if node == "any_of":
        return AnyOf(tuple(map(_filter, message.any_of.filters)))
    if node == "negated":
        return Not(_filter(message.negated))
    return _condition(message.condition)


def _condition(message: pb.Condition) -> Filter:
    path = _path(message.path)
    if not path:
        raise _malformed("a condition needs a path")
    test = message.WhichOneof("test")
    if test == "equals":
        return In(path, (_operand(message.equals),), null_in_arrays=False)
    if test == "in":
        return In(path, tuple(map(_operand, getattr(message, "in").values)))
    if test == "range":
        return _range(path, message.range)
    if test == "exists":
        return Exists(path) if message.exists else Not(Exists(path))
    if test == "contains_all":
        if not message.contains_all.values:
            raise _malformed("contains_all needs a value")
        return ContainsAll(path, tuple(map(_operand, message.contains_all.values)))
    if test == "size":
        return Size(path, message.size)
    if test == "matches_text":
        return MatchesText(path, message.matches_text)
    raise _malformed("a condition needs a test")


def _range(path: Path, message: pb.Range) -> Range:
    lower = upper = None
    if message.HasField("at_least"):
        lower = (_scalar(message.at_least), True)
    elif message.HasField("greater_than"):
        lower = (_scalar(message.greater_than), False)
    if message.HasField("at_most"):
        upper = (_scalar(message.at_most), True)
    elif message.HasField("less_than"):
        upper = (_scalar(message.less_than), False)
    if lower is None and upper is None:
        raise _malformed("a range needs a bound")
    return Range(path, lower, upper)


def _operand(message: pb.Value) -> Operand:
    if message.WhichOneof("kind") == "composite":
        return Composite(_json(message.composite))
    return _scalar(message)


def _scalar(message: pb.Value) -> Scalar:
    kind = message.WhichOneof("kind")
    if kind == "null":
        return None
    if kind == "boolean":
        return message.boolean
    if kind == "number":
        return _number(message.number)
    if kind == "text":
        return message.text
    if kind == "timestamp_millis":
        return Timestamp(message.timestamp_millis)
    raise _malformed("a value that has to be a scalar is none")


def _number(text: str) -> int | Decimal:
    value = _json(text.encode())
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _malformed("a number is none")
    return value


def _json(text: bytes) -> JsonValue:
    try:
        return decode(text)
    except JsonError as problem:
        raise _malformed(f"a value is not JSON: {problem}") from problem


def read_selection(filter_: pb.Filter, sort: pb.Sort) -> Selection:
    """Return which documents are meant, and in what order."""
    kind = sort.WhichOneof("kind")
    if kind == "vector":
        return Selection(read_filter(filter_), VectorOrder(sort.vector))
    if kind == "fields":
        fields = tuple(SortField(_path(field.path), field.descending) for field in sort.fields.fields)
        return Selection(read_filter(filter_), FieldOrder(fields, sort.fields.max_candidates))
    return Selection(read_filter(filter_))


def read_projection(message: pb.Projection) -> Projection:
    """Return what part of a document is wanted, for the same message most often the same object."""
    size = message.ByteSize()
    if not size:
        return WHOLE
    return _remembered_projection(message.SerializeToString()) if size <= _REMEMBERED_BYTES else _projection(message)


@lru_cache(maxsize=_REMEMBERED)
def _remembered_projection(message: bytes) -> Projection:
    return _projection(pb.Projection.FromString(message))


def _projection(message: pb.Projection) -> Projection:
    return Projection(
        include=message.kind == pb.PROJECTION_KIND_INCLUDE,
        paths=tuple(map(_path, message.paths)),
        slices={_path(item.path): Slice(item.start, item.count) for item in message.slices},
        exclude_id=message.exclude_id,
        include_vector=message.include_vector,
        include_vectorize=message.include_vectorize,
        include_lexical=message.include_lexical,
    )


# --- changes ----------------------------------------------------------------


def read_update(message: pb.UpdateDocumentsRequest) -> Update:
    """Return an update."""
    return Update(
        selection=read_selection(message.filter, message.sort),
        operations=tuple(map(_operation, message.operations)),
        specials=tuple(map(_special, message.specials)),
        limit=max(1, message.limit),
        after=message.after,
        upsert=_changing(message.upsert) if message.HasField("upsert") else None,
        new_id=message.new_id or b"null",
        image=_IMAGES.get(message.return_image, Image.NONE),
        projection=read_projection(message.projection),
    )


def _operation(message: pb.UpdateOperation) -> Operation:
    path = _path(message.path)
    kind = message.WhichOneof("kind")
    if not path or kind is None:
        raise _malformed("an update operation needs a path and an operator")
    if kind in _JSON_OPERATORS:
        return Operation(_JSON_OPERATORS[kind], path, _json(getattr(message, kind)))
    if kind in ("increment", "multiply"):
        return Operation("$inc" if kind == "increment" else "$mul", path, _number(getattr(message, kind)))
    if kind == "rename_to":
        if not message.rename_to.segments:
            raise _malformed("a renaming needs a target")
        return Operation("$rename", path, target=_path(message.rename_to))
    if kind == "push":
        position = message.push.position if message.push.HasField("position") else None
        return Operation("$push", path, [_json(value) for value in message.push.values], position)
    if kind == "add_to_set":
        return Operation("$addToSet", path, [_json(value) for value in message.add_to_set.values])
    if kind == "pop":
        return Operation("$pop", path, message.pop)
    return Operation("$unset" if kind == "unset" else "$currentDate", path)


_JSON_OPERATORS = {"set": "$set", "set_on_insert": "$setOnInsert", "minimum": "$min", "maximum": "$max"}


def _special(message: pb.SpecialAssignments) -> Special:
    change = message.WhichOneof("vector_change")
    vectorize = None
    if change == "vectorize":
        given = message.vectorize
        vectorize = VectorizeText(given.text, given.values if given.HasField("values") else None)
    return Special(
        vector=_vector(message.vector) if change == "vector" else None,
        vectorize=vectorize,
        blank_vectorize=message.blank_vectorize if change == "blank_vectorize" else None,
        unset=change == "unset",
        lexical=message.lexical if message.HasField("lexical") else None,
        unset_lexical=message.unset_lexical,
        on_insert_only=message.on_insert_only,
    )


def read_replacement(message: pb.ReplaceDocumentRequest) -> Replacement:
    """Return a replacement."""
    return Replacement(
        selection=read_selection(message.filter, message.sort),
        record=_changing(message.replacement),
        upsert=message.upsert,
        new_id=message.new_id or b"null",
        image=_IMAGES.get(message.return_image, Image.NONE),
        projection=read_projection(message.projection),
    )


def update_message(changed: Changed) -> pb.UpdateDocumentsResponse:
    """Return what an update did as a message."""
    return pb.UpdateDocumentsResponse(
        embedding_needed=changed.embedding_needed,
        matched_count=changed.matched,
        modified_count=changed.modified,
        upserted_id=changed.upserted_id,
        next_after=changed.next_after,
        image=None if changed.image is None else found_message(changed.image),
    )


def replacement_message(changed: Changed) -> pb.ReplaceDocumentResponse:
    """Return what a replacement did as a message."""
    return pb.ReplaceDocumentResponse(
        embedding_needed=changed.embedding_needed,
        matched_count=changed.matched,
        modified_count=changed.modified,
        upserted_id=changed.upserted_id,
        image=None if changed.image is None else found_message(changed.image),
    )


def deletion_message(deleted: Deleted) -> pb.DeleteDocumentsResponse:
    """Return what a deletion did as a message."""
    return pb.DeleteDocumentsResponse(
        deleted_count=deleted.count,
        more=deleted.more,
        image=None if deleted.image is None else found_message(deleted.image),
    )
