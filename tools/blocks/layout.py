"""Places a figure: boxes on a grid, wires around them at right angles, labels where nothing else is."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.check import width
from blocks.description import Figure
from blocks.geometry import UNIT, Placed, Route, around, pixels
from blocks.grid import Grid
from blocks.labels import Labels
from blocks.routing import Router
from blocks.verilog import Module


def place(figure: Figure, modules: Mapping[str, Module]) -> Placed:
    """Find a place for everything.

    Raises:
        NoWayError: a wire or a label finds none.
    """
    grid = Grid(figure, modules)
    rects = {key: pixels(*cells) for key, cells in grid.cells.items()}
    router = Router(grid)
    paths = [(wire, router.lay(wire)) for wire in figure.wires]
    frames = tuple((frame, around(frame, figure, rects)) for frame in figure.frames)
    size = (UNIT * float(grid.width), UNIT * float(grid.height))
    labels = Labels(rects, paths, frames, figure, size)
    routes = []
    for wire, branches in paths:
        lines = tuple(wire.label.split("\n")) if wire.label else ()
        label = labels.put(wire, branches, lines, width(figure, wire, modules)) if lines else None
        routes.append(Route(wire, tuple(branches), label))
    return Placed(figure, size, rects, tuple(routes), frames)
