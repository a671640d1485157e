"""Every fault of every class in every line of hls/engine and the kernel's templates, and samples of them.

Lines are those of functions: derived constants have their static_assert, pragmas the lint, and assertions are checks.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flow.resources import asset_dir
from mutation.line import Line
from mutation.operators import OPERATORS

TEMPLATES = ("dispatch.hpp.j2", "flow_engine.cpp.j2")
"""Templates with code of the kernel; the others hold constants and the test bench."""
_FUNCTION = re.compile(
    r"^(?:inline |constexpr |void |[A-Z]\w+ )[^(=]*?\b(\w+)\(|^    (?:void|bool|uint\w+|Beat|explicit) ?(\w+)\([^;]*$"
)
_SKIPPED = re.compile(
    r"\s*(#|//|static_assert|assert\(|template|inline |struct |class |enum |using |namespace |constexpr |extern |"
    r"public:|private:|case |default:|\{%|\{#|\w+_loop:|\w+:$|[{}]|(const )?[A-Z]\w*[ <].*[&*]\w+(,|$))"
)
MINIMUM = 8
"""Mutants of each class in a sample, where there are so many."""


@dataclass(frozen=True, order=True)
class Mutant:
    """One fault: `line` (from 1) of a file reads `after` where it read `before`."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    function: str = ""
    occurrence: int = 1
    """Of equal lines in a function, the first, the second …"""

    @property
    def key(self) -> str:
        """A short name that does not depend on the line's number."""
        where = f"{self.file}\0{self.function}\0{self.occurrence}"
        text = f"{where}\0{self.kind}\0{self.before.strip()}\0{self.after.strip()}"
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: {self.function}()"
        return f"{where} {self.kind} [{self.key}]\n  - {self.before.strip()}\n  + {self.after.strip()}"


def sources() -> dict[str, str]:
    """The files that are mutated: headers as `engine/…`, templates by name."""
    root = asset_dir("hls")
    found = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((root / "engine").rglob("*.hpp"))
    }
    return found | {name: (asset_dir("templates") / name).read_text(encoding="utf-8") for name in TEMPLATES}


def mutants(texts: Mapping[str, str]) -> list[Mutant]:
    """Every mutant of some files; two edits that give the same line are one."""
    found: dict[tuple[str, int, str], Mutant] = {}
    seen: Counter[tuple[str, ...]] = Counter()
    for file, text in texts.items():
        for number, line in _code_lines(text):
            for kind, make in OPERATORS.items():
                for edit in make(line):
                    after = edit.apply(line.code)
                    if after == line.code or (file, number, after) in found:
                        continue
                    same = (file, line.function, kind, line.code.strip(), after.strip())
                    seen[same] += 1
                    found[file, number, after] = Mutant(
                        file, number, kind, line.code, after, line.function, seen[same]
                    )
    return sorted(found.values())


def _code_lines(text: str) -> Iterator[tuple[int, Line]]:
    function = ""
    for number, content in enumerate(text.splitlines(), 1):
        named = _FUNCTION.match(content)
        if named or content.startswith("extern "):
            function = (named[1] or named[2]) if named else "top"
        whole = "{ return " in content  # a function in one line
        if content.strip() and (whole or not _SKIPPED.match(content)) and "HLS" not in content:
            yield number, Line(content, function)


def apply(mutant: Mutant, texts: Mapping[str, str]) -> str:
    """The mutated file's whole text."""
    lines = texts[mutant.file].splitlines(keepends=True)
    assert lines[mutant.line - 1].startswith(mutant.before)
    lines[mutant.line - 1] = mutant.after + "\n"
    return "".join(lines)


def draw(every: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Mutants in an order to be tried: `MINIMUM` of each class first, then from all alike; `count` of them or all."""
    rng = random.Random(seed)
    classes: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in every:
        classes[mutant.kind].append(mutant)
    chosen = [
        m for kind in sorted(classes) for m in rng.sample(classes[kind], min(MINIMUM, len(classes[kind])))
    ]
    rest = sorted(set(every) - set(chosen))
    chosen += rng.sample(rest, min(max(0, count - len(chosen)), len(rest)))
    return chosen
