"""The timeline of one frame on the Verilog engine as an SVG picture: which unit worked when, and what the array did."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, LEFT, TOP, ROW, GAP = 1200, 110, 40, 26, 8
"""Pixels: of the drawing without its left margin, that margin, above the rows, of a row, and between rows."""
TICKS = 8
COLOURS = {
    "linear": "#3b6ea5",
    "attention": "#b5542c",
    "norm": "#5b8c3e",
    "pool": "#8a6d3b",
    "input": "#777777",
    "constant": "#999999",
    "output": "#555555",
}
_STEP_KEYS = ("macs", "slots", "idle_slots", "waits_data", "waits_source")


def timeline_svg(title: str, cycles: Mapping[str, Any]) -> str:
    """A row for each kind of step, a block for each step as long as its cycles.

    `cycles` is what `flow.sim.rtl.cycles_json` gives. The dark part of a block is the share of its cycles in which the
    array took operands; a block's tooltip has its numbers.
    """
    steps: Sequence[Mapping[str, Any]] = cycles["steps"]
    kinds = list(dict.fromkeys(step["kind"] for step in steps))
    total = max(1, sum(step["cycles"] for step in steps))
    height = TOP + len(kinds) * (ROW + GAP) + 40
    root = ET.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {LEFT + WIDTH + 20} {height}",
        attrib={"font-family": "sans-serif", "font-size": "12"},
    )
    _text(
        root,
        LEFT,
        20,
        f"{title}: {cycles['cycles']:,} cycles, utilisation {cycles['utilisation']:.1%} of "
        f"{cycles['multipliers']:,} multipliers",
    )
    for row, kind in enumerate(kinds):
        _text(root, 8, TOP + row * (ROW + GAP) + ROW * 0.7, kind)
    at = 0
    for step in steps:
        _block(root, step, at * WIDTH / total, kinds.index(step["kind"]), WIDTH / total)
        at += step["cycles"]
    _axis(root, total, TOP + len(kinds) * (ROW + GAP) + 4)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _block(root: ET.Element, step: Mapping[str, Any], left: float, row: int, scale: float) -> None:
    colour = COLOURS.get(step["kind"], "#444444")
    width, y = step["cycles"] * scale, TOP + row * (ROW + GAP)
    block = ET.SubElement(root, "g")
    numbers = ", ".join(f"{key.replace('_', ' ')} {step[key]:,}" for key in _STEP_KEYS)
    ET.SubElement(block, "title").text = (
        f"{step['name']} ({step['kind']}): {step['cycles']:,} cycles, estimated {step['estimated_cycles']:,}, "
        f"utilisation {step['utilisation']:.1%}; {numbers}"
    )
    busy = min(1.0, (step["slots"] - step["idle_slots"]) / max(1, step["cycles"]))
    _rectangle(block, LEFT + left, y, width, ROW, colour, 0.35)
    _rectangle(block, LEFT + left, y + ROW * (1 - busy), width, ROW * busy, colour, 1.0)


def _axis(root: ET.Element, total: int, y: float) -> None:
    _rectangle(root, LEFT, y, WIDTH, 1, "#000000", 1.0)
    for tick in range(TICKS + 1):
        x = LEFT + WIDTH * tick / TICKS
        _rectangle(root, x, y, 1, 5, "#000000", 1.0)
        _text(root, x, y + 18, f"{total * tick // TICKS:,}", anchor="middle")


def _rectangle(
    parent: ET.Element, x: float, y: float, width: float, height: float, colour: str, opacity: float
) -> None:
    place = {"x": f"{x:.2f}", "y": f"{y:.2f}", "width": f"{width:.2f}", "height": f"{height:.2f}"}
    ET.SubElement(parent, "rect", {**place, "fill": colour, "fill-opacity": f"{opacity:g}"})


def _text(parent: ET.Element, x: float, y: float, text: str, anchor: str = "start") -> None:
    ET.SubElement(parent, "text", {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor}).text = text
