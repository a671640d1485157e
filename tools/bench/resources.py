"""Calibrate the estimate of look-up tables and flip-flops against Yosys, and test it on engines it was not fitted to.

    python tools/bench/resources.py [--minutes 25] [--wide]

Synthesises engines by module for UltraScale+ and ECP5 (cached by content: a second run takes seconds), fits for each
block of the Verilog engine what one unit of its terms costs (`flow.ops.blocks`; non-negative least squares), and writes
`flow/cost/calibration.json`. Then engines that a seed draws are compared: DSP and block RAM have to be equal, LUT and
FF within 10 %. Exit status 1 where they are not, or where `--minutes` ended before all engines were synthesised.

One more UltraScale+ engine has its memories in UltraRAM, whose count has to be equal too. `--wide` adds an engine of
4,096 multipliers on UltraScale+, whose array has to hold two products a DSP48E2, and whose post pipeline at most 20 %
as many beside it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from evidence import ROOT, write_evidence
from scipy.optimize import nnls

from flow.boards import DSP_KINDS
from flow.cost.resources import CALIBRATION, calibration, dsp_of, mapped, placed, stages, uram_of
from flow.emit.contexts import TOP
from flow.emit.rtl import rtl_files
from flow.engine import STAGES, Engine
from flow.ops.hardware import Memory, Term
from flow.synth.primitives import TARGETS, Target
from flow.synth.yosys import Synthesis, synthesise

FAMILIES = ("xcup", "ecp5")
TARGET = 0.10
PULL = 1e-3
HELD_OUT = 4
SEEDS = {"xcup": 1, "ecp5": 3}
"""Of the held-out engines."""
SOURCES = (
    "templates/rtl/*",
    "flow/synth/*.py",
    "flow/emit/rtl.py",
    "flow/cost/resources.py",
    "flow/ops/blocks.py",
    "tools/bench/resources.py",
)


def engine(lanes: tuple[int, ...], depths: tuple[int, ...] = (512, 512, 256), **more: object) -> Engine:
    """T, B, P, L, H, W and S, and the depths of operands, store and values."""
    names = ("tokens", "banks", "rows", "norm_lanes", "heads", "beat_bytes", "stream_bytes")
    sizes: dict[str, object] = dict(zip(names, lanes, strict=True))
    sizes |= dict(zip(("operand_depth", "store_depth", "values_depth"), depths, strict=True))
    depth = more.pop("depth", 16)
    sizes |= {"sequence": 64, "depth": depth, "row_cycles": depth, "steps": 16, **more}
    return Engine(**sizes)  # type: ignore[arg-type]


WIDE = Engine(8, 64, 8, 8, 1, beat_bytes=64, stream_bytes=16)
DEEP = engine((4, 8, 2, 2, 1, 16, 8), (1024, 5000, 4096), steps=64)
"""Its memories go to UltraRAM, all that can; of the store two words lie side by side."""

# Every parameter varies, most stages are there most of the time and each is absent once, or its share would be taken
# for that of what stands beside it; small, because small ones synthesise fast.
FITTED = (
    engine((4, 8, 2, 2, 2, 8, 8)),
    engine((2, 4, 1, 1, 1, 8, 4), (256, 256, 256), depth=8),
    engine((4, 4, 2, 1, 1, 16, 8), sequence=32),
    engine((2, 8, 2, 4, 2, 8, 4), (1024, 1024, 512), depth=8, table_bits=9),
    engine((8, 4, 1, 2, 1, 16, 8), steps=32),
    engine((4, 8, 4, 2, 1, 8, 8), features=("add", "norm")),
    engine((2, 16, 1, 2, 4, 16, 8), (512, 512, 512), sequence=128),
    engine((4, 8, 2, 1, 1, 8, 8), features=("attention", "table")),
)


def drawn(count: int, seed: int) -> list[Engine]:
    """Engines of at most 64 multipliers, every parameter drawn."""
    rng = random.Random(seed)
    found: list[Engine] = []
    while len(found) < count:
        T, B, P = rng.choice((2, 4, 8)), rng.choice((4, 8, 16)), rng.choice((1, 2, 4))
        L, H = rng.choice((1, 2, 4)), rng.choice((1, 2))
        beats = rng.choice((8, 16)), rng.choice((4, 8))
        depth = rng.choice((8, 16, 32))
        depths = rng.choice((256, 512, 1024)), rng.choice((256, 512, 1024)), rng.choice((128, 256, 512))
        more = {"sequence": rng.choice((32, 64, 128)), "table_bits": rng.choice((8, 9))}
        features = tuple(stage for stage in STAGES if rng.random() < 0.75)
        if T * B <= 64 and min(T, B) >= P and T * B * P <= 64:
            found.append(engine((T, B, P, L, H, *beats), depths, depth=depth, features=features, **more))
    return found


@dataclass(frozen=True)
class Case:
    """A synthesised engine; `ultra` names its memories in UltraRAM."""

    engine: Engine
    found: Synthesis
    ultra: frozenset[str] = frozenset()

    @property
    def terms(self) -> dict[tuple[str, str], int]:
        """Amount of every term."""
        total: dict[tuple[str, str], int] = {}
        for term in _terms(self.engine):
            key = term.block, term.name
            total[key] = total.get(key, 0) + term.amount
        return total

    def logic(self, kind: str, what: str) -> dict[str, float]:
        """LUT or FF by block, what its memories take by themselves taken off."""
        logic = {block: float(getattr(counts, what)) for block, counts in self.found.blocks.items()}
        for memory in _memories(self.engine):
            logic[memory.block] -= memory.copies * getattr(mapped(memory, kind), what)
        return logic


def _terms(engine: Engine) -> list[Term]:
    return [term for part in stages(engine).values() for term in part.terms]


def _memories(engine: Engine) -> list[Memory]:
    return [memory for part in stages(engine).values() for memory in part.memories]


def fitted(cases: Iterable[Case], kind: str, what: str) -> dict[str, float]:
    """LUT or FF of a unit of every term: for each block the non-negative least squares of errors, relative to engines.

    Where terms cannot be told apart they share what they explain: a weak pull (`PULL`) to equal shares at the average
    engine, so that no block hangs on a constant alone.
    """
    cases = list(cases)
    keys = sorted({key for case in cases for key in case.terms})
    found: dict[str, float] = {}
    for block in sorted({block for block, _ in keys}):
        names = [name for other, name in keys if other == block]
        having = [case for case in cases if block in case.found.blocks]
        weights = np.array([1.0 / getattr(case.found.totals, what) for case in having])
        amounts = np.array([[case.terms.get((block, name), 0) for name in names] for case in having], float)
        logic = np.array([case.logic(kind, what)[block] for case in having])
        rows, values = amounts * weights[:, None], logic * weights
        pull = np.sqrt(PULL) * np.diag(rows.mean(axis=0))
        shares = np.full(len(names), np.sqrt(PULL) * values.mean() / len(names))
        units, _ = nnls(np.vstack([rows, pull]), np.concatenate([values, np.maximum(shares, 0.0)]))
        found |= {f"{block}.{name}": round(float(unit), 4) for name, unit in zip(names, units, strict=True)}
    return found


def predicted(case: Case, kind: str, units: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    """What the estimate says with these coefficients."""
    engine = case.engine
    total = {"lut": 0, "ff": 0, "dsp": 0, "bram18": 0, "uram": 0}
    for term in _terms(engine):
        for what in ("lut", "ff"):
            total[what] += round(units[what][f"{term.block}.{term.name}"] * term.amount)
    for memory in _memories(engine):
        one = placed(memory, kind, memory.name in case.ultra)
        for what in ("lut", "ff", "bram18"):
            total[what] += memory.copies * getattr(one, what)
        total["uram"] += uram_of(memory) if memory.name in case.ultra else 0
    for part in stages(engine).values():
        total["dsp"] += part.dsp + -(-part.products // DSP_KINDS[kind].products)
        total["dsp"] += sum(m.count * dsp_of(m, DSP_KINDS[kind]) for m in part.wide)
    return total


def compared(case: Case, kind: str, units: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """Estimate against synthesis: relative errors of LUT and FF, differences of DSP and block RAM."""
    said, totals = predicted(case, kind, units), case.found.totals
    line: dict[str, object] = {"engine": case.engine.to_json(), "yosys": totals.to_json(), "estimate": said}
    line["lut_error"] = round(said["lut"] / totals.lut - 1, 4)
    line["ff_error"] = round(said["ff"] / totals.ff - 1, 4)
    exact = ("dsp", "bram18", "uram")
    line |= {f"{what}_error": said[what] - getattr(totals, what) for what in exact}
    line["met"] = (
        not any(line[f"{what}_error"] for what in exact)
        and max(abs(said[what] / getattr(totals, what) - 1) for what in ("lut", "ff")) <= TARGET
    )
    return line


def synthesised(engine: Engine, target: Target, ultra: frozenset[str] = frozenset()) -> Case:
    """The engine's counts, with some of its memories in UltraRAM; progress goes to stderr."""

    def report(done: int, total: int, what: str) -> None:
        print(f"  {target.name}: {done} of {total} modules {what[:90]}", file=sys.stderr, flush=True)

    files = rtl_files(engine, packing=DSP_KINDS[target.dsp_kind], ultra=ultra)
    return Case(engine, synthesise(files, TOP, target, report), ultra)


def deep() -> dict[str, object]:
    """An engine whose memories lie in UltraRAM."""
    ultra = frozenset(memory.name for memory in _memories(DEEP) if memory.ultra)
    line = compared(synthesised(DEEP, TARGETS["xcup"], ultra), "DSP48E2", calibration()["xcup"])
    return line | {"ultra": sorted(ultra)}


def wide() -> dict[str, object]:
    """4,096 multipliers: how the DSPs are shared between the array and what stands behind it."""
    case = synthesised(WIDE, TARGETS["xcup"])
    array, post = case.found.blocks["array"].dsp, case.found.blocks["post"].dsp
    line = compared(case, "DSP48E2", calibration()["xcup"])
    line |= {"array_dsp": array, "post_dsp": post, "post_share": round(post / array, 4)}
    line["met"] = array == WIDE.multipliers // 2 and post <= 0.2 * array and line["dsp_error"] == 0
    return line


def sweep(seconds: float) -> tuple[dict[str, list[Case]], dict[str, list[Case]], list[str]]:
    """Cases to fit and cases held out by family, alternating so that an early end leaves some of each; and what is
    missing at the end."""
    began, missing = time.monotonic(), []
    cases: dict[str, dict[str, list[Case]]] = {name: {"fit": [], "held out": []} for name in FAMILIES}
    held_out = {name: drawn(HELD_OUT, SEEDS[name]) for name in FAMILIES}
    for index in range(max(len(FITTED), HELD_OUT)):
        for name in FAMILIES:
            for role, engines in (("fit", FITTED), ("held out", held_out[name])):
                if index >= len(engines):
                    continue
                if time.monotonic() - began > seconds:
                    missing.append(f"{name} {role} {index}")
                    continue
                print(f"{name} {role} {index}", file=sys.stderr, flush=True)
                cases[name][role].append(synthesised(engines[index], TARGETS[name]))
    return {n: c["fit"] for n, c in cases.items()}, {n: c["held out"] for n, c in cases.items()}, missing


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=25.0, help="begin no further engine after so long")
    parser.add_argument("--wide", action="store_true", help="also an engine of 4,096 multipliers")
    arguments = parser.parse_args()
    fit, held_out, missing = sweep(60.0 * arguments.minutes)
    families: dict[str, dict[str, dict[str, float]]] = {}
    report: dict[str, Any] = {}
    met = not missing
    for name in FAMILIES:
        kind = TARGETS[name].dsp_kind
        families[name] = {what: fitted(fit[name], kind, what) for what in ("lut", "ff")}
        lines = {
            role: [compared(case, kind, families[name]) for case in cases]
            for role, cases in (("fit", fit[name]), ("held_out", held_out[name]))
        }
        report[name] = lines
        met = met and all(bool(line["met"]) for line in lines["held_out"])
        for role, found in lines.items():
            for line in found:
                print(
                    name,
                    role,
                    *(f"{k} {line[k]}" for k in ("lut_error", "ff_error", "dsp_error", "bram18_error")),
                )
    tool = fit[FAMILIES[0]][0].found.tool
    data = {"tool": tool, "fitted_engines": {n: len(c) for n, c in fit.items()}, "families": families}
    CALIBRATION.write_text(json.dumps(data, indent=1) + "\n")
    calibration.cache_clear()
    line = report["ultra_ram"] = deep()
    met = met and bool(line["met"])
    if arguments.wide:
        line = report["wide"] = wide()
        met = met and bool(line["met"])
    summary = {"target": TARGET, "seeds": SEEDS, "missing": missing, "met": met, "tool": tool, **report}
    path = write_evidence("resources", "python tools/bench/resources.py --wide", SOURCES, summary)
    print(
        f"{path.relative_to(ROOT)}: {'met' if met else 'not met'}; missing: {', '.join(missing) or 'nothing'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
