"""Updates: operators and paths, checked, as the store's contract has them.

What can be told without the document is refused here; what depends on it is refused by the store, inside the
transaction.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonObject, JsonValue, decode, encode, json_type
from services.documents.paths import ID, Path, format_path, parse_path
from services.documents.rules import check_id
from services.gateway.collection import Collection
from services.gateway.documents import is_blank, lexical_text
from services.gateway.grammar.vector import parse_document_vector
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError

_VECTOR, _VECTORIZE, _LEXICAL = "$vector", "$vectorize", "$lexical"
_PROTECTED = {
    _VECTOR: "UNSUPPORTED_UPDATE_OPERATOR_FOR_VECTOR",
    _VECTORIZE: "UNSUPPORTED_UPDATE_OPERATOR_FOR_VECTORIZE",
    _LEXICAL: "UNSUPPORTED_UPDATE_OPERATOR_FOR_LEXICAL",
}
_ASSIGNING = ("$set", "$setOnInsert", "$unset")
_CREATING = ("$set", "$setOnInsert", "$min", "$max", "$currentDate")


@dataclass(frozen=True, slots=True)
class UpdateClause:
    """An update: operations in the order in which they apply, and changes beside the document.

    `vectorize_text` is the text that has to be embedded if a document changes by it.
    """

    operations: tuple[pb.UpdateOperation, ...]
    specials: tuple[pb.SpecialAssignments, ...]
    vectorize_text: str | None


def check_update_shape(clause: JsonValue) -> None:
    """Refuse an update whose operators or their arguments cannot be right for any collection.

    Raises `UNSUPPORTED_UPDATE_DATA_TYPE` or `UNSUPPORTED_UPDATE_OPERATION`.
    """
    if not isinstance(clause, dict):
        raise DataApiError("UNSUPPORTED_UPDATE_DATA_TYPE", problem=f"it must be an object, found {json_type(clause)}")
    for operator, arguments in clause.items():
        if operator not in _BUILDERS:
            raise DataApiError("UNSUPPORTED_UPDATE_OPERATION", operator=operator, known=", ".join(sorted(_BUILDERS)))
        if not isinstance(arguments, dict):
            raise DataApiError(
                "UNSUPPORTED_UPDATE_DATA_TYPE",
                problem=f"{operator} takes an object, found {json_type(arguments)}",
            )


def parse_update(clause: JsonValue, collection: Collection, limits: Limits) -> UpdateClause:
    """Return the update of a command.

    Raises `DataApiError`: the `UNSUPPORTED_UPDATE_*` codes, `INVALID_USAGE_OF_VECTORIZE`,
    `INVALID_VECTORIZE_VALUE_TYPE`, and the codes of vectors and `$lexical`.
    """
    check_update_shape(clause)
    assert isinstance(clause, dict)
    operations: list[pb.UpdateOperation] = []
    special: dict[str, JsonObject] = {}
    paths: list[tuple[Path, str]] = []
    for operator, name, path, argument in _arguments(clause):
        _check_protected(operator, name, path)
        paths.append((path, operator))
        if name in _PROTECTED:
            special.setdefault(operator, {})[name] = argument
        else:
            operations.append(_BUILDERS[operator](operator, path, argument))
    _check_conflicts(paths)
    specials = tuple(_special(operator, given, collection, limits) for operator, given in special.items())
    merged = _merge(specials)
    texts = [decode(item.vectorize.text) for item in merged if item.WhichOneof("vector_change") == "vectorize"]
    return UpdateClause(tuple(operations), merged, str(texts[0]) if texts else None)


def _arguments(clause: JsonObject) -> Iterator[tuple[str, str, Path, JsonValue]]:
    """Yield operator, path and argument in the order of application: both alphabetically."""
    for operator in sorted(clause):
        arguments = clause[operator]
        assert isinstance(arguments, dict)
        for name in sorted(arguments):
            try:
                path = parse_path(name)
            except ValueError as problem:
                raise DataApiError("UNSUPPORTED_UPDATE_OPERATION_PATH", problem=problem) from None
            yield operator, name, path, arguments[name]


def _check_protected(operator: str, name: str, path: Path) -> None:
    if name.startswith("$") and operator in ("$inc", "$mul"):
        raise DataApiError("UNSUPPORTED_UPDATE_OPERATION_MODIFIER", problem=f"{operator} cannot change '{name}'")
    # A path below `_id` would change the id from inside: `_id.$uuid`.
    if path[0] == "_id" and (operator != "$setOnInsert" or len(path) > 1):
        raise DataApiError("UNSUPPORTED_UPDATE_OPERATOR_FOR_DOC_ID", operator=operator)
    if name in _PROTECTED:
        if operator not in _ASSIGNING:
            raise DataApiError(_PROTECTED[name], operator=operator)
    elif name.startswith("$") and operator in ("$push", "$addToSet"):
        raise _bad_parameter(f"{operator} cannot change '{name}'")
    elif name.startswith("$") and operator in _CREATING:
        raise DataApiError("SHRED_BAD_FIELD_NAME", name=name, path="the document", problem="it starts with '$'")


def _check_conflicts(paths: list[tuple[Path, str]]) -> None:
    """Refuse a path that is changed twice, by itself or by one above it."""
    ordered = sorted(paths)
    for (path, operator), (other, other_operator) in pairwise(ordered):
        if other[: len(path)] == path:
            raise _bad_parameter(
                f"{operator} of '{format_path(path)}' and {other_operator} of '{format_path(other)}' conflict; "
                "change each path once"
            )


# --- operations -------------------------------------------------------------


def _message(path: Path, **kind: object) -> pb.UpdateOperation:
    return pb.UpdateOperation(path=pb.Path(segments=path), **kind)  # type: ignore[arg-type]


def _json(kind: str) -> "_Builder":
    def build(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
        if path == ID:
            check_id(argument)
        return _message(path, **{kind: encode(argument)})

    return build


def _unset(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
    return _message(path, unset=True)


def _number(kind: str) -> "_Builder":
    def build(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
        if isinstance(argument, bool) or not isinstance(argument, int | Decimal):
            raise _bad_parameter(f"{operator} takes a number, found {json_type(argument)}")
        return _message(path, **{kind: str(argument)})

    return build


def _rename(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
    if not isinstance(argument, str):
        raise _bad_parameter(f"{operator} takes a path as a string, found {json_type(argument)}")
    try:
        target = parse_path(argument)
    except ValueError as problem:
        raise DataApiError("UNSUPPORTED_UPDATE_OPERATION_PATH", problem=problem) from None
    if target[: len(path)] == path:
        inward = f"{operator} of '{format_path(path)}' to '{argument}', which is itself or below it"
        raise DataApiError("UNSUPPORTED_UPDATE_OPERATION_PATH", problem=inward)
    _check_protected(operator, argument, target)
    if argument.startswith("$"):
        raise DataApiError("SHRED_BAD_FIELD_NAME", name=argument, path="the document", problem="it starts with '$'")
    return _message(path, rename_to=pb.Path(segments=target))


def _current_date(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
    if argument is not True and argument != {"$type": "date"}:
        raise _bad_parameter(f'{operator} takes true or {{"$type": "date"}}')
    return _message(path, current_date=True)


def _pop(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
    if isinstance(argument, bool) or not isinstance(argument, int | Decimal) or argument not in (1, -1):
        raise _bad_parameter(f"{operator} takes -1 (the first element) or 1 (the last one)")
    return _message(path, pop=int(argument))


def _push(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
    values, position = _each(operator, argument, ("$each", "$position"))
    return _message(path, push=pb.Push(values=map(encode, values), position=position))


def _add_to_set(operator: str, path: Path, argument: JsonValue) -> pb.UpdateOperation:
    values, _ = _each(operator, argument, ("$each",))
    return _message(path, add_to_set=pb.AddToSet(values=map(encode, values)))


def _each(operator: str, argument: JsonValue, modifiers: tuple[str, ...]) -> tuple[list[JsonValue], int | None]:
    """Return the values to put into an array, and where. An object with any `$` member is read as modifiers."""
    if not isinstance(argument, dict) or not any(name.startswith("$") for name in argument):
        return [argument], None
    for name in argument:
        if name not in modifiers:
            raise DataApiError(
                "UNSUPPORTED_UPDATE_OPERATION_MODIFIER",
                problem=f"{operator} has no modifier '{name}'; it has {', '.join(modifiers)}",
            )
    values, position = argument.get("$each"), argument.get("$position")
    if not isinstance(values, list):
        raise _bad_parameter(f"{operator} needs `$each` with an array where it has modifiers")
    if "$position" in argument and (isinstance(position, bool) or not isinstance(position, int)):
        raise _bad_parameter(f"`$position` takes an integer, found {json_type(position)}")
    limit = (1 << 31) - 1
    return values, None if position is None else max(-limit, min(limit, int(position)))  # type: ignore[arg-type]


def _bad_parameter(problem: str) -> DataApiError:
    return DataApiError("UNSUPPORTED_UPDATE_OPERATION_PARAM", problem=problem)


_Builder = Callable[[str, Path, JsonValue], pb.UpdateOperation]

_BUILDERS: Mapping[str, _Builder] = {
    "$addToSet": _add_to_set,
    "$currentDate": _current_date,
    "$inc": _number("increment"),
    "$max": _json("maximum"),
    "$min": _json("minimum"),
    "$mul": _number("multiply"),
    "$pop": _pop,
    "$push": _push,
    "$rename": _rename,
    "$set": _json("set"),
    "$setOnInsert": _json("set_on_insert"),
    "$unset": _unset,
}


# --- what lies beside the document ------------------------------------------


def _special(operator: str, given: JsonObject, collection: Collection, limits: Limits) -> pb.SpecialAssignments:
    if _VECTOR in given and _VECTORIZE in given:
        raise DataApiError("INVALID_USAGE_OF_VECTORIZE", place=operator)
    message = pb.SpecialAssignments(on_insert_only=operator == "$setOnInsert")
    if operator == "$unset":
        message.unset_lexical = _LEXICAL in given
        if _VECTOR in given or _VECTORIZE in given:
            message.unset = True
        return message
    if _LEXICAL in given:
        message.lexical = lexical_text(given[_LEXICAL], collection, limits)
    if _VECTOR in given:
        message.vector.CopyFrom(parse_document_vector(given[_VECTOR], collection, limits))
    elif _VECTORIZE in given:
        text = given[_VECTORIZE]
        if text is not None and not isinstance(text, str):
            raise DataApiError("INVALID_VECTORIZE_VALUE_TYPE", position=1, type=json_type(text))
        if is_blank(text):
            message.blank_vectorize = encode(text)
        else:
            message.vectorize.text = encode(text)
    return message


def _merge(specials: tuple[pb.SpecialAssignments, ...]) -> tuple[pb.SpecialAssignments, ...]:
    """Join what `$set` and `$unset` do beside the document: the store takes one of each kind.

    Raises `UNSUPPORTED_UPDATE_OPERATION_PARAM` where one sets and the other removes a vector or its text.
    """
    always = pb.SpecialAssignments()
    found = False
    result: list[pb.SpecialAssignments] = []
    for special in specials:
        if special.on_insert_only:
            result.append(special)
            continue
        if found and always.WhichOneof("vector_change") and special.WhichOneof("vector_change"):
            raise _bad_parameter("`$vector` and `$vectorize` are set and removed at once; do one")
        always.MergeFrom(special)
        found = True
    return (always, *result) if found else tuple(result)
