"""A value that must not show."""

from typing import Final


class Secret:
    """Text that shows as asterisks everywhere; `reveal` gives it, at the one place that uses it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text: Final = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def scrub(self, text: str) -> str:
        """Return a text with every occurrence of the secret covered."""
        return text.replace(self._text, "***") if self._text else text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")
