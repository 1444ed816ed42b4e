"""Filters, typed: what a document must be."""

from dataclasses import dataclass

from services.documents.codec import JsonValue
from services.documents.paths import Path
from services.documents.values import Scalar


@dataclass(frozen=True, slots=True)
class Composite:
    """An array or object to compare with, whole."""

    value: JsonValue


Operand = Scalar | Composite


@dataclass(frozen=True, slots=True)
class AllOf:
    """All must match; of none, everything matches."""

    filters: "tuple[Filter, ...]" = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One must match; of none, nothing matches."""

    filters: "tuple[Filter, ...]" = ()


@dataclass(frozen=True, slots=True)
class Not:
    """Must not match: the exact complement."""

    filter: "Filter"


@dataclass(frozen=True, slots=True)
class In:
    """Equals one of the values; a scalar also equals an array that has it. `null_in_arrays`: null does too."""

    path: Path
    values: tuple[Operand, ...]
    null_in_arrays: bool = True


@dataclass(frozen=True, slots=True)
class Range:
    """Is a scalar of the bounds' type within them; each bound with whether it is itself within."""

    path: Path
    lower: tuple[Scalar, bool] | None = None
    upper: tuple[Scalar, bool] | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """Is present; null counts."""

    path: Path


@dataclass(frozen=True, slots=True)
class ContainsAll:
    """Is an array with every value (at least one) among its elements; a scalar counts as an array of one."""

    path: Path
    values: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Is an array of that many elements."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class MatchesText:
    """Is text with all of these terms."""

    path: Path
    text: str


Filter = AllOf | AnyOf | Not | In | Range | Exists | ContainsAll | Size | MatchesText
EVERYTHING = AllOf()


def conjuncts(filter_: Filter) -> "tuple[Filter, ...]":
    """Return the parts of a filter that must all match, none of them an `AllOf`."""
    if isinstance(filter_, AllOf):
        return tuple(part for item in filter_.filters for part in conjuncts(item))
    if isinstance(filter_, ContainsAll) and len(filter_.values) != 1:
        return tuple(ContainsAll(filter_.path, (value,)) for value in filter_.values)
    return (filter_,)
