"""Filters: the clause of a command, checked, as the store's contract has it.

`$not` is pushed down to the conditions here, because it is not plain complement: the negation of `$gt` is `$lte`,
which a document without the field does not match either.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonObject, JsonValue, encode, json_type
from services.documents.indexing import EVERYTHING
from services.documents.paths import ID, Path, format_path, parse_path
from services.documents.rules import check_id
from services.documents.values import Timestamp, extension_of, scalar_of
from services.gateway.collection import Collection
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError

SPECIAL_PATHS = ("$vector", "$vectorize", "$lexical")
_NEGATED_RANGES = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}
_BOUNDS = {"$gt": "greater_than", "$gte": "at_least", "$lt": "less_than", "$lte": "at_most"}
_OPERATORS = ("$all", "$eq", "$exists", "$gt", "$gte", "$in", "$lt", "$lte", "$match", "$ne", "$nin", "$size")


def parse_filter(clause: JsonValue, collection: Collection, limits: Limits) -> pb.Filter | None:
    """Return the filter of a command; None where it has no condition and so matches everything.

    Raises `DataApiError` with the `FILTER_*` codes, `SHRED_BAD_EJSON_VALUE` and `SHRED_BAD_DOCID_*` for operands,
    `LEXICAL_NOT_ENABLED_FOR_COLLECTION`.
    """
    if clause is None:
        return None
    parser = _Parser(collection, limits)
    parsed = parser.clause(clause, negated=False)
    if parser.conditions > limits.filter_conditions:
        raise DataApiError(
            "FILTER_FIELDS_LIMIT_VIOLATION", fieldCount=parser.conditions, maxFieldCount=limits.filter_conditions
        )
    return parsed


def is_explicitly_empty(clause: JsonValue) -> bool:
    """Tell whether a command plainly asks for everything: no filter, null or `{}`."""
    return clause is None or clause == {}


def equality_seed(clause: JsonValue) -> JsonObject:
    """Return the document that an upsert starts from: the equalities at the top level of its filter."""
    seed: JsonObject = {}
    for name, value in clause.items() if isinstance(clause, dict) else ():
        if name.startswith("$"):
            continue
        if isinstance(value, dict) and _is_operators(value):
            if "$eq" not in value:
                continue
            value = value["$eq"]
        elif value == {}:
            continue
        _plant(seed, parse_path(name), value)
    return seed


def _plant(seed: JsonObject, path: Path, value: JsonValue) -> None:
    parent = seed
    for segment in path[:-1]:
        below = parent.setdefault(segment, {})
        if not isinstance(below, dict) or extension_of(below) is not None:
            return
        parent = below
    parent[path[-1]] = value


def _invalid(problem: str) -> DataApiError:
    return DataApiError("FILTER_INVALID_EXPRESSION", problem=problem)


def _is_operators(value: JsonObject) -> bool:
    """Tell whether an object holds operators: a member that starts with `$` and no extended JSON."""
    return any(name.startswith("$") for name in value) and extension_of(value) is None


class _Parser:
    """Parses one filter, counting its conditions."""

    def __init__(self, collection: Collection, limits: Limits) -> None:
        self._collection = collection
        self._limits = limits
        self._indexing = collection.indexing
        self._has_id = False
        self.conditions = 0

    # --- structure ---

    def clause(self, clause: JsonValue, *, negated: bool, in_or: bool = False) -> pb.Filter | None:
        """Return the filter of an object of members; None where it has no condition."""
        if not isinstance(clause, dict):
            raise DataApiError(
                "FILTER_UNSUPPORTED_DATA_TYPE", problem=f"a filter is an object, found {json_type(clause)}"
            )
        parts = [
            part
            for name, value in clause.items()
            if (part := self._member(name, value, negated=negated, in_or=in_or)) is not None
        ]
        return _combine(parts, any_of=negated)

    def _member(self, name: str, value: JsonValue, *, negated: bool, in_or: bool) -> pb.Filter | None:
        if name in ("$and", "$or") and isinstance(value, list):
            parts = [
                part for item in value if (part := self._branch(item, negated=negated, in_or=name == "$or")) is not None
            ]
            return _combine(parts, any_of=(name == "$or") != negated)
        if name == "$not":
            if not isinstance(value, dict):
                raise _invalid(f"`$not` takes an object, found {json_type(value)}")
            return self.clause(value, negated=not negated, in_or=in_or)
        return self._path_member(name, value, negated=negated, in_or=in_or)

    def _branch(self, item: JsonValue, *, negated: bool, in_or: bool) -> pb.Filter | None:
        if isinstance(item, list):
            raise DataApiError("FILTER_UNSUPPORTED_DATA_TYPE", problem="a filter is an object, found Array")
        if not isinstance(item, dict):
            raise _invalid(f"`$and` and `$or` take filters, found {json_type(item)}")
        return self.clause(item, negated=negated, in_or=in_or)

    def _path_member(self, name: str, value: JsonValue, *, negated: bool, in_or: bool) -> pb.Filter | None:
        if name.startswith("$") and name not in SPECIAL_PATHS:
            raise _invalid(f"'{name}' cannot stand where a path is expected")
        try:
            path = parse_path(name)
        except ValueError as problem:
            raise _invalid(str(problem)) from None
        if isinstance(value, list):
            raise _invalid(f"the array given for '{name}' needs an operator: write {{\"$eq\": [...]}}")
        if isinstance(value, dict) and not value:
            return None
        operations: Mapping[str, JsonValue] = {"$eq": value}
        implicit = True
        if isinstance(value, dict) and extension_of(value) is None and _is_operators(value):
            operations, implicit = value, False
        parts = []
        for operator, operand in operations.items():
            if operator not in _OPERATORS:
                known = ", ".join(_OPERATORS)
                raise DataApiError("FILTER_UNSUPPORTED_OPERATOR", operator=operator, known=known)
            self.conditions += 1
            parts.append(self._condition(path, operator, operand, negated=negated, in_or=in_or, implicit=implicit))
        return _combine(parts, any_of=negated)

    # --- conditions ---

    def _condition(
        self, path: Path, operator: str, operand: JsonValue, *, negated: bool, in_or: bool, implicit: bool
    ) -> pb.Filter:
        if path[0] in SPECIAL_PATHS and len(path) == 1:
            return self._special(path[0], operator, operand, negated=negated)
        if operator == "$match":
            raise _invalid(f"`$match` is for `$lexical` alone, not for '{format_path(path)}'")
        if path == ID:
            self._check_id_condition(operator, operand, in_or=in_or)
        else:
            self._check_indexed(path, operand if operator in ("$eq", "$ne") else None)
        if operator in _NEGATED_RANGES:
            operator = _NEGATED_RANGES[operator] if negated else operator
            bound = self._range_operand(path, operator, operand)
            return _node(path, range=pb.Range(**{_BOUNDS[operator]: bound}))
        build = self._builders()[operator]
        if operator in ("$ne", "$nin"):
            negated = not negated
        return _negated(build(path, operand, implicit), negated)

    def _builders(self) -> Mapping[str, Callable[[Path, JsonValue, bool], pb.Filter]]:
        return {
            "$eq": self._equals,
            "$ne": self._equals,
            "$in": self._in,
            "$nin": self._in,
            "$exists": self._exists,
            "$all": self._all,
            "$size": self._size,
        }

    def _equals(self, path: Path, operand: JsonValue, implicit: bool) -> pb.Filter:
        if implicit and isinstance(operand, dict):
            _check_plain(operand)
        return _node(path, equals=self._value(path, operand, implicit=implicit))

    def _in(self, path: Path, operand: JsonValue, implicit: bool) -> pb.Filter:
        if not isinstance(operand, list):
            raise _invalid(f"`$in` and `$nin` take an array, found {json_type(operand)}")
        if len(operand) > self._limits.in_values:
            raise _invalid(f"`$in` and `$nin` take up to {self._limits.in_values} values, found {len(operand)}")
        values = pb.ValueList(values=[self._value(path, item) for item in operand])
        return _node(path, **{"in": values})

    def _exists(self, path: Path, operand: JsonValue, implicit: bool) -> pb.Filter:
        if not isinstance(operand, bool):
            raise _invalid(f"`$exists` takes true or false, found {json_type(operand)}")
        return _node(path, exists=operand)

    def _all(self, path: Path, operand: JsonValue, implicit: bool) -> pb.Filter:
        if not isinstance(operand, list) or not operand:
            raise _invalid("`$all` takes an array of at least one value")
        return _node(path, contains_all=pb.ValueList(values=[self._value(path, item) for item in operand]))

    def _size(self, path: Path, operand: JsonValue, implicit: bool) -> pb.Filter:
        if isinstance(operand, bool) or not isinstance(operand, int | Decimal):
            raise _invalid(f"`$size` takes a number, found {json_type(operand)}")
        if operand != int(operand) or not 0 <= operand < 1 << 32:
            raise _invalid(f"`$size` takes an integer that is not negative, found {operand}")
        return _node(path, size=int(operand))

    def _range_operand(self, path: Path, operator: str, operand: JsonValue) -> pb.Value:
        if operand is None or isinstance(operand, list):
            raise _invalid(f"a range cannot be bounded by {json_type(operand)}")
        if isinstance(operand, dict) and extension_of(operand) not in ("$date", "$uuid", "$objectId"):
            raise _invalid("a range is bounded by a string, a number, a boolean or a date")
        return self._value(path, operand)

    def _special(self, name: str, operator: str, operand: JsonValue, *, negated: bool) -> pb.Filter:
        if self._indexing.deny_all:
            raise DataApiError("FILTER_PATH_UNINDEXED", path=name)
        if name == "$lexical" and operator == "$match":
            if not isinstance(operand, str):
                raise _invalid(f"`$match` takes a string, found {json_type(operand)}")
            if negated:
                raise _invalid("`$match` cannot be negated")
            if not self._collection.options.lexical.enabled:
                raise DataApiError(
                    "LEXICAL_NOT_ENABLED_FOR_COLLECTION",
                    keyspace=self._collection.keyspace,
                    collection=self._collection.name,
                )
            return _node((name,), matches_text=operand)
        if name == "$lexical" or operator != "$exists":
            allowed = "`$match`" if name == "$lexical" else "`$exists`"
            raise _invalid(f"`{name}` can only be filtered by {allowed}, not by {operator}")
        return _negated(self._exists((name,), operand, False), negated)

    # --- ids ---

    def _check_id_condition(self, operator: str, operand: JsonValue, *, in_or: bool) -> None:
        if in_or:
            raise _invalid("`_id` cannot be used in `$or`")
        if self._has_id:
            raise DataApiError("FILTER_MULTIPLE_ID_FILTER")
        self._has_id = True
        if not self._indexing.includes(ID) and operator not in ("$eq", "$in"):
            raise DataApiError("FILTER_ID_NOT_INDEXED", operator=operator)
        if operator in ("$eq", "$ne"):
            check_id(operand)
        if operator in ("$in", "$nin") and isinstance(operand, list):
            for item in operand:
                check_id(item)
        for value in operand if isinstance(operand, list) else [operand]:
            plain = isinstance(value, str | int | Decimal) and not isinstance(value, bool)
            if operator in ("$ne", "$nin") and not plain:
                raise DataApiError(
                    "FILTER_UNSUPPORTED_DATA_TYPE",
                    problem=f"{operator} on `_id` takes strings and numbers, found {json_type(value)}",
                )

    # --- operands ---

    def _value(self, path: Path, value: JsonValue, *, implicit: bool = False) -> pb.Value:
        if isinstance(value, bool):
            return pb.Value(boolean=value)
        if value is None:
            return pb.Value(null=True)
        if isinstance(value, int | Decimal):
            return pb.Value(number=str(value))
        if isinstance(value, str):
            return pb.Value(text=value)
        if isinstance(value, dict) and extension_of(value) is not None:
            return _extension(path, value, implicit=implicit)
        return pb.Value(composite=encode(value))

    def _check_indexed(self, path: Path, operand: JsonValue) -> None:
        """Refuse a path outside the index, and a whole object or array with a member outside it."""
        if self._indexing is EVERYTHING:
            return
        for place in (path, *_places(operand, path)):
            if not self._indexing.includes(place):
                raise DataApiError("FILTER_PATH_UNINDEXED", path=format_path(place))


def _places(value: JsonValue, path: Path) -> Iterator[Path]:
    if isinstance(value, dict) and extension_of(value) is None:
        for name, item in value.items():
            yield (*path, name)
            yield from _places(item, (*path, name))
    elif isinstance(value, list):
        for item in value:
            yield from _places(item, path)


def _extension(path: Path, value: JsonObject, *, implicit: bool) -> pb.Value:
    ((name, content),) = value.items()
    try:
        scalar = scalar_of(value)
    except ValueError:
        if name == "$date" and not implicit:
            raise _invalid("`$date` takes an integer, milliseconds since 1970") from None
        raise DataApiError(
            "SHRED_BAD_EJSON_VALUE",
            path=f"'{format_path(path)}'",
            problem=f"{name} has the value {encode(content).decode()[:100]}",
        ) from None
    if isinstance(scalar, Timestamp):
        return pb.Value(timestamp_millis=scalar.millis)
    return pb.Value(text=str(scalar))


def _check_plain(value: JsonValue) -> None:
    """Refuse an operator inside an object that is compared whole."""
    if isinstance(value, dict) and extension_of(value) is None:
        for name, item in value.items():
            if name.startswith("$"):
                raise _invalid(f"the operator '{name}' cannot stand inside an object that is compared whole")
            _check_plain(item)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item)


def _node(path: Path, **test: object) -> pb.Filter:
    return pb.Filter(condition=pb.Condition(path=pb.Path(segments=path), **test))  # type: ignore[arg-type]


def _negated(filter_: pb.Filter, negated: bool) -> pb.Filter:
    return pb.Filter(negated=filter_) if negated else filter_


def _combine(parts: list[pb.Filter], *, any_of: bool) -> pb.Filter | None:
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    joined = pb.FilterList(filters=parts)
    return pb.Filter(any_of=joined) if any_of else pb.Filter(all_of=joined)
