"""Drawings of the page: latency against accuracy of every trained candidate, and the steps of the winner."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from flow.boards import NOMINAL

if TYPE_CHECKING:
    from flow.cost import StepEstimate
    from flow.search.loop import Point, Selection

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 400, 74, 20, 26, 56
"""Pixels of the drawing's field, and of its margins."""
COLOURS = (
    "#1f6fb4", "#d1602a", "#3f8f3a", "#8656a8", "#b8860b", "#1b9a94",
    "#c2376b", "#6b7a88", "#7a4b2a", "#4a4fc4", "#86a52c", "#d08bb8",
)  # fmt: skip
SHAPES = ("circle", "square", "diamond")
"""Beyond the twelfth board colours come again, with another shape."""
ROW, GAP, LABELS = 26, 8, 84
"""Pixels of the timeline: of a row, between rows, of the kinds' names."""


def front(points: Iterable[Point]) -> list[Point]:
    """Points that no other one beats in latency and accuracy, by ascending latency."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, -(p.accuracy or 0.0))):
        if point.accuracy is not None and (not best or point.accuracy > (best[-1].accuracy or 0.0)):
            best.append(point)
    return best


def fronts(found: Selection) -> tuple[ET.Element, ET.Element]:
    """The chart, and its legend as HTML, which wraps where a drawing could not.

    Every point that was measured has its mark, with a tooltip, but those at levels that no verdict or near miss names;
    the field in which both constraints are met is shaded.
    """
    named = {verdict.place for verdict in found.choice.verdicts}
    named |= {relaxed.place for relaxed in found.relaxed}
    shown = [
        point
        for point in found.points
        if point.accuracy is not None and (point.level == NOMINAL or point.place in named)
    ]
    places = list(dict.fromkeys(point.place for point in shown))
    limits = found.constraints
    field = _Field.of(
        [point.latency_ms for point in shown] + [limits.latency_ms],
        [point.accuracy or 0.0 for point in shown] + [limits.accuracy],
    )
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {LEFT + WIDTH + RIGHT} {TOP + HEIGHT + BOTTOM}",
            "class": "chart",
            "role": "img",
            "aria-label": f"Latency against {found.metric}, by board",
        },
    )
    x, y = field.x(limits.latency_ms), field.y(limits.accuracy)
    met = {"x": f"{LEFT}", "y": f"{TOP}", "width": f"{x - LEFT:.1f}", "height": f"{y - TOP:.1f}"}
    ET.SubElement(svg, "rect", {**met, "class": "met"})
    field.axes(svg, found.metric)
    _constraints(svg, x, y, found)
    legend = ET.Element("ul", {"class": "legend"})
    winner = found.winner
    for number, place in enumerate(places):
        look = _Look(COLOURS[number % len(COLOURS)], SHAPES[number // len(COLOURS) % len(SHAPES)])
        here = [point for point in shown if point.place == place]
        corners = " ".join(
            f"{field.x(p.latency_ms):.1f},{field.y(p.accuracy or 0.0):.1f}" for p in front(here)
        )
        ET.SubElement(
            svg,
            "polyline",
            {"points": corners, "fill": "none", "stroke": look.colour, "stroke-opacity": ".55"},
        )
        for point in here:
            wins = winner is not None and (place, point.candidate) == (winner.place, winner.candidate)
            look.mark(svg, field, point, wins=wins)
        entry = ET.SubElement(legend, "li")
        key = ET.SubElement(entry, "svg", {"viewBox": "0 0 12 12", "width": "12", "height": "12"})
        look.shape(key, 6, 6, 5)
        ET.SubElement(entry, "span").text = str(place)
    return svg, legend


class _Look:
    """Colour and shape of a board's points."""

    def __init__(self, colour: str, form: str) -> None:
        self.colour, self.form = colour, form

    def mark(self, svg: ET.Element, field: _Field, point: Point, *, wins: bool) -> None:
        """A point with its tooltip; the winner has a ring."""
        x, y = field.x(point.latency_ms), field.y(point.accuracy or 0.0)
        group = ET.SubElement(svg, "g", {"class": "point winner" if wins else "point"})
        ET.SubElement(
            group, "title"
        ).text = f"{point.place}, {point.candidate}: {point.latency_ms:.4g} ms, {point.accuracy:.4f}"
        self.shape(group, x, y, 5)
        if wins:
            ring = {"fill": "none", "stroke": "#111", "stroke-width": "2"}
            ET.SubElement(group, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "9", **ring})
            near_end = x > LEFT + WIDTH - 190
            place = _text(group, x - 14 if near_end else x + 14, y - 9, f"{point.place}, {point.candidate}")
            place.set("class", "name")
            place.set("text-anchor", "end" if near_end else "start")

    def shape(self, parent: ET.Element, x: float, y: float, size: float) -> None:
        """The mark alone."""
        if self.form == "circle":
            place = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{size:g}"}
            ET.SubElement(parent, "circle", {**place, "fill": self.colour})
            return
        turn = {} if self.form == "square" else {"transform": f"rotate(45 {x:.1f} {y:.1f})"}
        side = f"{1.7 * size:.1f}"
        place = {"x": f"{x - 0.85 * size:.1f}", "y": f"{y - 0.85 * size:.1f}", "width": side, "height": side}
        ET.SubElement(parent, "rect", {**place, **turn, "fill": self.colour})


def _constraints(svg: ET.Element, x: float, y: float, found: Selection) -> None:
    """A line with its value for each."""
    _line(svg, x, TOP, x, TOP + HEIGHT, "limit")
    _line(svg, LEFT, y, LEFT + WIDTH, y, "limit")
    right = x < LEFT + WIDTH - 120
    latency = _text(svg, x + (5 if right else -5), TOP - 8, f"LC {duration(found.constraints.latency_ms)}")
    latency.set("text-anchor", "start" if right else "end")
    accuracy = _text(svg, LEFT + WIDTH - 4, y - 6, f"AC {found.constraints.accuracy:g}")
    accuracy.set("text-anchor", "end")
    for label in (latency, accuracy):
        label.set("class", "limit")


class _Field:
    """Latency on a logarithmic axis against accuracy on a linear one."""

    def __init__(self, fastest: float, slowest: float, worst: float, best: float) -> None:
        self.low, self.high = math.log10(fastest), math.log10(slowest)
        self.worst, self.best = worst, best

    @staticmethod
    def of(latencies: Sequence[float], accuracies: Sequence[float]) -> _Field:
        """A field that holds all values with a little room."""
        room = max(0.01, 0.08 * (max(accuracies) - min(accuracies)))
        return _Field(
            min(latencies) / 1.4, max(latencies) * 1.4, min(accuracies) - room, max(accuracies) + room
        )

    def x(self, latency: float) -> float:
        return LEFT + WIDTH * (math.log10(latency) - self.low) / (self.high - self.low)

    def y(self, accuracy: float) -> float:
        return TOP + HEIGHT * (self.best - accuracy) / (self.best - self.worst)

    def axes(self, svg: ET.Element, metric: str) -> None:
        """Both axes with round ticks, a grid and their names."""
        for latency in self._latencies():
            _line(svg, self.x(latency), TOP, self.x(latency), TOP + HEIGHT, "grid")
            _text(svg, self.x(latency), TOP + HEIGHT + 20, duration(latency)).set("text-anchor", "middle")
        for accuracy in self._accuracies():
            _line(svg, LEFT, self.y(accuracy), LEFT + WIDTH, self.y(accuracy), "grid")
            _text(svg, LEFT - 8, self.y(accuracy) + 4, f"{accuracy:.4g}").set("text-anchor", "end")
        _line(svg, LEFT, TOP + HEIGHT, LEFT + WIDTH, TOP + HEIGHT, "axis")
        _line(svg, LEFT, TOP, LEFT, TOP + HEIGHT, "axis")
        name = _text(svg, LEFT + WIDTH / 2, TOP + HEIGHT + 44, "latency of one sample (logarithmic)")
        name.set("text-anchor", "middle")
        side = _text(svg, 0, 0, f"{metric}, validation")
        side.set("text-anchor", "middle")
        side.set("transform", f"translate(16 {TOP + HEIGHT / 2}) rotate(-90)")

    def _latencies(self) -> list[float]:
        """1, 2 and 5 of every decade; 1 alone where they are many."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        heads = (1, 2, 5) if self.high - self.low < 3 else (1, 3) if self.high - self.low < 4 else (1,)
        found = [head * 10.0**decade for decade in decades for head in heads]
        return [value for value in found if self.low <= math.log10(value) <= self.high]

    def _accuracies(self) -> list[float]:
        """Four to nine round values."""
        span = self.best - self.worst
        step = 10.0 ** math.floor(math.log10(span / 4))
        step *= next(head for head in (1, 2, 5, 10) if span / (step * head) <= 9)
        return [k * step for k in range(math.ceil(self.worst / step), math.floor(self.best / step) + 1)]


def duration(milliseconds: float) -> str:
    """With a unit that suits: `25 µs`, `1.5 ms`, `2 s`."""
    if milliseconds < 1:
        return f"{milliseconds * 1000:.3g} µs"
    return f"{milliseconds:.3g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"


def estimated_timeline(steps: Sequence[StepEstimate], kinds: Mapping[str, str]) -> ET.Element:
    """A row for each kind of step, a block as long as the step's estimated cycles; the dark part is its utilisation."""
    rows = list(dict.fromkeys(step.kind for step in steps))
    total = max(1, sum(step.cycles for step in steps))
    height = len(rows) * (ROW + GAP) + 40
    box = f"0 0 {LABELS + WIDTH + RIGHT} {height}"
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": box, "class": "chart"})
    for row, kind in enumerate(rows):
        _text(svg, 4, row * (ROW + GAP) + ROW * 0.7, kind)
    at = 0
    for step in steps:
        colour, y = kinds.get(step.kind, "#444444"), rows.index(step.kind) * (ROW + GAP)
        x, width = LABELS + at * WIDTH / total, step.cycles * WIDTH / total
        block = ET.SubElement(svg, "g")
        ET.SubElement(block, "title").text = (
            f"{step.name} ({step.kind}): {step.cycles:,} cycles, utilisation {step.utilisation:.1%}, bound by "
            f"{step.bound}"
        )
        busy = ROW * min(1.0, step.utilisation)
        for top, tall, opacity in ((y, ROW, ".35"), (y + ROW - busy, busy, "1")):
            place = {"x": f"{x:.2f}", "y": f"{top:.2f}", "width": f"{width:.2f}", "height": f"{tall:.2f}"}
            ET.SubElement(block, "rect", {**place, "fill": colour, "fill-opacity": opacity})
        at += step.cycles
    bottom = len(rows) * (ROW + GAP)
    _line(svg, LABELS, bottom, LABELS + WIDTH, bottom, "axis")
    for tick in range(6):
        x = LABELS + WIDTH * tick / 5
        _text(svg, x, bottom + 18, f"{total * tick // 5:,}").set("text-anchor", "middle")
    _text(svg, LABELS + WIDTH / 2, bottom + 36, "cycles").set("text-anchor", "middle")
    return svg


def _line(parent: ET.Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    ET.SubElement(parent, "line", {**ends, "class": kind})


def _text(parent: ET.Element, x: float, y: float, text: str) -> ET.Element:
    element = ET.SubElement(parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}"})
    element.text = text
    return element
