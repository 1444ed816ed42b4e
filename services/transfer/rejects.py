"""The rejects file: a line of JSON for every row that was not loaded, with the reason and the row itself."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from services.documents.codec import JsonError, JsonObject, JsonValue, decode, encode
from services.transfer.sources.row import Rejection


def rejects_path(source: Path, folder: Path | None = None) -> Path:
    """Return where the rejects of a file go: beside it, or into a folder."""
    return (folder or source.parent) / f"{source.name}.rejects.jsonl"


class Rejects:
    """The rejects of one file and one collection, made when the first one comes.

    A process that is killed may have written lines of rows that were not acknowledged, which will be tried again:
    `stale` tells them by the row's number, and they are taken out. Lines of other collections stay.
    """

    def __init__(self, path: Path, file: str, collection: str, stale: Callable[[int], bool]) -> None:
        self.path = path
        self._place: JsonObject = {"file": file, "collection": collection}
        self._output: IO[bytes] | None = None
        self.count = self._clean(stale)

    def write(self, rejected: Iterable[tuple[int, JsonValue, Rejection]]) -> None:
        """Add rows by number and content; they are on disk when this returns."""
        lines = [encode(self._line(*item)) + b"\n" for item in rejected]
        if not lines:
            return
        if self._output is None:
            self._output = self.path.open("ab")
        self._output.write(b"".join(lines))
        self._output.flush()
        os.fsync(self._output.fileno())
        self.count += len(lines)

    def close(self) -> None:
        """Close the file."""
        if self._output is not None:
            self._output.close()

    def _line(self, number: int, content: JsonValue, reason: Rejection) -> JsonObject:
        return {**self._place, "row": number, "code": reason.code, "message": reason.message, "content": content}

    def _clean(self, stale: Callable[[int], bool]) -> int:
        """Take stale and torn lines out, the file changing at once; return how many of this collection stay."""
        if not self.path.exists():
            return 0
        kept: list[bytes] = []
        count = dropped = 0
        with self.path.open("rb") as file:
            for line in file:
                own = self._own_row(line)
                if own is None or (own and stale(own)):
                    dropped += 1
                    continue
                kept.append(line)
                count += own > 0
        if dropped:
            fresh = self.path.with_name(self.path.name + ".new")
            fresh.write_bytes(b"".join(kept))
            fresh.replace(self.path)
        return count

    def _own_row(self, line: bytes) -> int | None:
        """Return the row of a line, 0 for one of another collection, None for one that was not written whole."""
        try:
            value = decode(line)
        except JsonError:
            return None
        if not isinstance(value, dict) or not line.endswith(b"\n"):
            return None
        row = value.get("row")
        mine = all(value.get(name) == wanted for name, wanted in self._place.items())
        return row if mine and isinstance(row, int) else 0
