"""Projections: which fields of a document to return."""

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonObject, JsonValue, json_type
from services.documents.paths import Path, format_path, parse_path
from services.runtime.errors import DataApiError

#: Fields that go with inclusion and exclusion alike, and do not decide which it is.
_SPECIAL = ("_id", "$vector", "$vectorize", "$lexical")


def parse_projection(clause: JsonValue, present: bool) -> pb.Projection:
    """Return the projection of a command; the default one where it has none.

    The default returns every field but `$vector`, `$vectorize` and `$lexical`. A projection of special fields and
    slices alone is an exclusion.

    Raises `UNSUPPORTED_PROJECTION_DEFINITION` for what is no object, else `UNSUPPORTED_PROJECTION_PARAM`.
    """
    if not present:
        return pb.Projection(kind=pb.PROJECTION_KIND_EXCLUDE)
    if not isinstance(clause, dict):
        raise DataApiError("UNSUPPORTED_PROJECTION_DEFINITION", type=json_type(clause))
    if "*" in clause:
        return _star(clause)
    parser = _Parser()
    parser.read(clause)
    return parser.message()


def _star(clause: JsonObject) -> pb.Projection:
    if len(clause) > 1:
        raise _invalid("'*' must be the only member")
    if _included(clause["*"], ("*",)):
        return pb.Projection(
            kind=pb.PROJECTION_KIND_EXCLUDE, include_vector=True, include_vectorize=True, include_lexical=True
        )
    return pb.Projection(kind=pb.PROJECTION_KIND_INCLUDE, exclude_id=True)


@dataclass(slots=True)
class _Parser:
    """What was read of a projection so far."""

    special: dict[str, bool] = field(default_factory=dict)
    marks: list[tuple[Path, bool]] = field(default_factory=list)
    slices: list[tuple[Path, pb.Slice]] = field(default_factory=list)

    def read(self, clause: JsonObject) -> None:
        # Not by recursion: requests may be nested deeper than Python's stack.
        pending: list[tuple[Path, JsonObject]] = [((), clause)]
        while pending:
            above, members = pending.pop()
            for name, value in members.items():
                if not above and name in _SPECIAL:
                    self.special[name] = _included(value, (name,))
                    continue
                path = (*above, *_path(name))
                if not isinstance(value, dict):
                    self.marks.append((path, _included(value, path)))
                elif "$slice" in value:
                    if len(value) > 1:
                        raise _invalid(f"`$slice` of '{format_path(path)}' cannot be combined with other members")
                    self.slices.append((path, _slice(value["$slice"], path)))
                elif not value:
                    raise _invalid(f"'{format_path(path)}' has an empty object")
                else:
                    pending.append((path, value))

    def message(self) -> pb.Projection:
        """Return the projection. Refuses paths that overlap, and inclusions beside exclusions."""
        marked = (path for path, _ in self.marks)
        sliced = (path for path, _ in self.slices)
        # In sorted order the paths below a path follow it at once.
        for path, other in pairwise(sorted((*marked, *sliced))):
            if other[: len(path)] == path:
                raise _invalid(f"the paths '{format_path(path)}' and '{format_path(other)}' overlap")
        kinds = {included for _, included in self.marks}
        if len(kinds) > 1:
            raise _invalid("fields to include and fields to exclude cannot be mixed")
        return pb.Projection(
            kind=pb.PROJECTION_KIND_INCLUDE if True in kinds else pb.PROJECTION_KIND_EXCLUDE,
            paths=[pb.Path(segments=path) for path, _ in self.marks],
            slices=[part for _, part in self.slices],
            exclude_id=not self.special.get("_id", True),
            include_vector=self.special.get("$vector", False),
            include_vectorize=self.special.get("$vectorize", False),
            include_lexical=self.special.get("$lexical", False),
        )


def _path(name: str) -> Path:
    if name.startswith("$"):
        raise _invalid(f"'{name}' cannot be projected")
    if name == "*":
        raise _invalid("'*' can only stand alone at the root")
    try:
        return parse_path(name)
    except ValueError as problem:
        raise _invalid(str(problem)) from None


def _included(value: JsonValue, path: Path) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return value != 0
    raise _invalid(f"'{format_path(path)}' must be a number or a boolean, found {json_type(value)}")


def _slice(value: JsonValue, path: Path) -> pb.Slice:
    """Return a slice: `n` first elements, `-n` last ones, or `[skip, count]`."""
    start, count = 0, value
    if isinstance(value, list):
        if len(value) != 2:
            raise _invalid(f"`$slice` of '{format_path(path)}' takes a number, or an array of two")
        skip, count = value
        start = _integer(skip, path)
        if _integer(count, path) < 0:
            raise _invalid(f"the count of `$slice` of '{format_path(path)}' must not be negative")
    number = _integer(count, path)
    if number < 0:
        start, number = number, -number
    return pb.Slice(path=pb.Path(segments=path), start=start, count=number)


def _integer(value: JsonValue, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 31:
        raise _invalid(f"`$slice` of '{format_path(path)}' takes integers")
    return value


def _invalid(problem: str) -> DataApiError:
    return DataApiError("UNSUPPORTED_PROJECTION_PARAM", problem=problem)
