"""The picture of the results: texts a second and the slowest hundredth, by callers, as SVG written by hand."""

import math
from collections.abc import Callable, Sequence
from html import escape

from benchmarks.embedder.cases import CASES, Report, Run
from benchmarks.embedder.contenders import TITLES
from benchmarks.embedder.figures import Spread, runs_of, spread

# Colours that people who confuse red and green can tell apart (Okabe and Ito).
_COLOURS = {"httpx": "#7f7f7f", "aiohttp": "#0072b2", "litellm": "#d55e00", "orrery": "#009e73"}
_WIDTH, _HEIGHT = 920, 400
_TOP, _BOTTOM = 84, 344
_PANELS = ((70, 430), (530, 890))
#: Pixels between contenders of one column, so that their whiskers do not hide one another.
_APART = 7

Series = dict[str, list[tuple[int, Spread]]]


def draw(report: Report) -> str:
    """Return the picture. Both scales are logarithmic; whiskers go from the lowest to the highest round."""
    cases = [
        case for case in CASES if case.name.startswith("callers-") and any(r.case == case.name for r in report.runs)
    ]
    names = [name for name in _COLOURS if any(run.contender == name for run in report.runs)]

    def series(figure: Callable[[Run], float | None]) -> Series:
        return {
            name: [
                (column, found)
                for column, case in enumerate(cases)
                if (found := spread(runs_of(report, case.name, name), figure)) is not None
            ]
            for name in names
        }

    columns = [str(case.callers) for case in cases]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_legend(names),
        *_panel(*_PANELS[0], "texts a second (more is better)", columns, series(lambda run: run.texts_per_second)),
        *_panel(*_PANELS[1], "99th percentile, ms (less is better)", columns, series(lambda run: run.p99_ms)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222222" {more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], _PANELS[0][0]
    for name in names:
        parts += [
            f'<circle cx="{x + 6}" cy="24" r="5" fill="{_COLOURS[name]}"/>',
            _text(x + 18, 28, TITLES[name], "start"),
        ]
        x += 170
    return parts


def _panel(left: float, right: float, title: str, columns: Sequence[str], series: Series) -> list[str]:
    values = [value for points in series.values() for _, found in points for value in (found.low, found.high)]
    values = [value for value in values if value > 0]
    parts = [_text(left, 62, title, "start", 'font-weight="bold"')]
    if not values:
        return [*parts, _text((left + right) / 2, (_TOP + _BOTTOM) / 2, "not measured")]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def y(value: float) -> float:
        place = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return _BOTTOM - place * (_BOTTOM - _TOP)

    def x(column: int, at: int) -> float:
        step = (right - left) / len(columns)
        return left + step * (column + 0.5) + (at - (len(series) - 1) / 2) * _APART

    for power in range(low, high + 1):
        parts.append(_line(left, y(10.0**power), right, y(10.0**power), "#cccccc"))
        parts.append(_text(left - 8, y(10.0**power) + 4, f"{10.0**power:,.10g}", "end"))
    for column, name in enumerate(columns):
        parts.append(_text(x(column, 0) + (len(series) - 1) / 2 * _APART, _BOTTOM + 20, name))
    parts.append(_text((left + right) / 2, _BOTTOM + 42, "callers"))
    for at, (name, points) in enumerate(series.items()):
        colour = _COLOURS[name]
        path = " ".join(f"{x(column, at):.1f},{y(found.median):.1f}" for column, found in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-opacity="0.35"/>')
        for column, found in points:
            parts.append(_line(x(column, at), y(found.low), x(column, at), y(found.high), colour, 2))
            parts.append(f'<circle cx="{x(column, at):.1f}" cy="{y(found.median):.1f}" r="4.5" fill="{colour}"/>')
    return parts
