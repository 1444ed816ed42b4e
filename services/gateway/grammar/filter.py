"""Filters: the clause of a command, checked, as the store's contract has it.

`$not` is pushed down to the conditions here, because it is not plain complement: the negation of `$gt` is `$lte`,
which a document without the field does not match either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonObject, JsonValue, encode, json_type, measure
from services.documents.indexing import EVERYTHING
from services.documents.paths import ID, Path, format_path, parse_path
from services.documents.rules import check_id
from services.documents.values import Timestamp, extension_of, is_scalar, scalar_of
from services.gateway.collection import Collection
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError

SPECIAL_PATHS = ("$vector", "$vectorize", "$lexical")
_OPERATORS = ("$all", "$eq", "$exists", "$gt", "$gte", "$in", "$lt", "$lte", "$match", "$ne", "$nin", "$size")
_BOUNDS = {"$gt": "greater_than", "$gte": "at_least", "$lt": "less_than", "$lte": "at_most"}
#: What operators become inside `$not`; of the others the store takes the complement.
_NEGATIONS = {
    "$eq": "$ne",
    "$ne": "$eq",
    "$in": "$nin",
    "$nin": "$in",
    "$gt": "$lte",
    "$gte": "$lt",
    "$lt": "$gte",
    "$lte": "$gt",
}
#: protobuf refuses messages nested over 100 deep, and one clause inside another takes up to four levels.
_MAX_LEVELS = 20


def parse_filter(clause: JsonValue, collection: Collection, limits: Limits) -> pb.Filter | None:
    """Return the filter of a command; None where it has no condition and so matches everything.

    Raises `DataApiError` with the `FILTER_*` codes, `SHRED_BAD_EJSON_VALUE` and `SHRED_BAD_DOCID_*` for operands,
    `LEXICAL_NOT_ENABLED_FOR_COLLECTION`.
    """
    if clause is None:
        return None
    parser = _Parser(collection, limits)
    parsed = parser.clause(clause, _Scope())
    if parser.conditions > limits.filter_conditions:
        raise DataApiError(
            "FILTER_FIELDS_LIMIT_VIOLATION", fieldCount=parser.conditions, maxFieldCount=limits.filter_conditions
        )
    return parsed


def is_explicitly_empty(clause: JsonValue) -> bool:
    """Tell whether a command plainly asks for everything: no filter, null or `{}`."""
    return clause is None or clause == {}


def equality_seed(clause: JsonValue) -> JsonObject:
    """Return the document that an upsert starts from: the equalities at the top level of its filter.

    An `_id` out of a set of one is an equality too.

    The filter must be one that `parse_filter` takes.
    """
    seed: JsonObject = {}
    for name, value in clause.items() if isinstance(clause, dict) else ():
        if name.startswith("$") or value == {}:
            continue
        if not isinstance(value, dict) or not _is_operators(value):
            _plant(seed, parse_path(name), value)
        elif "$eq" in value:
            _plant(seed, parse_path(name), value["$eq"])
        elif name == "_id" and isinstance(only := value.get("$in"), list) and len(only) == 1:
            seed["_id"] = only[0]
    return seed


def _plant(seed: JsonObject, path: Path, value: JsonValue) -> None:
    parent = seed
    for segment in path[:-1]:
        below = parent.get(segment, {})
        if not isinstance(below, dict) or extension_of(below) is not None:
            return
        # An object of the clause itself may be there: it is not to be changed.
        parent[segment] = below = dict(below)
        parent = below
    parent[path[-1]] = value


def _invalid(problem: str) -> DataApiError:
    return DataApiError("FILTER_INVALID_EXPRESSION", problem=problem)


def _is_operators(value: JsonObject) -> bool:
    """Tell whether an object holds operators: a member that starts with `$` and no extended JSON."""
    return any(name.startswith("$") for name in value) and extension_of(value) is None


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where a clause stands: in an odd number of `$not`, directly in an `$or`, and how deep."""

    negated: bool = False
    in_or: bool = False
    level: int = 1

    def below(self, *, in_or: bool = False) -> "_Scope":
        return replace(self, in_or=in_or, level=self.level + 1)

    def opposite(self) -> "_Scope":
        return replace(self, negated=not self.negated, in_or=False, level=self.level + 1)


@dataclass(frozen=True, slots=True)
class _Operand:
    """Where an operand stands: its path and operator; `implicit` where no operator was written."""

    path: Path
    operator: str
    implicit: bool = False


class _Parser:
    """Parses one filter, counting its conditions."""

    def __init__(self, collection: Collection, limits: Limits) -> None:
        self._collection = collection
        self._limits = limits
        self._indexing = collection.indexing
        self._has_id = False
        self.conditions = 0

    # --- structure ---

    def clause(self, clause: JsonValue, scope: _Scope) -> pb.Filter | None:
        """Return the filter of an object of members; None where it has no condition."""
        if not isinstance(clause, dict):
            problem = f"a filter is an object, found {json_type(clause)}"
            raise DataApiError("FILTER_UNSUPPORTED_DATA_TYPE", problem=problem)
        if scope.level > _MAX_LEVELS:
            raise _invalid(f"its clauses are nested over {_MAX_LEVELS} levels deep")
        parts = [self._member(name, value, scope) for name, value in clause.items()]
        return _combine(parts, any_of=scope.negated)

    def _member(self, name: str, value: JsonValue, scope: _Scope) -> pb.Filter | None:
        if name in ("$and", "$or") and isinstance(value, list):
            branches = [self._branch(item, scope.below(in_or=name == "$or")) for item in value]
            return _combine(branches, any_of=(name == "$or") != scope.negated)
        if name == "$not":
            if not isinstance(value, dict):
                raise _invalid(f"`$not` takes an object, found {json_type(value)}")
            return self.clause(value, scope.opposite())
        return self._path_member(name, value, scope)

    def _branch(self, item: JsonValue, scope: _Scope) -> pb.Filter | None:
        if isinstance(item, list):
            raise DataApiError("FILTER_UNSUPPORTED_DATA_TYPE", problem="a filter is an object, found Array")
        if not isinstance(item, dict):
            raise _invalid(f"`$and` and `$or` take filters, found {json_type(item)}")
        return self.clause(item, scope)

    def _path_member(self, name: str, value: JsonValue, scope: _Scope) -> pb.Filter | None:
        if name.startswith("$") and name not in SPECIAL_PATHS:
            raise _invalid(f"'{name}' cannot stand where a path is expected")
        try:
            path = parse_path(name)
        except ValueError as problem:
            raise _invalid(str(problem)) from None
        if isinstance(value, list):
            raise _invalid(f"the array given for '{name}' needs an operator: write {{\"$eq\": [...]}}")
        if value == {}:
            return None
        implicit = not isinstance(value, dict) or not _is_operators(value)
        operations: Mapping[str, JsonValue] = {"$eq": value} if implicit else value  # type: ignore[assignment]
        parts: list[pb.Filter | None] = []
        for operator, operand in operations.items():
            if operator not in _OPERATORS:
                known = ", ".join(_OPERATORS)
                raise DataApiError("FILTER_UNSUPPORTED_OPERATOR", operator=operator, known=known)
            self.conditions += 1
            parts.append(self._condition(path, operator, operand, scope, implicit=implicit))
        return _combine(parts, any_of=scope.negated)

    # --- conditions ---

    def _condition(self, path: Path, operator: str, operand: JsonValue, scope: _Scope, *, implicit: bool) -> pb.Filter:
        if len(path) == 1 and path[0] in SPECIAL_PATHS:
            return self._special(path[0], operator, operand, scope)
        if operator == "$match":
            raise _invalid(f"`$match` is for `$lexical` alone, not for '{format_path(path)}'")
        complement = scope.negated and operator not in _NEGATIONS
        if scope.negated:
            operator = _NEGATIONS.get(operator, operator)
        if path == ID:
            self._check_id_condition(operator, operand, scope)
        elif not self._indexing.includes(path):
            raise DataApiError("FILTER_PATH_UNINDEXED", path=format_path(path))
        node = _node(path, self._test(_Operand(path, operator, implicit), operand))
        return _negated(node, complement or operator in ("$ne", "$nin"))

    def _test(self, place: _Operand, operand: JsonValue) -> pb.Condition:
        """Return the test of a condition; for `$ne` and `$nin` the one that must fail."""
        if place.operator in _BOUNDS:
            return pb.Condition(range=pb.Range(**{_BOUNDS[place.operator]: self._bound(place, operand)}))
        return _TESTS[place.operator](self, place, operand)

    def _equals(self, place: _Operand, operand: JsonValue) -> pb.Condition:
        return pb.Condition(equals=self._value(place, operand))

    def _in(self, place: _Operand, operand: JsonValue) -> pb.Condition:
        if not isinstance(operand, list):
            raise _invalid(f"`$in` and `$nin` take an array, found {json_type(operand)}")
        if len(operand) > self._limits.in_values:
            raise _invalid(f"`$in` and `$nin` take up to {self._limits.in_values} values, found {len(operand)}")
        return pb.Condition(**{"in": pb.ValueList(values=[self._value(place, item) for item in operand])})  # type: ignore[arg-type]

    def _exists(self, place: _Operand, operand: JsonValue) -> pb.Condition:
        if not isinstance(operand, bool):
            raise _invalid(f"`$exists` takes true or false, found {json_type(operand)}")
        return pb.Condition(exists=operand)

    def _all(self, place: _Operand, operand: JsonValue) -> pb.Condition:
        if not isinstance(operand, list) or not operand:
            raise _invalid("`$all` takes an array of at least one value")
        return pb.Condition(contains_all=pb.ValueList(values=[self._value(place, item) for item in operand]))

    def _size(self, place: _Operand, operand: JsonValue) -> pb.Condition:
        if isinstance(operand, bool) or not isinstance(operand, int | Decimal):
            raise _invalid(f"`$size` takes a number, found {json_type(operand)}")
        # The bounds come first: an integer of 1e999999 would be long in the making.
        if not 0 <= operand < 1 << 32 or operand != int(operand):
            raise _invalid(f"`$size` takes an integer from 0 to {(1 << 32) - 1}, found {operand}")
        return pb.Condition(size=int(operand))

    def _bound(self, place: _Operand, operand: JsonValue) -> pb.Value:
        if operand is None or not is_scalar(operand) or extension_of(operand) == "$binary":
            raise _invalid(f"{place.operator} takes a string, a number, a boolean or a date, found {_named(operand)}")
        if place.path == ID:
            check_id(operand)
        return self._value(place, operand)

    def _special(self, name: str, operator: str, operand: JsonValue, scope: _Scope) -> pb.Filter:
        if name == "$lexical" and not self._collection.options.lexical.enabled:
            raise DataApiError(
                "LEXICAL_NOT_ENABLED_FOR_COLLECTION",
                keyspace=self._collection.keyspace,
                collection=self._collection.name,
            )
        if self._indexing.deny_all:
            raise DataApiError("FILTER_PATH_UNINDEXED", path=name)
        if name == "$lexical" and operator == "$match":
            return self._matches_text(operand, scope)
        if name == "$lexical" or operator != "$exists":
            allowed = "`$match`" if name == "$lexical" else "`$exists`"
            raise _invalid(f"`{name}` can only be filtered by {allowed}, not by {operator}")
        return _negated(_node((name,), self._exists(_Operand((name,), operator), operand)), scope.negated)

    def _matches_text(self, operand: JsonValue, scope: _Scope) -> pb.Filter:
        if not isinstance(operand, str):
            raise _invalid(f"`$match` takes a string, found {json_type(operand)}")
        if scope.negated:
            raise _invalid("`$match` cannot be negated")
        return _node(("$lexical",), pb.Condition(matches_text=operand))

    # --- ids ---

    def _check_id_condition(self, operator: str, operand: JsonValue, scope: _Scope) -> None:
        if scope.in_or:
            raise _invalid("`_id` cannot be used in `$or`")
        if self._has_id:
            raise DataApiError("FILTER_MULTIPLE_ID_FILTER")
        self._has_id = True
        if operator not in ("$eq", "$in") and not self._indexing.includes(ID):
            raise DataApiError("FILTER_ID_NOT_INDEXED", operator=operator)
        identifiers: list[JsonValue] = []
        if operator in ("$eq", "$ne"):
            identifiers = [operand]
        elif operator in ("$in", "$nin") and isinstance(operand, list):
            identifiers = operand
        for identifier in identifiers:
            check_id(identifier)
            plain = isinstance(identifier, str | int | Decimal) and not isinstance(identifier, bool)
            if operator in ("$ne", "$nin") and not plain:
                problem = f"{operator} on `_id` takes strings and numbers, found {_named(identifier)}"
                raise DataApiError("FILTER_UNSUPPORTED_DATA_TYPE", problem=problem)

    # --- operands ---

    def _value(self, place: _Operand, value: JsonValue) -> pb.Value:
        if is_scalar(value):
            return _scalar_message(place, value)
        self._check_whole(place, value)
        return pb.Value(composite=encode(value))

    def _check_whole(self, place: _Operand, value: JsonValue) -> None:
        """Refuse an array or object to compare with that holds an operator, or a member outside the index."""
        deepest, depth = self._limits.document.max_depth, measure(value).depth
        if deepest is not None and depth > deepest:
            raise _invalid(f"a value to compare with is nested {depth} levels deep; documents have up to {deepest}")
        everything = self._indexing is EVERYTHING
        pending: list[tuple[Path, JsonValue]] = [(place.path, value)]
        while pending:
            path, current = pending.pop()
            if isinstance(current, list):
                pending.extend((path, item) for item in current)
            elif extension_of(current) is not None:
                _scalar_message(replace(place, path=path), current)
            elif isinstance(current, dict):
                for name, item in current.items():
                    if name.startswith("$"):
                        raise _invalid(f"the operator '{name}' cannot stand inside an object that is compared whole")
                    below = (*path, name)
                    if not everything and not self._indexing.includes(below):
                        raise DataApiError("FILTER_PATH_UNINDEXED", path=format_path(below))
                    pending.append((below, item))


_TESTS: Mapping[str, Callable[[_Parser, _Operand, JsonValue], pb.Condition]] = {
    "$eq": _Parser._equals,
    "$ne": _Parser._equals,
    "$in": _Parser._in,
    "$nin": _Parser._in,
    "$exists": _Parser._exists,
    "$all": _Parser._all,
    "$size": _Parser._size,
}


def _scalar_message(place: _Operand, value: JsonValue) -> pb.Value:
    try:
        scalar = scalar_of(value)
    except ValueError:
        raise _bad_extension(place, value) from None
    if scalar is None:
        return pb.Value(null=True)
    if isinstance(scalar, bool):
        return pb.Value(boolean=scalar)
    if isinstance(scalar, int | Decimal):
        return pb.Value(number=str(scalar))
    if isinstance(scalar, Timestamp):
        if not -(1 << 63) <= scalar.millis < 1 << 63:
            raise _invalid(f"the date {scalar.millis} is out of the range of 64-bit milliseconds")
        return pb.Value(timestamp_millis=scalar.millis)
    return pb.Value(text=scalar)


def _bad_extension(place: _Operand, value: JsonValue) -> DataApiError:
    name = extension_of(value)
    if name == "$date" and not place.implicit:
        return _invalid("`$date` takes an integer, milliseconds since 1970")
    shown = encode(value).decode()[:100]
    return DataApiError("SHRED_BAD_EJSON_VALUE", path=f"'{format_path(place.path)}'", problem=f"it is {shown}")


def _named(value: JsonValue) -> str:
    return extension_of(value) or json_type(value)


def _node(path: Path, test: pb.Condition) -> pb.Filter:
    test.path.segments.extend(path)
    return pb.Filter(condition=test)


def _negated(filter_: pb.Filter, negated: bool) -> pb.Filter:
    return pb.Filter(negated=filter_) if negated else filter_


def _combine(parts: list[pb.Filter | None], *, any_of: bool) -> pb.Filter | None:
    """Join filters, leaving out what has no condition."""
    present = [part for part in parts if part is not None]
    if len(present) < 2:
        return present[0] if present else None
    joined = pb.FilterList(filters=present)
    return pb.Filter(any_of=joined) if any_of else pb.Filter(all_of=joined)
