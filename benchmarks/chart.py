"""Pictures of results as SVG, written by hand: panels of lines over columns or over an axis of numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from benchmarks.spread import Spread

# Colours that people who confuse red and green can tell apart (Okabe and Ito).
GREY, BLUE, RED, GREEN = "#7f7f7f", "#0072b2", "#d55e00", "#009e73"
ORANGE, LIGHT_BLUE, PINK, BLACK = "#e69f00", "#56b4e9", "#cc79a7", "#222222"

_WIDTH, _HEIGHT = 920, 400
_TOP, _BOTTOM = 84, 344
#: From where to where panels go, by how many there are.
_PLACES = {1: ((70, 890),), 2: ((70, 430), (530, 890))}
#: Pixels between lines of one column, so that their whiskers do not hide one another.
_APART = 7
#: Of the legend: from the end of a title to the next one, and the width of a character, about.
_LEGEND_GAP, _CHARACTER = 50, 7
#: Marks of an axis of numbers, at most.
_MARKS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one contender: where along the panel (the number of a column, or a value), and how high."""

    title: str
    colour: str
    points: Sequence[tuple[float, Spread]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over named columns or, where there are none, over an axis of numbers. The scale upwards is logarithmic."""

    title: str
    across: str
    lines: Sequence[Line]
    columns: Sequence[str] = field(default_factory=tuple)


def draw(panels: Sequence[Panel]) -> str:
    """Return a picture of one or two panels, whose lines have the same titles and colours.

    Whiskers go from the lowest to the highest round.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_legend({line.title: line.colour for panel in panels for line in panel.lines}),
    ]
    for panel, (left, right) in zip(panels, _PLACES[len(panels)], strict=True):
        parts += _panel(left, right, panel)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222222" {more}>{escape(text)}</text>'


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def _legend(colours: dict[str, str]) -> list[str]:
    parts, x = [], _PLACES[1][0][0]
    for title, colour in colours.items():
        parts += [f'<circle cx="{x + 6}" cy="24" r="5" fill="{colour}"/>', _text(x + 18, 28, title, "start")]
        x += _LEGEND_GAP + _CHARACTER * len(title)
    return parts


def _panel(left: float, right: float, panel: Panel) -> list[str]:
    values = [value for line in panel.lines for _, found in line.points for value in (found.low, found.high)]
    values = [value for value in values if value > 0]
    parts = [_text(left, 62, panel.title, "start", 'font-weight="bold"')]
    if not values:
        return [*parts, _text((left + right) / 2, (_TOP + _BOTTOM) / 2, "not measured")]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def y(value: float) -> float:
        place = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return _BOTTOM - place * (_BOTTOM - _TOP)

    for power in range(low, high + 1):
        parts.append(_stroke(left, y(10.0**power), right, y(10.0**power), "#cccccc"))
        parts.append(_text(left - 8, y(10.0**power) + 4, f"{10.0**power:,.10g}", "end"))
    x, marks = _columns(left, right, panel) if panel.columns else _axis(left, right, panel)
    parts += [_text(at, _BOTTOM + 20, name) for at, name in marks]
    parts.append(_text((left + right) / 2, _BOTTOM + 42, panel.across))
    for number, line in enumerate(panel.lines):
        path = " ".join(f"{x(at, number):.1f},{y(found.median):.1f}" for at, found in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-opacity="0.35"/>')
        for at, found in line.points:
            parts.append(_stroke(x(at, number), y(found.low), x(at, number), y(found.high), line.colour, 2))
            centre = f'cx="{x(at, number):.1f}" cy="{y(found.median):.1f}"'
            parts.append(f'<circle {centre} r="4.5" fill="{line.colour}"/>')
    return parts


#: Where a point of a line, given by its number, is across the panel.
Place = Callable[[float, int], float]


def _columns(left: float, right: float, panel: Panel) -> tuple[Place, list[tuple[float, str]]]:
    step = (right - left) / len(panel.columns)
    middle = (len(panel.lines) - 1) / 2

    def x(column: float, line: int) -> float:
        return left + step * (column + 0.5) + (line - middle) * _APART

    return x, [(left + step * (column + 0.5), name) for column, name in enumerate(panel.columns)]


def _axis(left: float, right: float, panel: Panel) -> tuple[Place, list[tuple[float, str]]]:
    places = [place for line in panel.lines for place, _ in line.points]
    low, high = min(places), max(places)
    # A little room at both ends, and never an axis of no length.
    room = (high - low) * 0.05 or 0.01
    low, high = low - room, high + room

    def x(place: float, _: int) -> float:
        return left + (place - low) / (high - low) * (right - left)

    step = _round_step((high - low) / _MARKS)
    marks = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return x, [(x(mark, 0), f"{mark:.10g}") for mark in marks]


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below a number."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
