"""Columns as wide and rows as high as their boxes, gaps as wide as the labels in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blocks.check import width
from blocks.description import Figure
from blocks.geometry import LABEL, box_size, text_width, units
from blocks.labels import with_width
from blocks.verilog import Module

MARGIN = 4
"""Units around a figure; wires may go there."""


@dataclass
class Grid:
    """Columns as wide and rows as high as their boxes, gaps as wide as the labels between neighbours."""

    figure: Figure
    modules: Mapping[str, Module]
    cells: dict[str, tuple[int, int, int, int]] = field(init=False)
    width: int = field(init=False)
    height: int = field(init=False)

    def __post_init__(self) -> None:
        boxes = self.figure.boxes
        rows = 1 + max(box.at[0] + box.span[0] - 1 for box in boxes)
        columns = 1 + max(box.at[1] + box.span[1] - 1 for box in boxes)
        wide, high = [4] * columns, [4] * rows
        gap_x = [self.figure.gaps[0]] * (columns - 1)
        gap_y = [self.figure.gaps[1]] * (rows - 1)
        self._label_gaps(gap_x, gap_y)
        for box in sorted(boxes, key=lambda box: max(box.span)):
            size = box_size(box)
            self._stretch(wide, gap_x, box.at[1], box.span[1], size[0])
            self._stretch(high, gap_y, box.at[0], box.span[0], size[1])
        margin = MARGIN + (2 if self.figure.frames else 0)
        left = [margin + sum(wide[:n]) + sum(gap_x[:n]) for n in range(columns)]
        top = [margin + sum(high[:n]) + sum(gap_y[:n]) for n in range(rows)]
        self.cells = {}
        for box in boxes:
            (row, column), (tall, broad) = box.at, box.span
            right, bottom = column + broad - 1, row + tall - 1
            size = box_size(box)
            across = left[right] + wide[right] - left[column]
            down = top[bottom] + high[bottom] - top[row]
            # A box alone in its place keeps its own height, in the middle; one over several is stretched.
            kept = size[1] if tall == 1 else down
            self.cells[box.key] = (left[column], top[row] + (down - kept) // 2, across, kept)
        self.width = margin + left[-1] + wide[-1]
        self.height = margin + top[-1] + high[-1]

    @staticmethod
    def _stretch(sizes: list[int], gaps: list[int], at: int, span: int, needed: int) -> None:
        there = sum(sizes[at : at + span]) + sum(gaps[at : at + span - 1])
        if there < needed:
            sizes[at + span - 1] += needed - there + (needed - there) % 2

    def _label_gaps(self, gap_x: list[int], gap_y: list[int]) -> None:
        """A label between neighbours of a row wants the gap; between those of a column, its height."""
        for wire in self.figure.wires:
            if not wire.label:
                continue
            source = self.figure.box(wire.source)
            for key in wire.targets.split():
                target = self.figure.box(key)
                first, second = sorted((source, target), key=lambda box: box.at[1])
                same_rows = (
                    first.at[0] < second.at[0] + second.span[0] and second.at[0] < first.at[0] + first.span[0]
                )
                end = first.at[1] + first.span[1] - 1
                if same_rows and second.at[1] == end + 1:
                    lines = with_width(tuple(wire.label.split("\n")), width(self.figure, wire, self.modules))
                    widest = max(text_width(line, LABEL) for line in lines)
                    gap_x[end] = max(gap_x[end], units(widest + 22))
