"""RESULTS.md: how its tables look, and how a benchmark writes its section and nothing else of it."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.spread import Spread

_TITLE = "# Results of the benchmarks\n"
#: In the place of a figure that there is none of.
NONE = "-"


def number(value: float) -> str:
    """Return a number with about three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def cell(found: Spread | None, alone: bool = False, unit: str = "") -> str:
    """Return a median, with the extremes in parentheses unless it is to stand alone."""
    if found is None:
        return NONE
    if alone or found.low == found.high:
        return number(found.median) + unit
    return f"{number(found.median)}{unit} ({number(found.low)} to {number(found.high)})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write_section(file: Path, name: str, text: str) -> None:
    """Put a section between its markers, and leave the rest of the file as it is; append it where it has none."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    file.parent.mkdir(parents=True, exist_ok=True)
    old = file.read_text() if file.exists() else _TITLE
    before, marker, rest = old.partition(begin)
    if marker and end not in rest:
        raise ValueError(f"{file} has {begin} without {end} after it")
    after = rest.partition(end)[2] if marker else "\n"
    if not marker:
        before = before.rstrip("\n") + "\n\n"
    file.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")
