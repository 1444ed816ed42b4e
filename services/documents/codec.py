"""JSON to values and back without loss: big integers and decimals come back as they were sent."""

import json
import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, TypeAlias

import msgspec

#: A decoded JSON value. Never a `float`: numbers with a fraction or an exponent are exact decimals.
JsonValue: TypeAlias = bool | int | Decimal | str | list["JsonValue"] | dict[str, "JsonValue"] | None
JsonObject: TypeAlias = dict[str, JsonValue]

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
#: Turns what a number may consist of into zeros and the rest into spaces.
_NUMBER_CHARACTERS = bytes(0x30 if byte in b"-+.0123456789eE" else 0x20 for byte in range(256))
_CONTAINERS = (dict, list)


class JsonError(ValueError):
    """A text that is not JSON, or not JSON that can be taken; the message says why and where."""


class NestingError(JsonError):
    """A JSON text nested too deep to be decoded."""


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"the number {text[:40]} has an exponent that is out of range") from error


_decoder = msgspec.json.Decoder(float_hook=Decimal)
#: Slower, but a number that is no decimal has its own message.
_explaining_decoder = msgspec.json.Decoder(float_hook=_decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def decode(text: bytes | msgspec.Raw) -> JsonValue:
    """Return the value of a JSON text.

    Raises `JsonError` when it is not JSON in UTF-8. Of a repeated member the last one counts; see
    `named_members`.
    """
    try:
        return _decoded(text)
    except RecursionError as error:
        raise NestingError("the text is nested too deep") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise JsonError(str(error)) from error


def _decoded(text: bytes | msgspec.Raw) -> JsonValue:
    try:
        value: JsonValue = _decoder.decode(text)
    except InvalidOperation:
        value = _explaining_decoder.decode(text)
    return value


def first_text(text: bytes) -> bytes:
    """Return the first JSON text of bytes that something follows; all of it where it does not begin with one."""
    try:
        decoded = text.decode().lstrip()
        _, end = json.JSONDecoder().raw_decode(decoded)
    except (ValueError, RecursionError):
        return text
    return decoded[:end].encode()


def decode_object(text: bytes | msgspec.Raw) -> JsonObject:
    """Return the members of a JSON object. Raises `JsonError` when the text is no JSON object."""
    value = decode(text)
    if not isinstance(value, dict):
        raise JsonError(f"expected an object, found {json_type(value)}")
    return value


def encode(value: JsonValue) -> bytes:
    """Return the compact JSON text of a value, in UTF-8."""
    return _encoder.encode(value)


def characters(text: bytes) -> int:
    """Return how many characters a JSON text has."""
    return len(text) if text.isascii() else len(text.decode())


class Measures(NamedTuple):
    """Sizes of a decoded JSON value: members of its objects, levels, and characters of its longest name."""

    members: int
    depth: int
    longest_name: int


def measure(value: JsonValue) -> Measures:
    """Return the sizes of a decoded value; a scalar has depth 0."""
    members = depth = longest = 0
    level: list[JsonValue] = [value] if isinstance(value, _CONTAINERS) else []
    while level:
        depth += 1
        below: list[JsonValue] = []
        for current in level:
            if isinstance(current, dict):
                members += len(current)
                for name, item in current.items():
                    if len(name) > longest:
                        longest = len(name)
                    if isinstance(item, _CONTAINERS):
                        below.append(item)
            elif isinstance(current, list):
                below += [item for item in current if isinstance(item, _CONTAINERS)]
        level = below
    return Measures(members, depth, longest)


def has_repeated_members(text: bytes, value: JsonValue, members: int) -> bool:
    """Tell whether an object of a JSON text names a member twice.

    `value` is the decoded text and `members` counts its members (`Measures.members`): repeated ones are missing from
    both. Outside strings a colon stands for a member.
    """
    colons = text.count(b":")
    if colons == members:
        return False
    # Encoded anew, strings have the same colons as before, unless one was escaped.
    if b"\\u003" not in text:
        return colons != encode(value).count(b":")
    return _STRING.sub(b"", text).count(b":") != members


def long_number(text: bytes, limit: int) -> int | None:
    """Return the length of the first number literal longer than `limit` characters, or None."""
    # Most bodies have no such run of characters even in their strings, which need not be taken out then.
    if b"0" * (limit + 1) not in text.translate(_NUMBER_CHARACTERS):
        return None
    for match in re.finditer(rb"[-0-9][-+.0-9eE]*", _STRING.sub(b'""', text)):
        if len(match[0]) > limit:
            return len(match[0])
    return None


def json_type(value: JsonValue) -> str:
    """Return the name of a value's JSON type, as messages show it."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int | Decimal):
        return "Number"
    if isinstance(value, str):
        return "String"
    return "Array" if isinstance(value, list) else "Object"
