"""Puts small faults into the Verilog engine, one at a time, and counts how many of them simulation notices.

`python tools/mutate_rtl.py --sample 150 --seed 0` prints every survivor with its line and writes
`tools/bench/results/mutation_rtl.json` under --evidence. Exit status 1 below the target.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from mutate import TARGET, show
from mutation.equivalents import BadEquivalentsError, read
from mutation.stimulus import benches
from mutation.trial import Result
from mutation_rtl.engine import WholeEngine
from mutation_rtl.memory import Outcomes, simulator
from mutation_rtl.modules import ModuleBenches, module_cases
from mutation_rtl.mutants import draw, mutants, sources
from mutation_rtl.trial import RtlTrial

from flow.sim import verilator

RUN_SECONDS = 1500.0
"""A bench that a mutant keeps from ending: benches have limits of their own in cycles, so that this is for the
simulator that stands still. On a quiet machine none takes a tenth of it."""
TOOLS = Path(__file__).resolve().parent
EQUIVALENTS = TOOLS / "mutation_rtl" / "equivalents.toml"
RESULT = TOOLS / "bench" / "results" / "mutation_rtl.json"
SOURCES = (
    "templates/rtl/*", "flow/emit/rtl.py", "tests/rtl/**/*.py", "tools/mutation_rtl/*", "tools/mutate_rtl.py",
    "tools/mutation/*.py",
)  # fmt: skip


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="mutate_rtl.py", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--sample", type=int, default=150, help="mutants that compile and are not known equivalents"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", help="only this class; repeatable")
    parser.add_argument("--file", action="append", help="only lines of this file; repeatable")
    parser.add_argument("--key", action="append", help="only this mutant; repeatable")
    parser.add_argument(
        "--list", action="store_true", help="count the mutants of each class and file and stop"
    )
    parser.add_argument("--evidence", action="store_true", help="write tools/bench/results/mutation_rtl.json")
    return parser.parse_args(arguments)


def write(options: argparse.Namespace, result: Result, population: Counter[str], outcomes: Outcomes) -> None:
    """The evidence."""
    sys.path.insert(0, str(TOOLS / "bench"))
    from evidence import write_evidence

    command = f"python tools/mutate_rtl.py --sample {options.sample} --seed {options.seed} --evidence"
    data = {
        "seed": options.seed, "target": TARGET, "population": dict(sorted(population.items())),
        **result.to_json(), "kills": result.kills(),
        "simulator": simulator(), "outcomes": dict(sorted(outcomes.met.items())),
    }  # fmt: skip
    print(write_evidence("mutation_rtl", command, SOURCES, data), file=sys.stderr)


def main() -> int:
    """Draw, try, report."""
    options = parse()
    verilator.RUN_SECONDS = RUN_SECONDS
    texts = sources()
    every = mutants(texts)
    population = Counter(mutant.kind for mutant in every)
    if options.list:
        for counts in (population, Counter(mutant.file for mutant in every)):
            print("\n".join(f"{name:24} {count}" for name, count in sorted(counts.items())))
        return 0
    try:
        reasons = read(every, EQUIVALENTS)
    except BadEquivalentsError as error:
        print(error, file=sys.stderr)
        return 2
    wanted = [
        mutant for mutant in every
        if (not options.kind or mutant.kind in options.kind) and (not options.file or mutant.file in options.file)
        and (not options.key or mutant.key in options.key)
    ]  # fmt: skip
    outcomes = Outcomes.of(RESULT)
    modules = ModuleBenches(module_cases(), outcomes=outcomes)
    trial = RtlTrial(modules, WholeEngine(tuple(benches()), outcomes=outcomes), texts)
    order = draw(wanted, 2 * options.sample, options.seed)
    result = trial.run(order, options.sample, reasons, show)
    for survivor in result.survivors:
        print(survivor)
    print(
        f"{len(result.killed)} of {result.tried} killed ({result.score:.1%}), {len(result.equivalent)} equivalent, "
        f"{result.refused} refused"
    )
    if options.evidence:
        write(options, result, population, outcomes)
    return 0 if result.score >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
