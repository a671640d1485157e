"""What a search found as one HTML page that needs nothing else: verdicts, fronts, the winner's timeline."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flow.sim.timeline import timeline_svg

if TYPE_CHECKING:
    from flow.search.loop import Point, Selection

WIDTH, HEIGHT, LEFT, TOP = 900, 420, 70, 30
"""Pixels of the drawing's field, and of its margins at the left and above."""
COLOURS = ("#3b6ea5", "#b5542c", "#5b8c3e", "#8a6d3b", "#7a4fa3", "#2f8f8b", "#a33b5e", "#5a5a5a")
STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 1100px; color: #222 }
table { border-collapse: collapse } th, td { padding: .25em .8em; text-align: left; border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums } .serves { font-weight: bold; color: #2d6a1f }
svg { width: 100%; height: auto }
"""


def page_of(found: Selection, model: str) -> str:
    """The page, self-contained; what was not measured is left out, not guessed."""
    root = ET.Element("html", lang="en")
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "title").text = f"flow select {model}"
    ET.SubElement(head, "style").text = STYLE
    body = ET.SubElement(root, "body")
    limits = found.constraints
    ET.SubElement(
        body, "h1"
    ).text = f"{model}: at most {limits.latency_ms:g} ms, at least {limits.accuracy:g}"
    ET.SubElement(body, "p").text = summary(found)
    ET.SubElement(body, "h2").text = "Boards, in order"
    _verdicts(body, found)
    ET.SubElement(body, "h2").text = "Fronts"
    ET.SubElement(body, "p").text = (
        f"Latency of one sample against {found.metric} on validation, for every candidate that was trained. Lines join "
        "what no other candidate of the board beats in both; dashes are the constraints."
    )
    body.append(_fronts(found))
    untrained = sorted({point.candidate for point in found.points if point.accuracy is None})
    if untrained:
        ET.SubElement(body, "p").text = f"Not needed for the answer, so not trained: {', '.join(untrained)}."
    if found.confirmed is not None:
        ET.SubElement(body, "h2").text = "The winner, cycle by cycle"
        body.append(ET.fromstring(timeline_svg(model, found.confirmed)))
    ET.indent(root)
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def summary(found: Selection) -> str:
    """The answer in a sentence or two."""
    best = found.winner
    if best is None:
        return "No board meets both constraints; the table shows how near each comes."
    text = (
        f"{best.board} with {best.candidate}: {best.latency_ms:.4g} ms, {found.metric} {best.accuracy:.4f} on "
        f"validation and {found.test_accuracy:.4f} on test samples that decided nothing."
    )
    if found.confirmed is not None:
        cycles, estimated = found.confirmed["cycles"], found.confirmed["estimated_cycles"]
        text += f" Simulated: {cycles:,} cycles, {cycles / estimated - 1:+.2%} of the estimate."
    return text


def front(points: Iterable[Point]) -> list[Point]:
    """Points that no other one beats in latency and accuracy, by ascending latency."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, -(p.accuracy or 0.0))):
        if point.accuracy is not None and (not best or point.accuracy > (best[-1].accuracy or 0.0)):
            best.append(point)
    return best


def _verdicts(body: ET.Element, found: Selection) -> None:
    table = ET.SubElement(body, "table")
    row = ET.SubElement(table, "tr")
    for name in (
        "board",
        "verdict",
        "candidate",
        "latency, ms",
        found.metric,
        "why it cannot hold the model",
    ):
        ET.SubElement(row, "th").text = name
    for judged in found.choice.verdicts:
        row = ET.SubElement(table, "tr")
        if judged.reason == "serves":
            row.set("class", "serves")
        for text in (judged.board, judged.reason, judged.candidate or "–"):
            ET.SubElement(row, "td").text = text
        latency = "–" if judged.latency_ms is None else f"{judged.latency_ms:.4g}"
        accuracy = "–" if judged.accuracy is None else f"{judged.accuracy:.4f}"
        for text in (latency, accuracy):
            ET.SubElement(row, "td", {"class": "number"}).text = text
        ET.SubElement(row, "td").text = judged.refusal or "–"


def _fronts(found: Selection) -> ET.Element:
    shown = [point for point in found.points if point.accuracy is not None]
    boards = list(dict.fromkeys(point.board for point in shown))
    field = _Field.of(
        [point.latency_ms for point in shown] + [found.constraints.latency_ms],
        [point.accuracy or 0.0 for point in shown] + [found.constraints.accuracy],
    )
    svg = ET.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {LEFT + WIDTH + 180} {TOP + HEIGHT + 50}",
        attrib={"font-family": "sans-serif", "font-size": "12"},
    )
    field.axes(svg, found.metric)
    dashed = {"stroke": "#c00", "stroke-dasharray": "6 4"}
    x, y = field.x(found.constraints.latency_ms), field.y(found.constraints.accuracy)
    _line(svg, x, TOP, x, TOP + HEIGHT, dashed)
    _line(svg, LEFT, y, LEFT + WIDTH, y, dashed)
    for number, board in enumerate(boards):
        colour = COLOURS[number % len(COLOURS)]
        here = [point for point in shown if point.board == board]
        corners = " ".join(
            f"{field.x(p.latency_ms):.1f},{field.y(p.accuracy or 0.0):.1f}" for p in front(here)
        )
        ET.SubElement(svg, "polyline", {"points": corners, "fill": "none", "stroke": colour})
        for point in here:
            dot = ET.SubElement(
                svg, "circle", cx=f"{field.x(point.latency_ms):.1f}", cy=f"{field.y(point.accuracy or 0.0):.1f}", r="4",
                fill=colour,
            )  # fmt: skip
            ET.SubElement(
                dot, "title"
            ).text = f"{point.board}, {point.candidate}: {point.latency_ms:.4g} ms, {point.accuracy:.4f}"
        _text(svg, LEFT + WIDTH + 28, TOP + 14 + 18 * number, board)
        ET.SubElement(
            svg, "circle", cx=str(LEFT + WIDTH + 16), cy=str(TOP + 10 + 18 * number), r="5", fill=colour
        )
    return svg


class _Field:
    """Latency on a logarithmic axis against accuracy on a linear one."""

    def __init__(self, fastest: float, slowest: float, worst: float, best: float) -> None:
        self.low, self.high = math.log10(fastest), math.log10(slowest)
        self.worst, self.best = worst, best

    @staticmethod
    def of(latencies: Sequence[float], accuracies: Sequence[float]) -> _Field:
        """A field that holds all values with a little room."""
        room = max(0.01, 0.05 * (max(accuracies) - min(accuracies)))
        return _Field(
            min(latencies) / 1.2, max(latencies) * 1.2, min(accuracies) - room, max(accuracies) + room
        )

    def x(self, latency: float) -> float:
        return LEFT + WIDTH * (math.log10(latency) - self.low) / (self.high - self.low)

    def y(self, accuracy: float) -> float:
        return TOP + HEIGHT * (self.best - accuracy) / (self.best - self.worst)

    def axes(self, svg: ET.Element, metric: str) -> None:
        """Both axes with their ticks."""
        black = {"stroke": "#000"}
        _line(svg, LEFT, TOP + HEIGHT, LEFT + WIDTH, TOP + HEIGHT, black)
        _line(svg, LEFT, TOP, LEFT, TOP + HEIGHT, black)
        for tick in range(6):
            latency = 10 ** (self.low + (self.high - self.low) * tick / 5)
            _text(svg, self.x(latency), TOP + HEIGHT + 18, f"{latency:.3g}", anchor="middle")
            accuracy = self.worst + (self.best - self.worst) * tick / 5
            _text(svg, LEFT - 8, self.y(accuracy) + 4, f"{accuracy:.3f}", anchor="end")
        _text(svg, LEFT + WIDTH / 2, TOP + HEIGHT + 38, "latency, ms", anchor="middle")
        _text(svg, LEFT, TOP - 12, metric)


def _line(parent: ET.Element, x1: float, y1: float, x2: float, y2: float, look: dict[str, str]) -> None:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    ET.SubElement(parent, "line", {**ends, **look})


def _text(parent: ET.Element, x: float, y: float, text: str, anchor: str = "start") -> None:
    ET.SubElement(parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}).text = text
