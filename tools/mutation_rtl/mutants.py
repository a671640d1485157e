"""Every fault of every class in the Verilog of the engine. A mutant changes one line."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from mutation.mutants import MINIMUM, Mutant

from flow.resources import asset_dir
from mutation_rtl.lexer import Code
from mutation_rtl.operators import OPERATORS

LENIENT = (
    "/* verilator lint_off WIDTH */ /* verilator lint_off UNSIGNED */ /* verilator lint_off CMPCONST */ "
)
"""Put before a mutated module: what a lint says of widths is not what is counted here."""


def sources() -> dict[str, str]:
    """Every file of templates/rtl by name."""
    paths = sorted((asset_dir("templates") / "rtl").iterdir())
    return {path.name: path.read_text() for path in paths if path.name.endswith((".v", ".v.j2"))}


def draw(every: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Mutants in an order to be tried: `MINIMUM` of each class first, then from all alike; `count` of them or all.

    A mutant's place is a hash of the seed and its key: the sample stays what it was but for the lines that change, so
    that after a change of the Verilog most of it is remembered.
    """
    order = sorted(every, key=lambda m: (hashlib.sha256(f"{seed} {m.key}".encode()).digest(), m))
    classes: dict[str, list[Mutant]] = {kind: [] for kind in sorted({m.kind for m in every})}
    for mutant in order:
        classes[mutant.kind].append(mutant)
    chosen = [mutant for some in classes.values() for mutant in some[:MINIMUM]]
    first = set(chosen)
    rest = [mutant for mutant in order if mutant not in first]
    return chosen + rest[: max(0, count - len(chosen))]


def mutants(texts: Mapping[str, str]) -> list[Mutant]:
    """Every mutant of some files; two edits that give the same line are one."""
    found: dict[tuple[str, int, str], Mutant] = {}
    seen: Counter[tuple[str, ...]] = Counter()
    for file, text in texts.items():
        code = Code(text)
        lines = text.splitlines()
        for kind, make in OPERATORS.items():
            for edit in make(code):
                (line, start), (last, end) = code.place(edit.start), code.place(edit.end)
                if line != last:
                    continue
                before = lines[line - 1]
                after = before[:start] + edit.text + before[end:]
                if after == before or (file, line, after) in found:
                    continue
                same = (file, kind, before.strip(), after.strip())
                seen[same] += 1
                found[file, line, after] = Mutant(file, line, kind, before, after, code.module, seen[same])
    return sorted(found.values())


def apply(mutant: Mutant, texts: Mapping[str, str]) -> str:
    """The mutated file's whole text."""
    lines = texts[mutant.file].splitlines(keepends=True)
    assert lines[mutant.line - 1] == mutant.before + "\n"
    lines[mutant.line - 1] = mutant.after + "\n"
    place = next(i for i, line in enumerate(lines) if not line.startswith("{#"))
    lines[place] = LENIENT + lines[place]
    return "".join(lines)
