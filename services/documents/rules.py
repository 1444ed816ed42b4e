"""The rules a document keeps: names, extended JSON, ids and limits. Each breach has its code."""

import sys
from dataclasses import dataclass

from services.documents.codec import JsonObject, JsonValue, encode, json_type
from services.documents.indexing import Indexing
from services.documents.paths import Path, format_path
from services.documents.values import EXTENSIONS, extension_of, id_key, is_object_id, is_uuid
from services.runtime.errors import DataApiError

#: Instants are 64-bit integers everywhere: in the contracts, in the index, and in the clients.
MAX_DATE_MILLIS = (1 << 63) - 1
_SHOWN_CHARACTERS = 100
_CONTAINERS = (dict, list)


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """Limits on one document, with the reference's defaults. None means no limit.

    The first three hold for the whole document, the others for its indexed part. `max_path_characters` counts
    names joined by dots, without array indexes. Depth counts objects and arrays, the document itself being 1.
    """

    max_characters: int | None = 4_000_000
    max_depth: int | None = 16
    max_path_characters: int | None = 1000
    max_object_members: int | None = 1000
    max_members: int | None = 2000
    max_array_elements: int | None = 1000
    max_string_bytes: int | None = 8000


def check_id(identifier: JsonValue) -> None:
    """Refuse a value that cannot be an `_id`.

    Raises `DataApiError` `SHRED_BAD_DOCID_VALUE` for the empty string, `SHRED_BAD_DOCID_TYPE` for the rest.
    """
    # Nearly all ids are texts or integers, and each of those is one.
    if identifier and type(identifier) in (str, int):
        return
    if identifier == "":
        raise DataApiError("SHRED_BAD_DOCID_VALUE", problem="it is the empty string")
    try:
        id_key(identifier)
    except ValueError:
        found = extension_of(identifier) or json_type(identifier)
        shown = encode(identifier).decode()[:_SHOWN_CHARACTERS]
        raise DataApiError("SHRED_BAD_DOCID_TYPE", problem=f"found {found}, {shown}") from None


def check_document(document: JsonObject, size: int, limits: DocumentLimits, indexing: Indexing) -> None:
    """Refuse a document that breaks a rule; `size` is the characters of its JSON.

    `document` has no `$vector`, `$vectorize` or `$lexical`: those have rules of their own.

    Raises `DataApiError`: `SHRED_BAD_FIELD_NAME`, `SHRED_BAD_EJSON_VALUE`, `SHRED_BAD_DOCID_*` or
    `SHRED_DOC_LIMIT_VIOLATION`.
    """
    if limits.max_characters is not None and size > limits.max_characters:
        raise _violation(f"the document has {size} characters, over the maximum of {limits.max_characters}")
    if "_id" in document:
        check_id(document["_id"])
    if not _Glance(limits).object(document, 0, 1):
        _Walk(limits, indexing).object(document, (), indexed=True, characters=0, depth=1)


def _violation(problem: str) -> DataApiError:
    return DataApiError("SHRED_DOC_LIMIT_VIOLATION", problem=problem)


class _Glance:
    """A look at a document that only tells whether it plainly keeps every rule, wherever it is indexed.

    It is several times as fast as `_Walk`, which decides what is not plain and says what is wrong.
    """

    __slots__ = ("array_elements", "depth", "members_left", "object_members", "path_characters", "string_characters")

    def __init__(self, limits: DocumentLimits) -> None:
        self.depth = _bound(limits.max_depth)
        self.path_characters = _bound(limits.max_path_characters)
        self.object_members = _bound(limits.max_object_members)
        self.members_left = _bound(limits.max_members)
        self.array_elements = _bound(limits.max_array_elements)
        # A character has at most four bytes.
        self.string_characters = _bound(limits.max_string_bytes) // 4

    def object(self, value: JsonObject, characters: int, depth: int) -> bool:
        self.members_left -= len(value)
        if depth > self.depth or len(value) > self.object_members or self.members_left < 0:
            return False
        for name, item in value.items():
            if not name or name[0] == "$":
                return False
            length = characters + len(name) + 1
            if length > self.path_characters:
                return False
            if isinstance(item, str):
                if len(item) > self.string_characters:
                    return False
            elif isinstance(item, _CONTAINERS) and not self._container(item, length, depth + 1):
                return False
        return True

    def _container(self, value: JsonObject | list[JsonValue], characters: int, depth: int) -> bool:
        if isinstance(value, dict):
            return self.object(value, characters, depth) if extension_of(value) is None else _is_plain_extension(value)
        if depth > self.depth or len(value) > self.array_elements:
            return False
        for item in value:
            if isinstance(item, str):
                if len(item) > self.string_characters:
                    return False
            elif isinstance(item, _CONTAINERS) and not self._container(item, characters, depth + 1):
                return False
        return True


def _bound(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit


def _is_plain_extension(value: JsonObject) -> bool:
    ((name, content),) = value.items()
    if name == "$date":
        return type(content) is int and abs(content) <= MAX_DATE_MILLIS
    if name == "$binary":
        return isinstance(content, str)
    return is_uuid(content) if name == "$uuid" else is_object_id(content)


class _Walk:
    """One walk over a document, counting its members on the way."""

    def __init__(self, limits: DocumentLimits, indexing: Indexing) -> None:
        self.limits = limits
        self.indexing = indexing
        self.members = 0

    def value(self, value: JsonValue, path: Path, indexed: bool, characters: int, depth: int) -> None:
        if isinstance(value, str):
            if indexed:
                self._string(value, path)
        elif isinstance(value, dict):
            name = extension_of(value)
            if name is not None:
                _check_extension(name, value[name], path, indexed)
            elif len(value) == 1 and next(iter(value)).startswith("$"):
                unknown = next(iter(value))
                raise _bad_name(unknown, path, f"it is not one of {', '.join(sorted(EXTENSIONS))}")
            else:
                self.object(value, path, indexed, characters, depth + 1)
        elif isinstance(value, list):
            self._array(value, path, indexed, characters, depth + 1)

    def object(self, value: JsonObject, path: Path, indexed: bool, characters: int, depth: int) -> None:
        self._depth(depth)
        counted = 0
        for name, item in value.items():
            if not name:
                raise _bad_name(name, path, "it is empty")
            if name.startswith("$"):
                raise _bad_name(name, path, "it starts with '$'")
            below = (*path, name)
            length = characters + len(name) + (1 if characters else 0)
            limit = self.limits.max_path_characters
            if limit is not None and length > limit:
                raise _violation(f"the path of a field has {length} characters, over the maximum of {limit}")
            item_indexed = self.indexing.includes(below)
            counted += item_indexed
            self.value(item, below, item_indexed, length, depth)
        limit = self.limits.max_object_members
        if limit is not None and counted > limit:
            raise _violation(f"an object has {counted} members (in {_place(path)}), over the maximum of {limit}")
        self._members(counted)

    def _array(self, value: list[JsonValue], path: Path, indexed: bool, characters: int, depth: int) -> None:
        self._depth(depth)
        limit = self.limits.max_array_elements
        if indexed and limit is not None and len(value) > limit:
            raise _violation(f"the array {_place(path)} has {len(value)} elements, over the maximum of {limit}")
        for position, item in enumerate(value):
            self.value(item, (*path, str(position)), indexed, characters, depth)

    def _string(self, value: str, path: Path) -> None:
        limit = self.limits.max_string_bytes
        # A character has at most four bytes: only long texts need encoding to be measured.
        if limit is None or len(value) * 4 <= limit:
            return
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > limit:
            raise _violation(f"the string {_place(path)} has {size} bytes, over the maximum of {limit}")

    def _depth(self, depth: int) -> None:
        limit = self.limits.max_depth
        if limit is not None and depth > limit:
            raise _violation(f"the document is nested {depth} levels deep, over the maximum of {limit}")

    def _members(self, count: int) -> None:
        self.members += count
        limit = self.limits.max_members
        if limit is not None and self.members > limit:
            raise _violation(f"the document has {self.members} members, over the maximum of {limit}")


def _check_extension(name: str, content: JsonValue, path: Path, indexed: bool) -> None:
    if not isinstance(content, str | int) or isinstance(content, bool):
        raise DataApiError(
            "SHRED_BAD_EJSON_VALUE",
            path=_place(path),
            problem=f"{name} has a value of type {json_type(content)}",
        )
    if not indexed:
        return
    valid = {
        "$date": isinstance(content, int) and abs(content) <= MAX_DATE_MILLIS,
        "$uuid": is_uuid(content),
        "$objectId": is_object_id(content),
        "$binary": isinstance(content, str),
    }[name]
    if not valid:
        raise DataApiError(
            "SHRED_BAD_EJSON_VALUE",
            path=_place(path),
            problem=f"{name} has the value {str(content)[:_SHOWN_CHARACTERS]!r}",
        )


def _bad_name(name: str, path: Path, problem: str) -> DataApiError:
    return DataApiError("SHRED_BAD_FIELD_NAME", name=name, path=_place(path), problem=problem)


def _place(path: Path) -> str:
    return f"'{format_path(path)}'" if path else "the document"
