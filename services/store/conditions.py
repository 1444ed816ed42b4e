"""Which postings a condition on one path asks for: some keys, or a range of them."""

from dataclasses import dataclass

from services.documents.indexing import Indexing
from services.documents.paths import format_path
from services.documents.values import composite_key, order_key
from services.runtime.errors import DataApiError
from services.store.filters import Composite, ContainsAll, Exists, In, Operand, Range, Size
from services.store.postings import ELEMENT, SIZE, VALUE, next_kind

Condition = In | Range | Exists | ContainsAll | Size


@dataclass(frozen=True, slots=True)
class KeyRange:
    """All keys from `first` on that come before `end`."""

    first: bytes
    end: bytes


#: The keys that a condition names, or a range of the keys of values, of which a document has one a path.
Keys = tuple[bytes, ...] | KeyRange

#: The keys of all values.
ALL_VALUES = KeyRange(VALUE, next_kind(VALUE))


def keys_of(condition: Condition, indexing: Indexing) -> Keys:
    """Return the keys of the postings that a condition asks for, at its path. `ContainsAll` is of one value.

    Raises `FILTER_PATH_UNINDEXED` for a path that has no postings.
    """
    if not indexing.includes(condition.path):
        raise DataApiError("FILTER_PATH_UNINDEXED", path=format_path(condition.path))
    if isinstance(condition, Exists):
        return ALL_VALUES
    if isinstance(condition, Range):
        return _between(condition, VALUE) or ()
    if isinstance(condition, In):
        keys = (key for value in condition.values for key in _equal_keys(value, condition.null_in_arrays))
        return tuple(dict.fromkeys(keys))
    if isinstance(condition, Size):
        return (SIZE + order_key(condition.size),)
    (value,) = condition.values
    return _contains_keys(value)


def id_keys(condition: Condition) -> Keys:
    """Return the keys of the ids that a condition on `_id` asks for."""
    if isinstance(condition, Exists):
        return KeyRange(b"", b"\xff")
    if isinstance(condition, Range):
        return _between(condition, b"") or ()
    if isinstance(condition, Size):
        return ()
    return tuple({order_key(value): None for value in condition.values if not isinstance(value, Composite)})


def _operand_key(value: Operand) -> bytes:
    return composite_key(value.value) if isinstance(value, Composite) else order_key(value)


def _equal_keys(value: Operand, null_in_arrays: bool) -> tuple[bytes, ...]:
    key = _operand_key(value)
    if isinstance(value, Composite) or (value is None and not null_in_arrays):
        return (VALUE + key,)
    return VALUE + key, ELEMENT + key


def _contains_keys(value: Operand) -> tuple[bytes, ...]:
    key = _operand_key(value)
    return (ELEMENT + key,) if isinstance(value, Composite) else (ELEMENT + key, VALUE + key)


def _between(range_: Range, kind: bytes) -> KeyRange | None:
    """Return the keys within a range, a missing bound being the end of the type; None where nothing can be."""
    tags = {order_key(bound[0])[0] for bound in (range_.lower, range_.upper) if bound is not None}
    if len(tags) != 1:
        return None
    (tag,) = tags
    first, end = kind + bytes([tag]), kind + bytes([tag + 1])
    if range_.lower is not None:
        first = kind + order_key(range_.lower[0])
        first = first if range_.lower[1] else _next(first)
    if range_.upper is not None:
        end = kind + order_key(range_.upper[0])
        end = _next(end) if range_.upper[1] else end
    return KeyRange(first, end)


def _next(key: bytes) -> bytes:
    """Return the first key after one."""
    return key + b"\x00"
