"""Tries mutants of the Verilog: module benches first, then the whole engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mutation.killers import Verdict
from mutation.mutants import Mutant
from mutation.trial import Result

from mutation_rtl.engine import WholeEngine
from mutation_rtl.modules import ModuleBenches
from mutation_rtl.mutants import apply

Progress = Callable[[int, int, Mutant, Verdict], None]


@dataclass
class RtlTrial:
    """The killers in order, and the unchanged texts."""

    modules: ModuleBenches
    engine: WholeEngine
    texts: Mapping[str, str]

    def run(self, drawn: Sequence[Mutant], count: int, reasons: Mapping[str, str], tell: Progress) -> Result:
        """Try mutants in order until `count` of them have counted; what does not compile is passed by."""
        result = Result()
        for mutant in drawn:
            if result.tried >= count:
                break
            if mutant.key in reasons:
                result.equivalent.append((mutant, reasons[mutant.key]))
                continue
            name, verdict = self.judge(mutant)
            if verdict.killed:
                result.killed.append((mutant, name, verdict))
            elif verdict.how:
                result.refused += 1
            else:
                result.survivors.append(mutant)
            tell(result.tried, count, mutant, verdict)
        return result

    def judge(self, mutant: Mutant) -> tuple[str, Verdict]:
        """The first killer that notices a mutant, or that cannot compile it, and its verdict."""
        mutated = apply(mutant, self.texts)
        if not mutant.file.endswith(".j2"):
            verdict = self.modules.judge(mutant.file, self.texts, mutated)
            if verdict.how:
                return self.modules.name, verdict
        return self.engine.name, self.engine.judge(mutant.file, mutated)
