"""Every fault of every class in the Verilog of the engine. A mutant changes one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mutation.mutants import Mutant

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
