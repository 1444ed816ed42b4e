"""Updates and replacements of documents inside a transaction: what changes, what is created, what is returned."""

import time
from collections.abc import Sequence

from services.documents.codec import characters, decode, decode_object, encode
from services.documents.rules import DocumentLimits, check_document, check_id
from services.documents.values import display_id, equal, id_first, id_key
from services.documents.vectors import literal_characters
from services.runtime.errors import DataApiError
from services.store.changes import Changed, Image, IndexChanges, Replacement, Special, Update
from services.store.documents import DocumentTables, Row
from services.store.postings import indexed_record
from services.store.projection import Projection
from services.store.records import CollectionSettings, Found, Record, StoredVector
from services.store.updates import apply_operations

_NULL_VECTOR = StoredVector(b"")
#: Where a collection has no limit, the reference's still holds for the arrays that an update may fill up with null.
_DEFAULT_CHARACTERS = DocumentLimits().max_characters or 0


class EmbeddingNeededError(Exception):
    """A document would change by a `$vectorize` text whose vector is not known yet."""


def update_rows(
    tables: DocumentTables,
    settings: CollectionSettings,
    update: Update,
    rows: Sequence[Row],
    index: IndexChanges,
) -> tuple[Changed, DataApiError | None]:
    """Change documents, or create one where there are none; return what was done and the error that stopped it.

    Nothing is written when a text has to be embedded first.
    """
    try:
        if not rows and not update.after and update.upsert is not None:
            return _upsert(tables, settings, update, index), None
        return _update(tables, settings, update, rows, index)
    except EmbeddingNeededError:
        return Changed(embedding_needed=True), None


def _update(
    tables: DocumentTables,
    settings: CollectionSettings,
    update: Update,
    rows: Sequence[Row],
    index: IndexChanges,
) -> tuple[Changed, DataApiError | None]:
    now = _now_millis()
    changed = Changed(matched=len(rows))
    planned: list[tuple[Row, Record]] = []
    error: DataApiError | None = None
    for row in rows:
        try:
            planned.append((row, _changed_record(row.record, settings, update, creating=False, now_millis=now)))
        except DataApiError as problem:
            error = problem
            break
    for row, record in planned:
        if record != row.record:
            _write(tables, row, record, index)
            changed.modified += 1
    if len(planned) == 1 and error is None:
        row, record = planned[0]
        changed.image = _image(update.image, update.projection, row.record, record)
    return changed, error


def _changed_record(
    record: Record, settings: CollectionSettings, update: Update, *, creating: bool, now_millis: int
) -> Record:
    """Return a document as an update leaves it: the very same record when nothing changes."""
    document = decode_object(record.json)
    json = record.json
    if apply_operations(
        document,
        update.operations,
        creating=creating,
        now_millis=now_millis,
        max_elements=_max_elements(settings.limits),
    ):
        json = encode(id_first(document))
    vector, vectorize, lexical = record.vector, record.vectorize, record.lexical
    for special in update.specials:
        if creating or not special.on_insert_only:
            vector, vectorize = _vector_change(special, vector, vectorize)
            lexical = _lexical_change(special, lexical)
    result = Record(json, vector, vectorize, lexical)
    if result == record and not creating:
        return record
    check_document(document, _characters(result), settings.limits, settings.indexing)
    return result


def _characters(record: Record) -> int:
    """Return the characters of a document's JSON with all that lies beside it."""
    literal = 0 if record.vector is None else literal_characters(record.vector.literal, record.vector.values)
    texts = (record.json, record.vectorize or b"", record.lexical or b"")
    return literal + sum(map(characters, texts))


def _max_elements(limits: DocumentLimits) -> int:
    """Return how many elements an array can have in a document of the greatest length: each takes two characters."""
    return (limits.max_characters or _DEFAULT_CHARACTERS) // 2


def _vector_change(
    special: Special, vector: StoredVector | None, vectorize: bytes | None
) -> tuple[StoredVector | None, bytes | None]:
    if special.unset:
        return None, None
    if special.vector is not None:
        same = vector is not None and vector.values == special.vector.values
        return (vector, vectorize) if same else (special.vector, None)
    if special.blank_vectorize is not None:
        return _NULL_VECTOR, special.blank_vectorize
    if special.vectorize is not None and special.vectorize.text != vectorize:
        if special.vectorize.values is None:
            raise EmbeddingNeededError
        return StoredVector(special.vectorize.values), special.vectorize.text
    return vector, vectorize


def _lexical_change(special: Special, lexical: bytes | None) -> bytes | None:
    if special.unset_lexical:
        return None
    return lexical if special.lexical is None else special.lexical


def _upsert(tables: DocumentTables, settings: CollectionSettings, update: Update, index: IndexChanges) -> Changed:
    assert update.upsert is not None
    record = _changed_record(update.upsert, settings, update, creating=True, now_millis=_now_millis())
    return _create(tables, settings, record, update.new_id, update.image, update.projection, index)


def replace_row(
    tables: DocumentTables,
    settings: CollectionSettings,
    replacement: Replacement,
    row: Row | None,
    index: IndexChanges,
) -> Changed:
    """Replace a document, or create one where there is none to replace.

    Raises `DOCUMENT_REPLACE_DIFFERENT_DOCID` when the replacement has another `_id`.
    """
    if row is None and not replacement.upsert:
        return Changed()
    record = replacement.record
    if record.vectorize is not None and record.vector is None:
        if row is None or row.record.vectorize != record.vectorize:
            return Changed(embedding_needed=True)
        record = Record(record.json, row.record.vector, record.vectorize, record.lexical)
    if row is None:
        return _create(tables, settings, record, replacement.new_id, replacement.image, replacement.projection, index)
    before = decode_object(row.record.json)
    own_id = before["_id"]
    document = decode_object(record.json)
    given = document.pop("_id", own_id)
    if id_key(given) != row.id_key:
        raise DataApiError(
            "DOCUMENT_REPLACE_DIFFERENT_DOCID",
            matchedId=encode(own_id).decode(),
            replaceId=encode(given).decode(),
        )
    document = {"_id": own_id, **document}
    json = row.record.json if equal(document, before) else encode(document)
    record = Record(json, record.vector, record.vectorize, record.lexical)
    changed = Changed(matched=1, modified=int(record != row.record))
    if changed.modified:
        _write(tables, row, record, index)
    changed.image = _image(replacement.image, replacement.projection, row.record, record)
    return changed


def _create(
    tables: DocumentTables,
    settings: CollectionSettings,
    record: Record,
    new_id: bytes,
    image: Image,
    projection: Projection,
    index: IndexChanges,
) -> Changed:
    """Create a document. Raises `DOCUMENT_ALREADY_EXISTS` when its id is taken."""
    document = decode_object(record.json)
    document.setdefault("_id", decode(new_id))
    check_id(document["_id"])
    shown = encode(display_id(document["_id"]))
    created = Record(encode(id_first(document)), record.vector, record.vectorize, record.lexical)
    position = tables.insert(indexed_record(created, settings.indexing))
    if position is None:
        raise DataApiError("DOCUMENT_ALREADY_EXISTS", id=shown.decode()).about(shown)
    index.inserted(position, created)
    after = projection.apply(Found(created)) if image is Image.AFTER else None
    return Changed(upserted_id=shown, image=after)


def _write(tables: DocumentTables, row: Row, record: Record, index: IndexChanges) -> None:
    tables.replace(row, record)
    index.changed(row.position, row.record, record)


def _image(image: Image, projection: Projection, before: Record, after: Record) -> Found | None:
    if image is Image.NONE:
        return None
    return projection.apply(Found(before if image is Image.BEFORE else after))


def _now_millis() -> int:
    return time.time_ns() // 1_000_000
