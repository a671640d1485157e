"""Every figure, in the order of docs/microarchitecture.md."""

from __future__ import annotations

from blocks.description import Figure
from blocks.figures import array, attention, chip, engine, loader, memories, norm, post, streams

FIGURES: tuple[Figure, ...] = tuple(
    figure
    for part in (engine, loader, array, post, memories, attention, norm, streams, chip)
    for figure in part.FIGURES
)
