"""The mutation tool for Verilog: operators, sample, equivalents, benches, and a mutant that must die."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from mutation.equivalents import read
from mutation.killers import REFUSED, Verdict
from mutation.mutants import MINIMUM, Mutant
from mutation_rtl import modules
from mutation_rtl.lexer import Code
from mutation_rtl.memory import Outcomes, simulator
from mutation_rtl.modules import ModuleBenches, ModuleCase, module_cases
from mutation_rtl.mutants import apply, draw, mutants, sources
from mutation_rtl.operators import OPERATORS

HEADER = "module m #(\n    parameter A = 1\n) (\n    input wire clk_i\n);\n"
EDITS = [
    ("arithmetic", "assign a = b + c;", ["assign a = b - c;"]),
    ("arithmetic", "assign a = {(Width+1){1'b0}};", []),
    ("bound", "for (i = 0; i < Lanes; i = i + 1) q[i] <= d[i];", ["i < Lanes - 1;", "i = 1;"]),
    ("compare", "wire a = b <= c;", ["b < c;"]),
    ("compare", "always @(posedge clk_i) q <= d;", []),
    ("compare", "always @(posedge clk_i) q <= d <= e;", ["q <= d < e;"]),
    ("condition", "if (en_i) q <= d;", ["if (!(en_i))", "if (1'b1)", "if (1'b0)"]),
    ("condition", "if (Wide != 0) begin : wide", []),
    ("condition", "if (!rst_ni) q <= 1'b0;", []),
    ("constant", "assign a = b == 3'd7;", ["3'd6", "3'd0"]),
    ("constant", "localparam [2:0] Last = 3'd7;", []),
    ("index", "assign a = b[i];", ["b[i + 1]"]),
    ("index", "assign a = b[i*8 +: 8];", ["b[i*8  + 1 +: 8]"]),
    ("logic", "assign a = b && !c;", ["b || !c", "b && c"]),
    ("logic", "assign a = &b;", []),
    ("reset", "if (!rst_ni) begin\n    q <= 1'b0;\nend", ["if (1'b0) begin", "    ;"]),
    ("shift", "assign a = b >>> c;", ["b >> c", "b >>> (c + 1)", "b >>> (c - 1)"]),
    ("update", "if (en_i) q <= d;", ["if (en_i) ;"]),
    ("width", "reg signed [7:0] a_q;", ["reg  [7:0]", "reg signed [7-1:0]"]),
    ("wiring", "unit u (.clk_i(clk), .value_i(a), .value_o(b));", [".value_i(0)"]),
]


@pytest.mark.parametrize(("kind", "body", "expected"), EDITS)
def test_operators(kind: str, body: str, expected: list[str]) -> None:
    text = f"{HEADER}{body}\nendmodule\n"
    made = [text[: e.start] + e.text + text[e.end :] for e in OPERATORS[kind](Code(text))]
    assert len(made) == len(set(made)) == len(expected)
    for wanted in expected:
        assert any(wanted in other for other in made), wanted


def test_comments_headers_and_templates_are_no_code() -> None:
    text = f'{HEADER}// a == b\n/* c == d */ wire e = "f == g";\n    .h(i == {{{{ j }}}})\nendmodule\n'
    assert not list(OPERATORS["compare"](Code(text)))
    assert Code(text).module == "m"


@cache
def every() -> list[Mutant]:
    return mutants(sources())


def test_population() -> None:
    """Every class and almost every file, names that differ, and a sample that holds every class."""
    found = every()
    assert len({mutant.key for mutant in found}) == len(found) > 5000
    assert set(Counter(mutant.kind for mutant in found)) == set(OPERATORS)
    assert len({mutant.file for mutant in found}) > 60
    sample = draw(found, 150, 0)
    assert len(sample) == len(set(sample)) == 150
    assert min(Counter(mutant.kind for mutant in sample).values()) >= MINIMUM
    assert sample == draw(found, 150, 0) != draw(found, 150, 1)


def test_equivalents_fit() -> None:
    from mutate_rtl import EQUIVALENTS

    assert set(read(every(), EQUIVALENTS)) <= {mutant.key for mutant in every()}


def test_most_modules_have_a_bench() -> None:
    """What has none is what the whole engine shows."""
    benches = ModuleBenches(module_cases())
    alone = {file for file in sources() if not benches.chosen(file)}
    assert len(benches.cases) > 80
    assert {"step_checker.v.j2", "flow_engine.v.j2", "command_control.v"} <= alone
    assert len(alone) < 16


def test_what_was_tried_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of noticed and of unnoticed faults alike; another text, another case or another bench is tried by itself."""
    tried: list[str] = []

    def simulated(case: ModuleCase, files: Mapping[str, bytes]) -> str:
        tried.append(case.name)
        return "bench" if b"wrong" in files["isqrt.v"] else ""

    monkeypatch.setattr(modules, "_simulated", simulated)
    texts, cases = sources(), [case for case in module_cases() if case.top == "isqrt"]
    wrong = texts["isqrt.v"] + "// wrong\n"

    def judged(text: str, some: list[ModuleCase]) -> tuple[str, int]:
        tried.clear()
        benches = ModuleBenches(some, outcomes=Outcomes(tmp_path))
        return benches.judge("isqrt.v", texts, text).how, len(tried)

    assert judged(wrong, cases) == ("bench", 2)  # the unchanged module first
    assert judged(wrong, cases) == ("bench", 0)
    fine, most = texts["isqrt.v"] + "// fine\n", len(ModuleBenches(cases).chosen("isqrt.v"))
    assert judged(fine, cases) == ("", 2 * most - 1)
    assert judged(fine, cases) == ("", 0)
    other = replace(cases[0], case={**cases[0].case, "seed": -1})
    assert judged(fine, [other]) == ("", 2)


@pytest.mark.parametrize("how", ["timeout", "crash", REFUSED])
def test_what_the_machine_may_have_done_is_not_remembered(how: str, tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path)
    assert outcomes.add("key", Verdict(how)) == Verdict(how)
    assert outcomes.find("key") is None
    outcomes.add("key", Verdict("bench", "case"))
    assert outcomes.find("key") == Verdict("bench", "case")


def test_what_the_evidence_holds_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine too; what this run has asked for, and no more, is written again."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    evidence = tmp_path / "mutation_rtl.json"
    known = {"old": ["bench", "case"], "lived": ["", ""], "gone": ["bits", ""]}
    evidence.write_text(json.dumps({"simulator": simulator(), "outcomes": known}))
    outcomes = Outcomes.of(evidence)
    assert (outcomes.find("old"), outcomes.find("lived")) == (Verdict("bench", "case"), Verdict(""))
    assert outcomes.find("new") is None
    outcomes.add("new", Verdict("bits", "other"))
    assert outcomes.met == {"old": ("bench", "case"), "lived": ("", ""), "new": ("bits", "other")}
    assert Outcomes.of(tmp_path / "nothing.json").find("old") is None
    evidence.write_text(json.dumps({"simulator": {**simulator(), "verilator": "0"}, "outcomes": known}))
    assert Outcomes.of(evidence).find("old") is None


def mutant_of(file: str, kind: str, after: str) -> Mutant:
    (found,) = (m for m in every() if (m.file, m.kind) == (file, kind) and after in m.after)
    return found


@pytest.mark.slow
def test_a_mutant_dies_and_nonsense_is_refused() -> None:
    texts, benches = sources(), ModuleBenches(module_cases())
    mutant = mutant_of("reciprocal.v", "constant", "length = 6'd63")
    assert benches.judge(mutant.file, texts, apply(mutant, texts)).killed
    wrong = replace(mutant, after="nonsense")
    assert benches.judge(wrong.file, texts, apply(wrong, texts)).how == REFUSED
    assert not benches.judge(mutant.file, texts, texts[mutant.file]).how
