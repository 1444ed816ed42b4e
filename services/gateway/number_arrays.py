"""Arrays of numbers under `$vector`, read apart from the rest of a body.

Decoded as the values of documents are, each number would become an exact decimal, only to be made a float32. In a
body that says nothing else of note they are taken out, read as float64 in one go, and put back. Whatever is unusual
is left to the ordinary decoding, which also has the errors.
"""

import re
import secrets
from collections.abc import Iterator

import msgspec

from services.documents.codec import JsonObject, JsonValue, decode, encode

_NAME = b'"$vector"'
#: What may come before a member's name; after anything else the quote ends a string.
_BEFORE = b"{, \t\r\n"
_WHITE_SPACE = b" \t\r\n"
_VALUE = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(?=\[)")
#: Stands for an array that was taken out. Nobody outside this process can write it.
_TOKEN = secrets.token_hex(16)

#: In an array without white space, what may be written otherwise when the exact number is encoded: exponents, decimals
#: that need one, the integer -0.
_UNUSUAL = (b"e", b"E", b"0.000000", b"-0,", b"-0]")
#: Exponents so long may be more than a decimal takes.
_LONG_EXPONENTS = tuple(re.compile(letter + rb"[-+]?[0-9]{4}") for letter in (b"e", b"E"))

_floats = msgspec.json.Decoder(list[float])


class NumberArray(list[float]):
    """A JSON array of numbers as float64, read from the text that was sent."""

    __slots__ = ("_sent",)

    def __init__(self, numbers: list[float], sent: bytes) -> None:
        super().__init__(numbers)
        self._sent = sent

    def text(self) -> bytes:
        """Return what encoding the exact numbers would give."""
        # Documents are kept with it; of a vector to search with nobody asks for it.
        return _compact(self._sent)

    def exact(self) -> list[JsonValue]:
        """Return the numbers as they were sent."""
        value = decode(self._sent)
        assert isinstance(value, list)
        return value


def take_out(body: bytes, most: int) -> tuple[bytes, list[NumberArray]]:
    """Return a body with the arrays of its `$vector` members replaced, and the arrays, up to `most`.

    There are none where anything about them is unusual, or where there are more.
    """
    arrays: list[NumberArray] = []
    parts: list[bytes] = []
    start = 0
    at = body.find(_NAME)
    while at >= 0:
        value = _VALUE.match(body, at + len(_NAME))
        if value is None or body[at - 1] not in _BEFORE:
            at = body.find(_NAME, at + 1)
            continue
        end = body.find(b"]", value.end()) + 1
        array = _read(body[value.end() : end])
        if array is None or len(arrays) == most:
            return body, []
        parts.append(b'%b"%b%d"' % (body[start : value.end()], _TOKEN.encode(), len(arrays)))
        arrays.append(array)
        start = end
        at = body.find(_NAME, end)
    return b"".join([*parts, body[start:]]), arrays


def put_back(value: JsonValue, arrays: list[NumberArray], most: int) -> bool:
    """Put arrays back where documents to insert, up to `most`, and sorts have their `$vector`.

    Return whether all of them are back; a value in which some are not is of no use.
    """
    missing = {f"{_TOKEN}{at}": array for at, array in enumerate(arrays)}
    for holder in _holders(value, most):
        name = holder.get("$vector")
        if isinstance(name, str) and name in missing:
            # Whoever reads these places knows that an array of numbers may be one of floats.
            holder["$vector"] = missing.pop(name)  # type: ignore[assignment]
    return not missing


def _holders(value: JsonValue, most: int) -> Iterator[JsonObject]:
    for arguments in value.values() if isinstance(value, dict) else ():
        if isinstance(arguments, dict):
            documents = arguments.get("documents")
            # More of them are shown in an error, for which they have to be exact.
            places = documents if isinstance(documents, list) and len(documents) <= most else []
            for place in (*places, arguments.get("document"), arguments.get("sort")):
                if isinstance(place, dict):
                    yield place


def _read(text: bytes) -> NumberArray | None:
    if any(exponent.search(text) for exponent in _LONG_EXPONENTS):
        return None
    try:
        return NumberArray(_floats.decode(text), text)
    except msgspec.DecodeError:
        return None


def _compact(text: bytes) -> bytes:
    """Return an array of numbers as encoding the exact numbers would give it: all but few are copied."""
    text = text.translate(None, _WHITE_SPACE)
    parts: list[bytes] = []
    done = 0
    for at in sorted(at for mark in _UNUSUAL for at in _places(text, mark)):
        if at < done:  # of the number before
            continue
        begin = text.rfind(b",", 0, at) + 1 or 1
        end = text.find(b",", at)
        end = len(text) - 1 if end < 0 else end
        parts += (text[done:begin], encode(decode(text[begin:end])))
        done = end
    return b"".join((*parts, text[done:]))


def _places(text: bytes, mark: bytes) -> Iterator[int]:
    at = text.find(mark)
    while at >= 0:
        yield at
        at = text.find(mark, at + 1)
