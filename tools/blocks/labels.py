"""Puts labels beside their wires, off boxes, wires and each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from blocks.description import Figure, Frame, Wire
from blocks.geometry import LABEL, Branch, Label, NoWayError, Rect, frame_title, text_width, when_rect


def with_width(lines: tuple[str, ...], bits: str) -> tuple[str, ...]:
    """Lines of a label with the width behind the last."""
    return (*lines[:-1], f"{lines[-1]} [{bits}]") if bits else lines


class Labels:
    """Puts labels beside their wires, off boxes, wires and each other."""

    def __init__(
        self,
        boxes: Mapping[str, Rect],
        paths: Iterable[tuple[Wire, list[Branch]]],
        frames: Iterable[tuple[Frame, Rect]],
        figure: Figure,
        size: tuple[float, float],
    ) -> None:
        self._figure = figure
        self._taken = list(boxes.values())
        for box in figure.boxes:
            if box.when:
                self._taken.append(when_rect(boxes[box.key], box.when))
        self._edges: list[Rect] = []
        for frame, rect in frames:
            self._taken.append(frame_title(frame, rect))
            self._edges += rect.edges
        self._lines = [
            _segment(a, b) for _, branches in paths for branch in branches for a, b in pairwise(branch.points)
        ]
        self._space = Rect(4.0, 4.0, size[0] - 8.0, size[1] - 8.0)

    def put(self, wire: Wire, branches: list[Branch], lines: tuple[str, ...], bits: str) -> Label:
        """The best place.

        Raises:
            NoWayError: there is none.
        """
        shown = with_width(lines, bits)
        wide = max(text_width(line, LABEL) for line in shown)
        high = 12.5 * len(shown)
        best: tuple[float, Rect] | None = None
        for number, branch in enumerate(branches):
            for a, b in pairwise(branch.points):
                for cost, rect in _beside(a, b, wide, high):
                    price = cost + 6.0 * number + self._price(rect)
                    if best is None or price < best[0]:
                        best = (price, rect)
        if best is None or best[0] >= 1000.0:
            raise NoWayError(
                f"{self._figure.name}: found no place for the label '{wire.label}' from {wire.source} to {wire.targets}"
            )
        self._taken.append(best[1])
        return Label(lines, best[1], bits)

    def _price(self, rect: Rect) -> float:
        if not self._space.holds(rect) or any(rect.meets(other, 1.0) for other in self._taken):
            return 1000.0
        roomy = Rect(rect.x - 3.0, rect.y, rect.width + 6.0, rect.height)
        if any(roomy.meets(line) for line in self._lines):
            return 1000.0
        # A frame may be written across, where nothing else is free.
        return 30.0 * any(rect.meets(edge) for edge in self._edges)


def _segment(a: tuple[float, float], b: tuple[float, float]) -> Rect:
    return Rect(min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, abs(a[0] - b[0]) + 2, abs(a[1] - b[1]) + 2)


def _beside(
    a: tuple[float, float], b: tuple[float, float], wide: float, high: float
) -> Iterable[tuple[float, Rect]]:
    """Places beside a segment: the middle first, above or on the right rather than below or on the left."""
    level = a[1] == b[1]
    length = abs(a[0] - b[0]) + abs(a[1] - b[1])
    needed = wide if level else high
    for n in range(-12, 13):
        shift = n * length / 24
        middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        # A short segment has its label beside it all the same, at some cost.
        over = max(0.0, needed - length) / 4
        cost = abs(shift) / 20 + over
        if level:
            x = middle[0] + shift - wide / 2
            yield cost, Rect(x, a[1] - high - 2.0, wide, high)
            yield cost + 1.0, Rect(x, a[1] + 3.0, wide, high)
        else:
            y = middle[1] + shift - high / 2
            yield cost + 0.5, Rect(a[0] + 5.0, y, wide, high)
            yield cost + 1.5, Rect(a[0] - wide - 5.0, y, wide, high)
