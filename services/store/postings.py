"""What the filter index holds of a document: one posting for every fact a filter can ask for.

A posting is a path and a key. The key's first byte says what kind of fact it is, the rest is the order key of a
scalar or the composite key of an array or object (`services.documents.values`).
"""

from services.documents.codec import JsonValue
from services.documents.indexing import EVERYTHING, Indexing
from services.documents.paths import ID, Path
from services.documents.values import composite_key, extension_of, order_key, scalar_of, value_key

#: The path has a value.
EXISTS = b"x"
#: The value at the path; scalars sort by the rest of the key.
VALUE = b"v"
#: An element of the array at the path.
ELEMENT = b"e"
#: The number of elements of the array at the path.
SIZE = b"s"

Posting = tuple[Path, bytes]


def postings_of(document: dict[str, JsonValue], indexing: Indexing) -> set[Posting]:
    """Return the postings of a document's indexed part. `_id` has none: it has an index of its own."""
    found: set[Posting] = set()
    for name, value in document.items():
        if (name,) != ID:
            _add(value, (name,), indexing, found)
    return found


def _add(value: JsonValue, path: Path, indexing: Indexing, found: set[Posting]) -> None:
    included = indexing is EVERYTHING or indexing.includes(path)
    if not included and not indexing.may_reach(path):
        return
    if included:
        found.add((path, EXISTS))
    if isinstance(value, list):
        if included:
            found.add((path, SIZE + order_key(len(value))))
            found.add((path, VALUE + composite_key(indexed_part(value, path, indexing))))
            found.update((path, ELEMENT + value_key(item)) for item in value)
        for index, item in enumerate(value):
            _add(item, (*path, str(index)), indexing, found)
    elif isinstance(value, dict) and extension_of(value) is None:
        if included:
            found.add((path, VALUE + composite_key(indexed_part(value, path, indexing))))
        for name, item in value.items():
            _add(item, (*path, name), indexing, found)
    elif included:
        found.add((path, VALUE + _scalar_key(value)))


def _scalar_key(value: JsonValue) -> bytes:
    try:
        return order_key(scalar_of(value))
    except ValueError:  # extended JSON with content that is not valid, which an unindexed path may hold
        return composite_key(value)


def indexed_part(value: JsonValue, path: Path, indexing: Indexing) -> JsonValue:
    """Return a value without the members that are not indexed."""
    if indexing is EVERYTHING or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [indexed_part(item, (*path, str(at)), indexing) for at, item in enumerate(value)]
    return {
        name: indexed_part(item, (*path, name), indexing)
        for name, item in value.items()
        if indexing.includes((*path, name))
    }
