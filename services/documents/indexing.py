"""Which paths of a collection's documents are indexed: the `indexing` option."""

from dataclasses import dataclass

from services.documents.paths import Path, array_index


@dataclass(frozen=True, slots=True)
class Indexing:
    """The paths that are indexed, each with everything below it.

    `allow` None means every path, otherwise only those and what is below them; `deny` takes paths, and what is
    below them, out again. `Indexing(deny_all=True)` indexes nothing.

    Arrays are transparent: `contact.email` is also the `email` of each object in the array `contact`. A segment of
    digits may still be named (`contact.0`), which then means that element alone.
    """

    allow: frozenset[Path] | None = None
    deny: frozenset[Path] = frozenset()
    deny_all: bool = False

    def includes(self, path: Path) -> bool:
        """Tell whether the value at a path is indexed."""
        if self.deny_all:
            return False
        prefixes = {form[:length] for form in _forms(path) for length in range(1, len(form) + 1)}
        if self.allow is not None and self.allow.isdisjoint(prefixes):
            return False
        return self.deny.isdisjoint(prefixes)

    def may_reach(self, path: Path) -> bool:
        """Tell whether something at or below a path may be indexed, so that a walk has to go there."""
        if self.deny_all:
            return False
        if self.includes(path):
            return True
        if self.allow is None:
            return False
        return any(allowed[: len(form)] == form for allowed in self.allow for form in _forms(path))


def _forms(path: Path) -> tuple[Path, ...]:
    """Return how a rule may name a path: as it is, and without the indexes of arrays."""
    names = tuple(segment for segment in path if array_index(segment) is None)
    return (path,) if len(names) == len(path) else (path, names)


EVERYTHING = Indexing()
