"""What part of a document to return."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.documents.codec import JsonObject, JsonValue, decode_object, encode
from services.documents.paths import Path
from services.documents.values import extension_of
from services.store.records import Found, Record


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of an array: `count` elements from `start`, which counts from the end when negative."""

    start: int
    count: int

    def of(self, value: JsonValue) -> JsonValue:
        """Return the part of an array; a value that is no array as it is."""
        if not isinstance(value, list):
            return value
        start = self.start if self.start >= 0 else max(0, len(value) + self.start)
        return value[start : start + self.count]


@dataclass(slots=True)
class _Node:
    """A segment of the projection's paths: marked itself, or with segments below it."""

    marked: bool = False
    part: Slice | None = None
    below: "dict[str, _Node]" = field(default_factory=dict)


class Projection:
    """Which fields to return: only the paths (`include`), or all but them; and parts of arrays."""

    def __init__(
        self,
        *,
        include: bool = False,
        paths: tuple[Path, ...] = (),
        slices: Mapping[Path, Slice] | None = None,
        exclude_id: bool = False,
        include_vector: bool = False,
        include_vectorize: bool = False,
        include_lexical: bool = False,
    ) -> None:
        self._include = include
        self._exclude_id = exclude_id
        self._vector = include_vector
        self._vectorize = include_vectorize
        self._lexical = include_lexical
        self._root = _Node()
        for path in paths:
            self._reach(path).marked = True
        for path, part in (slices or {}).items():
            self._reach(path).part = part

    @property
    def shows_vector(self) -> bool:
        """Tell whether `$vector` is returned."""
        return self._vector

    def apply(self, found: Found) -> Found:
        """Return what is to be returned of a document; the stored bytes themselves where all of it is."""
        record = found.record
        json = self._json(record.json)
        vector = record.vector if self._vector else None
        vectorize = record.vectorize if self._vectorize else None
        lexical = record.lexical if self._lexical else None
        if json is record.json and (vector, vectorize, lexical) == (record.vector, record.vectorize, record.lexical):
            return found
        return Found(Record(json, vector, vectorize, lexical), found.similarity)

    def _json(self, json: bytes) -> bytes:
        if not self._include and not self._exclude_id and not self._root.below:
            return json
        document = decode_object(json)
        identifier = document.pop("_id", None)
        projected = self._object(document, self._root)
        if not self._exclude_id:
            projected = {"_id": identifier, **projected}
        return encode(projected)

    def _object(self, value: JsonObject, node: _Node) -> JsonObject:
        result: JsonObject = {}
        for name, item in value.items():
            below = node.below.get(name)
            if below is None:
                if not self._include:
                    result[name] = item
            elif below.part is not None:
                result[name] = below.part.of(item)
            elif not below.marked:
                result[name] = self._value(item, below)
            elif self._include:
                result[name] = item
        return result

    def _value(self, value: JsonValue, node: _Node) -> JsonValue:
        """Return a value on the way to paths below it. Arrays are transparent; scalars stay."""
        if isinstance(value, list):
            return [self._value(item, node) for item in value]
        if isinstance(value, dict) and extension_of(value) is None:
            return self._object(value, node)
        return value

    def _reach(self, path: Path) -> _Node:
        node = self._root
        for segment in path:
            node = node.below.setdefault(segment, _Node())
        return node


WHOLE = Projection()
