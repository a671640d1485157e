"""Draws the blocks of the Verilog, a figure each, to `docs/images/blocks/`: the same descriptions give the same bytes.

`python tools/draw_blocks.py` writes them all; `--check` writes nothing and names those that are not as they would be
written. What a figure says is in `tools/blocks`, and is held to the Verilog first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from blocks.check import faults, missing
from blocks.description import Figure
from blocks.figures.every import FIGURES
from blocks.geometry import NoWayError
from blocks.layout import place
from blocks.svg import write
from blocks.verilog import modules

PLACE = Path(__file__).resolve().parent.parent / "docs" / "images" / "blocks"


def drawn(figures: Iterable[Figure] = FIGURES) -> dict[str, str]:
    """Every figure's file by name.

    Raises:
        NoWayError: a wire or a label finds no place.
    """
    there = modules()
    return {f"{figure.name}.svg": write(place(figure, there)) for figure in figures}


def stale(place: Path = PLACE) -> list[str]:
    """Files that are not there, not as they would be written, or of no figure."""
    files = drawn()
    found = {path.name: path.read_text() for path in place.glob("*.svg")}
    return sorted(name for name in files.keys() | found.keys() if files.get(name) != found.get(name))


def main(arguments: list[str] | None = None) -> int:
    """Draw or check; the exit status is 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(prog="draw_blocks.py", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; name what is stale")
    parser.add_argument("names", nargs="*", help="figures to draw, without others; all where there is none")
    options = parser.parse_args(arguments)
    there = modules()
    figures = [figure for figure in FIGURES if not options.names or figure.name in options.names]
    wrong = [fault for figure in figures for fault in faults(figure, there)]
    if not options.names:
        wrong += [f"{name}: found in no figure" for name in missing(FIGURES, there)]
    for line in wrong:
        print(line, file=sys.stderr)
    if options.check:
        old = stale()
        for name in old:
            print(f"{name}: not as `python tools/draw_blocks.py` would write it", file=sys.stderr)
        return int(bool(old or wrong))
    PLACE.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        try:
            (text,) = drawn([figure]).values()
        except (NoWayError, KeyError) as error:
            print(error, file=sys.stderr)
            wrong.append(figure.name)
            continue
        (PLACE / f"{figure.name}.svg").write_text(text)
        print(PLACE / f"{figure.name}.svg")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
