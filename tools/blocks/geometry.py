"""Rectangles, sizes of words, and what a placed figure is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blocks.description import Box, Figure, Frame, Wire

UNIT = 8
"""Pixels between two points of the grid on which boxes begin and end, and along which wires go."""
TITLE, TEXT, LABEL = 12.0, 10.5, 10.5
"""Sizes of letters in pixels."""

Cell = tuple[int, int]
"""A point of the grid, in units."""


class NoWayError(Exception):
    """A wire or a label finds no place: the figure needs other places for its boxes, or wider gaps."""


@dataclass(frozen=True)
class Rect:
    """In pixels."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: Rect, space: float = 0.0) -> bool:
        """Whether two rectangles overlap, or lie nearer than `space`."""
        return (
            self.x < other.x + other.width + space
            and other.x < self.x + self.width + space
            and self.y < other.y + other.height + space
            and other.y < self.y + self.height + space
        )

    def holds(self, other: Rect) -> bool:
        """Whether another rectangle lies within."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.x + other.width <= self.x + self.width
            and other.y + other.height <= self.y + self.height
        )

    @property
    def edges(self) -> tuple[Rect, Rect, Rect, Rect]:
        """The four lines around it."""
        right, bottom = self.x + self.width, self.y + self.height
        return (
            Rect(self.x, self.y, self.width, 0.0),
            Rect(self.x, bottom, self.width, 0.0),
            Rect(self.x, self.y, 0.0, self.height),
            Rect(right, self.y, 0.0, self.height),
        )


@dataclass(frozen=True)
class Label:
    """Lines of text in a rectangle."""

    lines: tuple[str, ...]
    rect: Rect
    width: str = ""


@dataclass(frozen=True)
class Branch:
    """A polyline in pixels; it ends at a box, and begins at one or, `tee`, on the trunk."""

    points: tuple[tuple[float, float], ...]
    tee: bool = False


@dataclass(frozen=True)
class Route:
    """A wire that has been laid."""

    wire: Wire
    branches: tuple[Branch, ...]
    label: Label | None = None


@dataclass(frozen=True)
class Placed:
    """A figure with every place in it."""

    figure: Figure
    size: tuple[float, float]
    boxes: Mapping[str, Rect]
    routes: tuple[Route, ...]
    frames: tuple[tuple[Frame, Rect], ...] = ()


def text_width(text: str, size: float, *, mono: bool = False) -> float:
    """An upper bound for fonts that are about, in pixels."""
    if mono:
        return 0.61 * size * len(text)
    narrow, wide = "iljtfrI.,:;'|()[]/! ", "mwMWTGOQ→×%"
    return size * sum(0.36 if c in narrow else 0.86 if c in wide else 0.61 for c in text)


def box_size(box: Box) -> Cell:
    """Least size in units: its text and a border."""
    lines = box.text.split("\n") if box.text else []
    wide = max(
        [text_width(line, TITLE, mono=not box.title) * (1.1 if box.title else 1.0) for line in box.heading]
        + [text_width(line, TEXT) for line in lines]
    )
    high = 15 * len(box.heading) + 13 * len(lines) + 10
    return units(wide + 16), max(4, units(high))


def units(length: float) -> int:
    """Units for a length in pixels: whole and even, so that a middle is a cell."""
    whole = int(-(-length // UNIT))
    return whole + whole % 2


def pixels(x: int, y: int, wide: int, high: int) -> Rect:
    """A rectangle of the grid."""
    return Rect(float(x * UNIT), float(y * UNIT), float(wide * UNIT), float(high * UNIT))


def around(frame: Frame, figure: Figure, rects: Mapping[str, Rect]) -> Rect:
    """A frame's rectangle: its boxes, a border and a title."""
    keys = frame.boxes.split()
    inner = [rects[key] for key in keys]
    left, top = min(r.x for r in inner), min(r.y for r in inner)
    right, bottom = max(r.x + r.width for r in inner), max(r.y + r.height for r in inner)
    border = 1.5 * UNIT
    # The title, and the cycles of the boxes in the first row.
    above = (4.0 if any(figure.box(key).when and rects[key].y == top for key in keys) else 2.5) * UNIT
    wide = max(right - left + 2 * border, text_width(frame.title, TEXT) + 12)
    return Rect(left - border, top - above, wide, bottom - top + above + border)


def frame_title(frame: Frame, rect: Rect) -> Rect:
    """Where a frame's title stands."""
    return Rect(rect.x, rect.y, text_width(frame.title, TEXT) + 12, 2.0 * UNIT)


def when_rect(box: Rect, when: str) -> Rect:
    """Where the cycle of a box stands, above its upper left corner."""
    return Rect(box.x, box.y - 14.0, text_width(when, LABEL), 13.0)
