"""Lays wires one after the other, the cheapest way: short, few bends, few crossings, never along another one."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise

from blocks.description import Wire
from blocks.geometry import UNIT, Branch, Cell, NoWayError, around, frame_title, pixels, when_rect
from blocks.grid import Grid

_STEPS: dict[str, Cell] = {"r": (1, 0), "l": (-1, 0), "b": (0, 1), "t": (0, -1)}
_OPPOSITE = {"r": "l", "l": "r", "t": "b", "b": "t"}

Port = tuple[Cell, str]
"""A cell, and the way in which a wire passes it."""


class Router:
    """Lays wires one after the other, the cheapest way: short, few bends, few crossings, never along another one."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._inside: set[Cell] = set()
        for x, y, wide, high in grid.cells.values():
            self._inside |= {(a, b) for a in range(x, x + wide + 1) for b in range(y, y + high + 1)}
        self._near: dict[Cell, float] = {}
        for x, y, wide, high in grid.cells.values():
            for a in range(x - 1, x + wide + 2):
                for b in range(y - 1, y + high + 2):
                    if (a, b) not in self._inside:
                        self._near[a, b] = 1.5
        # Where words stand.
        rects = {key: pixels(*cells) for key, cells in grid.cells.items()}
        words = [when_rect(rects[box.key], box.when) for box in grid.figure.boxes if box.when]
        words += [frame_title(frame, around(frame, grid.figure, rects)) for frame in grid.figure.frames]
        self._words: set[Cell] = {
            (x, y)
            for at in words
            for x in range(int(at.x // UNIT), int((at.x + at.width) // UNIT) + 1)
            for y in range(int(at.y // UNIT), int((at.y + at.height) // UNIT) + 1)
        }
        # Edges in use, cells where wires bend or end, and how wires pass cells.
        self._edges: set[frozenset[Cell]] = set()
        self._blocked: set[Cell] = set()
        self._along: dict[Cell, set[str]] = {}
        self._docks: set[Cell] = set()

    def lay(self, wire: Wire) -> list[Branch]:
        """The wire's branches.

        Raises:
            NoWayError: there is no way.
        """
        branches: list[Branch] = []
        # Of the cells from which a branch may leave: the ways that are taken.
        trunk: dict[Cell, set[str]] = {}
        for key in wire.targets.split():
            goals = self._docking(key, wire.sides[1], inwards=True)
            if branches:
                starts = {
                    (cell, way): 1.0 for cell, ways in trunk.items() for way in "rlbt" if way not in ways
                }
            else:
                starts = self._docking(wire.source, wire.sides[0], inwards=False)
            path = self._search(starts, goals, trunk if branches else {})
            if path is None:
                raise NoWayError(f"{self._grid.figure.name}: found no way from {wire.source} to {key}")
            branches.append(Branch(_corners(path), tee=bool(branches)))
            for here, there in pairwise(path):
                self._edges.add(frozenset((here, there)))
                way = next(
                    w for w, step in _STEPS.items() if step == (there[0] - here[0], there[1] - here[1])
                )
                for cell, arm in ((here, way), (there, _OPPOSITE[way])):
                    self._along.setdefault(cell, set()).add("h" if way in "rl" else "v")
                    trunk.setdefault(cell, set()).add(arm)
            self._docks |= {path[0], path[-1]}
            bends = [
                b for a, b, c in zip(path, path[1:], path[2:], strict=False) if a[0] != c[0] and a[1] != c[1]
            ]
            self._blocked |= {path[0], path[-1], *bends}
            # No branch leaves at a box or behind an arrow's head.
            for end in (*path[:2], *path[-3:]):
                trunk.pop(end, None)
        return branches

    def _docking(self, key: str, side: str, *, inwards: bool) -> dict[Port, float]:
        """Cells of a box's border that are free, with the way a wire goes there, and what they cost."""
        x, y, wide, high = self._grid.cells[key]
        found: dict[Port, float] = {}
        for where in "rlbt" if side == "." else side:
            length = high if where in "rl" else wide
            for n in range(1, length):
                cell = {
                    "r": (x + wide, y + n),
                    "l": (x, y + n),
                    "t": (x + n, y),
                    "b": (x + n, y + high),
                }[where]
                near = sum(
                    (cell[0] + a, cell[1] + b) in self._docks for a, b in ((0, 1), (0, -1), (1, 0), (-1, 0))
                )
                if cell in self._docks:
                    continue
                way = _OPPOSITE[where] if inwards else where
                # Corners look poor, and so do wires beside each other.
                edge = 3.0 if n in {1, length - 1} else 0.0
                found[cell, way] = 0.15 * abs(n - length / 2) + edge + 4.0 * near
        return found

    def _search(
        self, starts: Mapping[Port, float], goals: Mapping[Port, float], trunk: Mapping[Cell, set[str]]
    ) -> list[Cell] | None:
        """The cheapest way from a start to a goal, by A*; a place is a cell and the way in which it is entered."""
        if not goals:
            return None
        left, right = min(c[0] for c, _ in goals), max(c[0] for c, _ in goals)
        top, bottom = min(c[1] for c, _ in goals), max(c[1] for c, _ in goals)

        def bound(cell: Cell) -> float:
            across = max(left - cell[0], cell[0] - right, 0)
            return float(across + max(top - cell[1], cell[1] - bottom, 0))

        best = dict(starts)
        before: dict[Port, Port | None] = dict.fromkeys(starts)
        queue = [(cost + bound(cell), cost, cell, way) for (cell, way), cost in starts.items()]
        heapq.heapify(queue)
        while queue:
            _, cost, cell, way = heapq.heappop(queue)
            at = (cell, way)
            if cost > best[at]:
                continue
            first = before[at] is None
            if at in goals and not first:
                return _path(at, before)
            for turn in way if first else "rlbt".replace(_OPPOSITE[way], ""):
                there = (cell[0] + _STEPS[turn][0], cell[1] + _STEPS[turn][1])
                arrives = (there, turn) in goals
                if not self._open(cell, there, arrives=arrives):
                    continue
                price = self._price(at, (there, turn), trunk, arrives=arrives)
                if price is None:
                    continue
                new = cost + price + goals.get((there, turn), 0.0)
                if new < best.get((there, turn), float("inf")):
                    best[there, turn] = new
                    before[there, turn] = at
                    heapq.heappush(queue, (new + bound(there), new, there, turn))
        return None

    def _open(self, cell: Cell, there: Cell, *, arrives: bool) -> bool:
        """Whether a wire may go from a cell to its neighbour at all."""
        on_paper = 1 <= there[0] < self._grid.width and 1 <= there[1] < self._grid.height
        free = there not in self._inside or arrives
        return on_paper and free and there not in self._words and frozenset((cell, there)) not in self._edges

    def _price(self, at: Port, to: Port, trunk: Mapping[Cell, set[str]], *, arrives: bool) -> float | None:
        """What a step costs, or None where it would run along another wire or bend on it."""
        (cell, way), (there, turn) = at, to
        price = 1.0
        if turn != way:
            if cell in self._along and cell not in trunk:
                return None
            price += 5.0
        axis = "h" if turn in "rl" else "v"
        if not arrives:
            others = self._along.get(there, set())
            if there in self._blocked or there in trunk or axis in others:
                return None
            price += 7.0 * bool(others) + self._near.get(there, 0.0)
            sides = ((0, 1), (0, -1)) if axis == "h" else ((1, 0), (-1, 0))
            price += sum(1.2 for a, b in sides if axis in self._along.get((there[0] + a, there[1] + b), ()))
        return price


def _path(at: Port, before: Mapping[Port, Port | None]) -> list[Cell]:
    cells, place = [], at
    while True:
        cells.append(place[0])
        previous = before[place]
        if previous is None:
            return cells[::-1]
        place = previous


def _corners(path: list[Cell]) -> tuple[tuple[float, float], ...]:
    kept = [path[0]]
    for a, b, c in zip(path, path[1:], path[2:], strict=False):
        if not (a[0] == b[0] == c[0] or a[1] == b[1] == c[1]):
            kept.append(b)
    return tuple((float(x * UNIT), float(y * UNIT)) for x, y in (*kept, path[-1]))
