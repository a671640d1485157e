"""Tries mutants: render the kernel with one, let the killers run it, count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined

from flow.boards import DSP_KINDS
from flow.emit.hls import kernel_files, kernel_templates
from flow.engine import Engine
from flow.resources import asset_dir
from mutation.killers import Killer, Verdict
from mutation.memory import Memory
from mutation.mutants import Mutant, apply
from mutation.stimulus import Bench

Progress = Callable[[int, int, Mutant, Verdict], None]


@dataclass
class Result:
    """What became of a sample."""

    killed: list[tuple[Mutant, str, Verdict]] = field(default_factory=list)
    """With the backend that noticed it."""
    survivors: list[Mutant] = field(default_factory=list)
    equivalent: list[tuple[Mutant, str]] = field(default_factory=list)
    """With the reason."""
    refused: int = 0

    @property
    def tried(self) -> int:
        """Mutants that count: they compile and are not known to be equivalent."""
        return len(self.killed) + len(self.survivors)

    @property
    def score(self) -> float:
        """Share of them that was noticed."""
        return len(self.killed) / max(1, self.tried)

    def kills(self) -> dict[str, str]:
        """How each one that died was noticed."""
        return {
            f"{m.file}:{m.line}: {m.after.strip()}": f"{v.how} ({v.case})" for m, _, v in sorted(self.killed)
        }

    def to_json(self) -> dict[str, Any]:
        """Numbers in all and by class, how they were noticed, and every survivor."""
        kinds = sorted({m.kind for m, *_ in self.killed} | {m.kind for m in self.survivors})
        dead = Counter(m.kind for m, *_ in self.killed)
        alive = Counter(m.kind for m in self.survivors)
        return {
            "tried": self.tried,
            "killed": len(self.killed),
            "score": round(self.score, 4),
            "equivalent": len(self.equivalent),
            "do_not_compile": self.refused,
            "classes": {k: {"tried": dead[k] + alive[k], "killed": dead[k]} for k in kinds},
            "backends": dict(sorted(Counter(name for _, name, _ in self.killed).items())),
            "noticed_by": dict(sorted(Counter(v.how for *_, v in self.killed).items())),
            "survivors": [str(m) for m in self.survivors],
        }


@cache
def _unchanged(engine: Engine, packing: str) -> dict[str, bytes]:
    return kernel_files(engine, packing=DSP_KINDS[packing])


def files_of(
    bench: Bench, mutant: Mutant | None = None, texts: Mapping[str, str] | None = None
) -> dict[str, bytes]:
    """The kernel of a bench, with a fault in it."""
    files = dict(_unchanged(bench.engine, bench.packing))
    if mutant is None or texts is None:
        return files
    text = apply(mutant, texts)
    if mutant.file in files:
        files[mutant.file] = text.encode()
        return files
    loader = ChoiceLoader([DictLoader({mutant.file: text}), FileSystemLoader(asset_dir("templates"))])
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,
    )  # fmt: skip
    for path, (template, context) in kernel_templates(bench.engine, DSP_KINDS[bench.packing]).items():
        if template == mutant.file:
            files[path] = environment.get_template(template).render(ctx=context).encode()
    return files


@dataclass
class Trial:
    """Tries mutants of `texts`: each killer on each bench until one notices."""

    killers: Sequence[Killer]
    benches: Sequence[Bench]
    texts: Mapping[str, str]
    memory: Memory
    _ready: set[tuple[str, str]] = field(default_factory=set)

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
        """The first backend that notices a mutant on some engine, or that cannot compile it, and its verdict."""
        for killer in self.killers:
            for bench in self.benches:
                files = files_of(bench, mutant, self.texts)
                if files == files_of(bench):
                    continue  # a branch of a template that this engine does not take
                verdict = self._judge(killer, bench, files)
                if verdict.how:
                    return killer.name, verdict
        return "", Verdict("")

    def _judge(self, killer: Killer, bench: Bench, files: Mapping[str, bytes]) -> Verdict:
        key = self.memory.key(killer.name, files)
        known = self.memory.find(key, bench)
        if known is not None:
            return known
        if (killer.name, bench.name) not in self._ready:
            killer.baseline(files_of(bench), bench)
            self._ready.add((killer.name, bench.name))
        verdict = killer.judge(files, bench)
        self.memory.add(key, bench, verdict)
        return verdict
