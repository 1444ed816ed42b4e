"""Dotted paths: how clauses name a place in a document.

Segments are separated by dots. `&.` is a dot and `&&` an ampersand inside a segment. A segment of digits is an
array's index where the value is an array, a member's name where it is an object.
"""

from dataclasses import dataclass
from typing import TypeAlias

from services.documents.codec import JsonValue

#: The segments of a path, literally: without escapes.
Path: TypeAlias = tuple[str, ...]

ID: Path = ("_id",)

#: No array has an index of more digits; a longer segment is a member's name only.
_INDEX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Missing:
    """The value at a path that is not there (null is a value)."""


MISSING = Missing()


def parse_path(text: str) -> Path:
    """Return the segments of a dotted path.

    Raises `ValueError`, whose message says what is wrong, for an empty path or segment and for `&` before
    anything but `.` and `&`.
    """
    segments = _unescape(text) if "&" in text else text.split(".")
    if not text:
        raise ValueError("the path is empty")
    if "" in segments:
        raise ValueError(f"the path '{text}' has an empty segment")
    return tuple(segments)


def _unescape(text: str) -> list[str]:
    segments = [""]
    characters = iter(text)
    for character in characters:
        if character == ".":
            segments.append("")
        elif character == "&":
            escaped = next(characters, "")
            if escaped not in (".", "&") or not escaped:
                raise ValueError(f"the path '{text}' has '&' that is not followed by '.' or '&'")
            segments[-1] += escaped
        else:
            segments[-1] += character
    return segments


def format_path(path: Path) -> str:
    """Return the dotted text of a path, escaped so that `parse_path` gives the path back."""
    return ".".join(segment.replace("&", "&&").replace(".", "&.") for segment in path)


def array_index(segment: str) -> int | None:
    """Return the index that a segment names in an array: digits without a leading zero, else None."""
    if len(segment) > _INDEX_DIGITS:
        return None
    if segment.isascii() and segment.isdigit() and (segment == "0" or segment[0] != "0"):
        return int(segment)
    return None


def value_at(document: JsonValue, path: Path) -> JsonValue | Missing:
    """Return the value at a path, or `MISSING`. Arrays are entered by index only."""
    value = document
    for segment in path:
        if isinstance(value, dict):
            if segment not in value:
                return MISSING
            value = value[segment]
        elif isinstance(value, list):
            index = array_index(segment)
            if index is None or index >= len(value):
                return MISSING
            value = value[index]
        else:
            return MISSING
    return value
