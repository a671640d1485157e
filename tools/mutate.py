"""Puts small faults into the C++ kernel, one at a time, and counts how many of them simulation notices.

`python tools/mutate.py --sample 240 --seed 0` prints every survivor with its line and writes
`tools/bench/results/mutation.json` under --evidence. Exit status 1 below the target or where a class has no kill.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from mutation.cosim import CoSim
from mutation.equivalents import BadEquivalentsError, read
from mutation.killers import SANITIZED, CSim, Killer, Verdict
from mutation.memory import Memory
from mutation.mutants import Mutant, draw, mutants, sources
from mutation.stimulus import benches
from mutation.trial import Result, Trial

TARGET = 0.95
KILLERS: Mapping[str, Callable[[], Killer]] = {
    "csim": CSim,
    "cosim": CoSim,
    "sanitized": lambda: CSim("sanitized", SANITIZED),
}
"""In the order in which a mutant meets them: what one lets live goes to the next."""
STREAMS = "beat"
"""The class of faults at ports and FIFOs: under --evidence simulation beside a clock meets all of them."""
SOURCES = (
    "hls/*/**/*.[hc]*",
    "templates/*.cpp.j2",
    "templates/dispatch.hpp.j2",
    "templates/sim/*.sv.j2",
    "tools/mutation/*",
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="mutate.py", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--sample", type=int, default=240, help="mutants that compile and are not known equivalents"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", help="only this class; repeatable")
    parser.add_argument("--file", help="only lines of this file")
    parser.add_argument("--key", action="append", help="only this mutant; repeatable")
    parser.add_argument("--backend", action="append", choices=sorted(KILLERS), help="killers in order [all]")
    parser.add_argument("--list", action="store_true", help="count the mutants of each class and stop")
    parser.add_argument("--evidence", action="store_true", help="write tools/bench/results/mutation.json")
    return parser.parse_args(arguments)


def show(done: int, count: int, mutant: Mutant, verdict: Verdict) -> None:
    """One line a mutant on stderr; survivors in full."""
    how = f"{verdict.how} ({verdict.case})" if verdict.case else verdict.how or "SURVIVED"
    print(f"{done}/{count} {mutant.file}:{mutant.line} {mutant.kind}: {how}", file=sys.stderr)
    if not verdict.how:
        print(f"  - {mutant.before.strip()}\n  + {mutant.after.strip()}", file=sys.stderr, flush=True)


def write(
    options: argparse.Namespace, result: Result, streams: Result, population: Counter[str], seconds: float
) -> None:
    """The evidence."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "bench"))
    from evidence import write_evidence

    command = f"python tools/mutate.py --sample {options.sample} --seed {options.seed} --evidence"
    data = {
        "seed": options.seed, "target": TARGET, "population": dict(sorted(population.items())),
        "seconds": round(seconds), **result.to_json(),
        "streams_beside_a_clock": streams.to_json() | {"kills": streams.kills()},
    }  # fmt: skip
    print(write_evidence("mutation", command, SOURCES, data), file=sys.stderr)


def main() -> int:
    """Draw, try, report."""
    options = parse()
    texts = sources()
    every = mutants(texts)
    population = Counter(mutant.kind for mutant in every)
    if options.list:
        print("\n".join(f"{kind:12} {count}" for kind, count in sorted(population.items())))
        return 0
    try:
        reasons = read(every)
    except BadEquivalentsError as error:
        print(error, file=sys.stderr)
        return 2
    wanted = [
        mutant for mutant in every
        if (not options.kind or mutant.kind in options.kind) and (not options.file or mutant.file == options.file)
        and (not options.key or mutant.key in options.key)
    ]  # fmt: skip
    killers: list[Killer] = [KILLERS[name]() for name in options.backend or KILLERS]
    start = time.monotonic()
    order = draw(wanted, 2 * options.sample, options.seed)
    trial = Trial(killers, list(benches()), texts, Memory())
    result = trial.run(order, options.sample, reasons, show)
    for survivor in result.survivors:
        print(survivor)
    print(
        f"{len(result.killed)} of {result.tried} killed ({result.score:.1%}), {len(result.equivalent)} equivalent"
    )
    if options.evidence:
        beats = [mutant for mutant in every if mutant.kind == STREAMS]
        alone = Trial([CoSim()], trial.benches, texts, trial.memory)
        streams = alone.run(beats, len(beats), reasons, show)
        write(options, result, streams, population, time.monotonic() - start)
    classes = result.to_json()["classes"].values()
    return 0 if result.score >= TARGET and all(c["killed"] for c in classes) else 1


if __name__ == "__main__":
    sys.exit(main())
