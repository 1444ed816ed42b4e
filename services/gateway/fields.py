"""Reading the members of a command: known names, JSON types, and values within their constraints."""

import re
from collections.abc import Collection, Sequence
from decimal import Decimal

from services.documents.codec import JsonObject, JsonValue, encode, json_type
from services.runtime.errors import DataApiError

_SHOWN_CHARACTERS = 1000
_INTEGER_LIMIT = 1 << 31
#: Strings that are taken as a boolean, and those that are taken as no value at all.
_BOOLEANS = {**dict.fromkeys(("true", "True", "TRUE"), True), **dict.fromkeys(("false", "False", "FALSE"), False)}
_ABSENT = ("", "null")
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")


class Fields:
    """The members of a command, or of an object inside it.

    Reading checks JSON types at once (`REQUEST_STRUCTURE_MISMATCH`). Values out of their constraints are collected
    with `refuse`, because a command with several answers with several errors; `finish` raises them.
    """

    def __init__(
        self,
        members: JsonObject,
        known: Collection[str],
        *,
        place: str,
        path: str = "command",
        unknown_code: str = "COMMAND_FIELD_UNKNOWN",
        violations: list[DataApiError] | None = None,
    ) -> None:
        self.members = members
        self.place = place
        self.path = path
        self.violations: list[DataApiError] = [] if violations is None else violations
        for name in members:
            if name not in known:
                listed = ", ".join(f"'{item}'" for item in sorted(known)) or "none"
                raise DataApiError(unknown_code, field=name, place=place, known=listed)

    def get(self, name: str) -> JsonValue:
        """Return a member's value, or None when it is absent."""
        return self.members.get(name)

    def has(self, name: str) -> bool:
        """Tell whether a member is present, with whatever value."""
        return name in self.members

    def string(self, name: str) -> str | None:
        """Return a string; None when absent or null. Numbers and booleans are taken as their text."""
        value = self.get(name)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool | int | Decimal):
            return encode(value).decode()
        raise self._mismatch(name, "a string", value)

    def boolean(self, name: str) -> bool:
        """Return a boolean; False when absent or null. Integers and the words for both are taken too."""
        value = self.get(name)
        text = value.strip() if isinstance(value, str) else None
        if value is None or text in _ABSENT:
            return False
        if isinstance(value, int):
            return value != 0
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        raise self._mismatch(name, "a boolean", value)

    def integer(self, name: str) -> int | None:
        """Return an integer of 32 bits; None when absent or null. Fractions are cut, strings of digits taken."""
        value = self.get(name)
        text = value.strip() if isinstance(value, str) else None
        if value is None or text in _ABSENT:
            return None
        number: int | Decimal | None = None
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            number = value
        elif text is not None and _INTEGER.fullmatch(text):
            number = int(text)
        if number is None:
            raise self._mismatch(name, "an integer", value)
        # The bounds come first: an exponent of millions would take forever to write out as an integer.
        if not -_INTEGER_LIMIT - 1 < number < _INTEGER_LIMIT:
            raise self._mismatch(name, "an integer of 32 bits", value)
        return int(number)

    def object(self, name: str) -> JsonObject | None:
        """Return an object; None when absent or null."""
        value = self.get(name)
        if value is None or isinstance(value, dict):
            return value
        raise self._mismatch(name, "an object", value)

    def array(self, name: str) -> list[JsonValue] | None:
        """Return an array; None when absent or null."""
        value = self.get(name)
        if value is None or isinstance(value, list):
            return value
        raise self._mismatch(name, "an array", value)

    def nested(self, name: str, known: Sequence[str], *, unknown_code: str = "COMMAND_FIELD_UNKNOWN") -> "Fields":
        """Return the members of an object inside this one; of an empty object when it is absent or null."""
        return Fields(
            self.object(name) or {},
            known,
            place=f"{self.place}.{name}",
            path=f"{self.path}.{name}",
            unknown_code=unknown_code,
            violations=self.violations,
        )

    def no_options(self) -> None:
        """Refuse options on a command that takes none. Raises `COMMAND_ACCEPTS_NO_OPTIONS`."""
        if self.get("options") not in (None, {}):
            raise DataApiError("COMMAND_ACCEPTS_NO_OPTIONS", command=self.place)

    def refuse(self, field: str, value: JsonValue, problem: str) -> None:
        """Collect a value out of its constraint; `field` is the property's path below this object."""
        self.violations.append(
            DataApiError(
                "COMMAND_FIELD_VALUE_INVALID", field=f"{self.path}.{field}", value=shown(value), problem=problem
            )
        )

    def finish(self) -> None:
        """Raise what was collected: one error, or an `ExceptionGroup` of several."""
        if len(self.violations) == 1:
            raise self.violations[0]
        if self.violations:
            raise ExceptionGroup("command field values", self.violations)

    def _mismatch(self, name: str, wanted: str, value: JsonValue) -> DataApiError:
        problem = f"'{name}' of {self.place} must be {wanted}, found {json_type(value)}"
        return DataApiError("REQUEST_STRUCTURE_MISMATCH", problem=problem)


def shown(value: JsonValue) -> str:
    """Return a value as messages show it: `null` in back quotes, strings quoted and cut, objects by size."""
    if value is None:
        return "`null`"
    if isinstance(value, str):
        if len(value) > _SHOWN_CHARACTERS:
            cut = value[:_SHOWN_CHARACTERS]
            return f'"{cut}"...[TRUNCATED from {len(value)} to {_SHOWN_CHARACTERS} characters]'
        return f'"{value}"'
    text = encode(value).decode()
    if isinstance(value, list | dict):
        return f"<JSON value of {len(text)} characters>"
    return text
