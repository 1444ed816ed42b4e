"""Which paths of a collection's documents are indexed: the `indexing` option."""

from dataclasses import dataclass

from services.documents.paths import Path


@dataclass(frozen=True, slots=True)
class Indexing:
    """The paths that are indexed, each with everything below it.

    `allow` None means every path, otherwise only those and what is below them; `deny` takes paths, and what is
    below them, out again. `Indexing(deny_all=True)` indexes nothing.
    """

    allow: frozenset[Path] | None = None
    deny: frozenset[Path] = frozenset()
    deny_all: bool = False

    def includes(self, path: Path) -> bool:
        """Tell whether the value at a path is indexed."""
        if self.deny_all:
            return False
        prefixes = [path[:length] for length in range(1, len(path) + 1)]
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
        return any(allowed[: len(path)] == path for allowed in self.allow)


EVERYTHING = Indexing()
