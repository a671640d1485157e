"""The memory image of a board that keeps it on chip: what block RAM it takes."""

from __future__ import annotations

from flow.boards import Board
from flow.engine import Engine

BLOCK_BEATS = 2048
"""Beats of one block of the image's memory (templates/chip/chip_image.v): a block RAM of 18 Kibit holds 8 bits of each
of them, its parity bits unused. As many shallower ones would bring more wires to choose among."""
_BLOCK_BITS = 8


def image_blocks(beats: int) -> int:
    """Blocks of memory that hold so many beats."""
    return -(-beats // BLOCK_BEATS)


def image_bram18(beats: int, board: Board) -> int:
    """Block RAMs of 18 Kibit that an image of so many beats takes; none where the board keeps it off chip.

    It is `ceil(beats / 2048) * ceil(bits of a beat / 8)`.
    """
    if board.weights != "on-chip":
        return 0
    return image_blocks(beats) * -(-8 * board.axi_beat_bytes // _BLOCK_BITS)


def shell_bram18(engine: Engine) -> int:
    """Block RAMs of 18 Kibit of the shell: one for a packet's words, and for each stream those of 256 beats, which are
    36 bits wide at most."""
    return 1 + 2 * -(-8 * engine.stream_bytes // 36)
