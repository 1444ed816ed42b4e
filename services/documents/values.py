"""The values of documents: extended JSON, equality, and one order over all scalars.

The order is the Data API's for sorts: null < number < string < boolean < date. A scalar's *order key* is a byte
string that compares as the scalar does, so that an index over keys answers equality, ranges and sorts.
"""

import re
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from services.documents.codec import JsonObject, JsonValue, encode

#: The wrappers of extended JSON, each an object with this one member.
EXTENSIONS = frozenset({"$date", "$uuid", "$objectId", "$binary"})

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")

TAG_NULL = b"\x10"
TAG_NUMBER = b"\x20"
TAG_STRING = b"\x30"
TAG_COMPOSITE = b"\x38"
TAG_BOOLEAN = b"\x40"
TAG_DATE = b"\x50"

_EXPONENT_BIAS = 1 << 63
_ALL_ONES = (1 << 64) - 1
_COMPLEMENT = bytes(255 - byte for byte in range(256))
#: Turns the digits of `Decimal.as_tuple`, as bytes, into their characters.
_DIGITS = bytes.maketrans(bytes(range(10)), b"0123456789")


class Timestamp(NamedTuple):
    """An instant, in milliseconds since 1970-01-01T00:00:00Z."""

    millis: int


#: A scalar as comparisons see it. UUIDs and object ids compare as their text in lower case.
Scalar = bool | int | Decimal | str | Timestamp | None


def extension_of(value: JsonValue) -> str | None:
    """Return the wrapper's name when a value is extended JSON, else None."""
    if isinstance(value, dict) and len(value) == 1:
        name = next(iter(value))
        if name in EXTENSIONS:
            return name
    return None


def is_uuid(text: JsonValue) -> bool:
    """Tell whether a value is the 36-character text of a UUID."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def is_object_id(text: JsonValue) -> bool:
    """Tell whether a value is the 24-digit text of an object id."""
    return isinstance(text, str) and _OBJECT_ID.fullmatch(text) is not None


def is_scalar(value: JsonValue) -> bool:
    """Tell whether a value is neither an array nor an object, extended JSON counting as scalar."""
    return not isinstance(value, list) and (not isinstance(value, dict) or extension_of(value) is not None)


def scalar_of(value: JsonValue) -> Scalar:
    """Return a scalar as comparisons see it.

    Raises `ValueError` for arrays and plain objects, and for extended JSON whose content is not valid.
    """
    if isinstance(value, dict):
        name = extension_of(value)
        content = value[name] if name else None
        if name == "$date" and isinstance(content, int) and not isinstance(content, bool):
            return Timestamp(content)
        if (name == "$uuid" and is_uuid(content)) or (name == "$objectId" and is_object_id(content)):
            return str(content).lower()
        if name == "$binary" and isinstance(content, str):
            return content
        raise ValueError("not a scalar")
    if isinstance(value, list):
        raise ValueError("not a scalar")
    return value


# --- order keys -------------------------------------------------------------


def order_key(scalar: Scalar) -> bytes:
    """Return the bytes that compare with other scalars' as the scalars do.

    Two scalars have the same key exactly when they are equal: `1` and `1.0` do, `1` and `"1"` do not.
    """
    if scalar is None:
        return TAG_NULL
    if isinstance(scalar, bool):
        return TAG_BOOLEAN + (b"\x01" if scalar else b"\x00")
    if isinstance(scalar, int | Decimal):
        return TAG_NUMBER + _number_key(scalar)
    if isinstance(scalar, str):
        return TAG_STRING + _string_key(scalar)
    return TAG_DATE + _number_key(scalar.millis)


def _number_key(number: int | Decimal) -> bytes:
    """Encode sign, decimal exponent and digits so that bytes compare as numbers do, exactly.

    A positive number is 0.d1d2d3... x 10^e with d1 > 0: greater with e, then with the digits. A negative one is
    the complement of its absolute value, ended by 0xFF so that more digits mean less.
    """
    if isinstance(number, int):
        negative = number < 0
        text = b"%d" % (-number if negative else number)
        exponent = len(text)
    else:
        sign, figures, scale = number.as_tuple()
        negative = bool(sign)
        text = bytes(figures).translate(_DIGITS).lstrip(b"0")
        exponent = len(text) + int(scale)
    digits = text.rstrip(b"0")
    if not digits:
        return b"\x80"
    magnitude = (exponent + _EXPONENT_BIAS).to_bytes(8, "big") + digits
    if negative:
        return b"\x40" + magnitude.translate(_COMPLEMENT) + b"\xff"
    return b"\xc0" + magnitude


def _string_key(text: str) -> bytes:
    """Encode text so that bytes compare by UTF-16 code units, as the Data API orders strings.

    UTF-8 compares by code point, which differs only for characters beyond U+FFFF: those are encoded as their two
    surrogates, three bytes each (CESU-8).
    """
    if text.isascii() or max(text) <= "\uffff":
        return text.encode("utf-8", "surrogatepass")
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(chr(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2)).encode(
        "utf-8", "surrogatepass"
    )


def composite_key(value: JsonValue) -> bytes:
    """Return a key of fixed length for an array or object, equal exactly for equal values.

    Equal means: the same values in the same order, members included, numbers by value. (A 128-bit digest: equal
    keys of different values are not to be expected.)
    """
    return canonical_key(canonical(value))


def canonical_key(form: JsonValue) -> bytes:
    """Return the composite key of an array or object by its canonical form."""
    return TAG_COMPOSITE + blake2b(encode(form), digest_size=16).digest()


def canonical(value: JsonValue) -> JsonValue:
    """Return the form of a value that is the same JSON exactly for equal values."""
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return {"": _number_key(value).hex()}
    return value


def value_key(value: JsonValue) -> bytes:
    """Return the key of any value: its order key when it is a scalar, else its composite key."""
    if isinstance(value, str):
        return TAG_STRING + _string_key(value)
    try:
        return order_key(scalar_of(value))
    except ValueError:
        return composite_key(value)


def equal(left: JsonValue, right: JsonValue) -> bool:
    """Tell whether two values are the same: same types, same order of members, numbers by value."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return len(left) == len(right) and list(left) == list(right) and all(map(equal, left.values(), right.values()))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, int | Decimal) and isinstance(right, int | Decimal):
        return left == right
    return type(left) is type(right) and left == right


# --- document ids -----------------------------------------------------------


def id_key(identifier: JsonValue) -> bytes:
    """Return the identity of an `_id`: a UUID or object id and its plain text are the same id.

    Raises `ValueError` for a value that is no id.
    """
    if extension_of(identifier) == "$binary":
        raise ValueError("not an id")
    return order_key(scalar_of(identifier))


def id_first(document: JsonObject) -> JsonObject:
    """Return a document with its `_id` first, where it has one."""
    return {"_id": document["_id"], **document} if "_id" in document else document


def display_id(identifier: JsonValue) -> JsonValue:
    """Return an `_id` as answers show it: UUIDs and object ids in lower case."""
    if isinstance(identifier, dict):
        shown: JsonObject = {
            name: content.lower() if isinstance(content, str) else content for name, content in identifier.items()
        }
        return shown
    return identifier
