"""FPGA boards as data: `boards/*.toml` to a frozen `Board`, every figure with the document behind it.

A board file has six parts: the head (names, flow, clock target), `[resources]`, `[memory]`, `[power]` (which may be
left out: energy is unknown then) and a list of `[[sources]]`, each of which names a document and the figures taken from
it. A figure without a source is refused, and so is a source for a figure that does not exist: nobody can add an
unproven number.
"""

from flow.boards.board import DSP_KINDS, NO_FIGURES, NOMINAL, Board, DspKind, Level, Memory, Power, Source
from flow.boards.files import FIGURES, figures_of, list_boards, load_board, parse_board, read_board

__all__ = [
    "DSP_KINDS",
    "FIGURES",
    "NOMINAL",
    "NO_FIGURES",
    "Board",
    "DspKind",
    "Level",
    "Memory",
    "Power",
    "Source",
    "figures_of",
    "list_boards",
    "load_board",
    "parse_board",
    "read_board",
]
