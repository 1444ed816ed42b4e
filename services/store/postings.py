"""What the filter index holds of a document: one posting for every fact a filter can ask for.

A posting is a path and a key. The key's first byte says what kind of fact it is, the rest is the order key of a
scalar or the composite key of an array or object (`services.documents.values`).
"""

from typing import NamedTuple

from services.documents.codec import JsonObject, JsonValue, decode_object, encode
from services.documents.indexing import EVERYTHING, Indexing
from services.documents.paths import ID, Path
from services.documents.rules import check_id
from services.documents.values import canonical, canonical_key, extension_of, id_first, id_key, order_key, value_key
from services.runtime.errors import DataApiError
from services.store.records import Record

#: An element of the array at the path.
ELEMENT = b"e"
#: The number of elements of the array at the path.
SIZE = b"s"
#: The value at the path: exactly one for each path that a document has. Scalars sort by the rest of the key.
VALUE = b"v"

Posting = tuple[Path, bytes]


class IndexedRecord(NamedTuple):
    """A document with the identity of its `_id` and its postings."""

    id_key: bytes
    record: Record
    postings: set[Posting]


def next_kind(kind: bytes) -> bytes:
    """Return the first key after all those of a kind."""
    return bytes([kind[0] + 1])


def indexed_record(record: Record, indexing: Indexing) -> IndexedRecord:
    """Return a document with its postings; its `_id` is put first.

    Raises `REQUEST_STRUCTURE_MISMATCH` when it has no `_id`, `SHRED_BAD_DOCID_*` when that is no id, `JsonError`
    when it is no JSON object.
    """
    document = decode_object(record.json)
    if "_id" not in document:
        raise DataApiError("REQUEST_STRUCTURE_MISMATCH", problem="a document to store has no _id")
    check_id(document["_id"])
    if next(iter(document)) != "_id":
        record = Record(encode(id_first(document)), record.vector, record.vectorize, record.lexical)
    return IndexedRecord(id_key(document["_id"]), record, postings_of(document, indexing))


def postings_of(document: JsonObject, indexing: Indexing) -> set[Posting]:
    """Return the postings of a document's indexed part. `_id` has none: it has an index of its own."""
    found: set[Posting] = set()
    if indexing.deny_all:
        return found
    everything = indexing == EVERYTHING
    for name, value in document.items():
        if (name,) == ID:
            continue
        if everything:
            _add_whole(value, (name,), found)
        else:
            _add(value, (name,), indexing, found)
    return found


def _add_whole(value: JsonValue, path: Path, found: set[Posting]) -> tuple[bytes, JsonValue]:
    """Add all postings of a value; return its key and canonical form, which those of what it is within are made of."""
    form: JsonValue
    if isinstance(value, dict) and extension_of(value) is None:
        form = {name: _add_whole(item, (*path, name), found)[1] for name, item in value.items()}
        key = canonical_key(form)
    elif isinstance(value, list):
        below = [_add_whole(item, (*path, str(index)), found) for index, item in enumerate(value)]
        form = [inner for _, inner in below]
        key = canonical_key(form)
        found.add((path, SIZE + order_key(len(value))))
        found.update((path, ELEMENT + inner) for inner, _ in below)
    else:
        # At the top of a document nothing is made of the form.
        form = canonical(value) if len(path) > 1 else None
        key = value_key(value)
    found.add((path, VALUE + key))
    return key, form


def _add(value: JsonValue, path: Path, rules: Indexing, found: set[Posting]) -> None:
    included = rules.includes(path)
    if not included and not rules.may_reach(path):
        return
    if included:
        found.add((path, VALUE + value_key(_indexed_part(value, path, rules))))
    if isinstance(value, list):
        if included:
            found.add((path, SIZE + order_key(len(value))))
        for index, item in enumerate(value):
            below = (*path, str(index))
            if included:
                found.add((path, ELEMENT + value_key(_indexed_part(item, below, rules))))
            _add(item, below, rules, found)
    elif isinstance(value, dict) and extension_of(value) is None:
        for name, item in value.items():
            _add(item, (*path, name), rules, found)


def _indexed_part(value: JsonValue, path: Path, rules: Indexing) -> JsonValue:
    """Return a value without the members that are not indexed."""
    if not isinstance(value, dict | list) or extension_of(value) is not None:
        return value
    if isinstance(value, list):
        return [_indexed_part(item, (*path, str(at)), rules) for at, item in enumerate(value)]
    return {
        name: _indexed_part(item, (*path, name), rules) for name, item in value.items() if rules.includes((*path, name))
    }
