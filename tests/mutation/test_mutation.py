"""The mutation tool: its operators, its sample, its list of equivalents, and a few mutants that must die."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from mutation.cosim import CoSim
from mutation.equivalents import BadEquivalentsError, read
from mutation.killers import REFUSED, SANITIZED, CSim, Killer, Verdict
from mutation.line import Line
from mutation.memory import Memory
from mutation.mutants import MINIMUM, Mutant, apply, draw, mutants, sources
from mutation.operators import OPERATORS
from mutation.stimulus import SHAPES, Bench, cases
from mutation.trial import Result, Trial

EDITS = [
    ("bound", "    for (int i = 0; i < Rows; ++i) {", ["i < Rows + 1;", "i < Rows - 1;", "int i = 1;"]),
    ("compare", "    if (a < b) {", ["if (a <= b) {"]),
    ("compare", "    Lanes<int64_t> total[Heads];", []),
    ("shift", "    x = y >> (n & 63);", ["y >> (((n & 63)) + 1);", "y >> (((n & 63)) - 1);"]),
    ("shift", "    x = 1 << 2 * bit <= y;", ["1 << ((2 * bit) + 1) <= y;", "1 << ((2 * bit) - 1) <= y;"]),
    (
        "swap", "    a = flag ? first : second;",
        ["flag ? second : second;", "flag ? first : first;", "flag ? second : first;"],
    ),
    ("bank", "    line = channel / Banks;", ["channel % Banks;"]),
    ("saturation", "    y = saturate(a + b, bits, true);", ["y = int32_t(a + b);"]),
    (
        "saturation", "    v = i < 0 ? 0 : i > last ? last : i;",
        ["v = i;", "v = i > last ? last : i;", "v = i < 0 ? 0 : i;"],
    ),
    ("rounding", "    return (value + half(shift)) >> shift;", ["return (value) >> shift;"]),
    ("rounding", "    n = (keys + Rows - 1) / Rows;", ["n = (keys) / Rows;"]),
    ("offset", "    y = scaled + zero;", ["y = scaled;"]),
    ("sign", "    x = int8_t(y) - z;", ["uint8_t(y) - z;", "int8_t(y) + z;"]),
    ("stale", "    moments.sum[t] = 0;", ["    ;"]),
    ("stale", "    Beat beat = {};", ["    static Beat beat = {};"]),
    ("reset", "    part_ = 0;", ["    ;"]),
    ("reset", "    moments.sum[t] = 0;", []),
    ("update", "    ++taken_;", ["    ;"]),
    ("beat", "    beat = data.read();", ["beat = (data.read(), data.read());"]),
    ("beat", "    stream.write(out);", ["    ;", "stream.write(out); stream.write(out);"]),
    ("address", "    x = memory[line][bank];", ["memory[line + 1][bank];", "memory[line - 1][bank];"]),
    ("guard", "    if (!ok) return false;", ["    ;", "if (ok) return false;"]),
    ("constant", "    n = 2 * x + 1;", ["n = 3 * x + 1;", "n = 1 * x + 1;"]),
    ("flag", "    ok = true;", ["ok = false;"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "expected"), EDITS)
def test_what_an_operator_makes(kind: str, text: str, expected: list[str]) -> None:
    line = Line(text, "f")
    found = [edit.apply(line.code) for edit in OPERATORS[kind](line)]
    assert len(found) == len(expected)
    for after, end in zip(found, expected, strict=True):
        assert after.endswith(end) or end in after


def test_every_class_has_a_sample_edit() -> None:
    assert {kind for kind, *_ in EDITS} == OPERATORS.keys()


@cache
def population() -> tuple[dict[str, str], list[Mutant]]:
    texts = sources()
    return texts, mutants(texts)


def test_every_class_finds_lines() -> None:
    texts, every = population()
    counts = Counter(mutant.kind for mutant in every)
    assert counts.keys() == OPERATORS.keys()
    assert len(every) > 2000
    assert texts.keys() - {mutant.file for mutant in every} == set()
    assert len({(m.file, m.line, m.after) for m in every}) == len(every)
    assert not any("HLS" in m.before or "static_assert" in m.before or "assert(" in m.before for m in every)


def test_a_sample_is_seeded_and_holds_every_class() -> None:
    _, every = population()
    drawn = draw(every, 240, seed=3)
    assert drawn == draw(every, 240, seed=3)
    assert drawn != draw(every, 240, seed=4)
    assert len(set(drawn)) == 240
    counts, available = Counter(m.kind for m in drawn), Counter(m.kind for m in every)
    assert all(counts[kind] >= min(MINIMUM, available[kind]) for kind in OPERATORS)


def test_the_equivalents_fit_the_sources() -> None:
    _, every = population()
    assert all(reason.strip().endswith(".") for reason in read(every).values())


def test_equivalents_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "equivalents.toml"
    path.write_text(
        '[[equivalent]]\nfile = "engine/pool.hpp"\nfunction = "run_pool"\nkind = "flag"\n'
        'before = "gone;"\nafter = "new;"\nreason = "Old."\n'
        '[[equivalent]]\nfile = "engine/pool.hpp"\n'
    )
    with pytest.raises(BadEquivalentsError) as caught:
        read(population()[1], path)
    assert str(caught.value) == (
        "equivalents.toml: found 2 faults\n"
        "entry 1: found no mutant of run_pool in engine/pool.hpp that makes 'gone;' into 'new;' (flag); "
        "expected one; the line has changed: argue anew or take it out\n"
        "entry 2: found ['file']; expected file, function, kind, before, after, reason"
    )


# -- mutants that must die -----------------------------------------------------------------------------------------

ENGINE = SHAPES[0][1]
CASES = 12
DEADLY = [
    # A beat too many waits for ever: the deadlock report ends it.
    ("engine/feed.hpp", "beat", "beat = data.read();", "(data.read(), data.read());", {"watchdog"}),
    ("engine/sequencer.hpp", "beat", "= in.read();", "(in.read(), in.read());", {"watchdog", "status"}),
    ("engine/transfer.hpp", "beat", "out.last = last;", "out.last = false;", {"protocol"}),
    ("engine/transfer.hpp", "sign", "out.strb = -1;", "out.strb = 1;", {"protocol"}),
    ("engine/arithmetic.hpp", "rounding", "half(shift)", "return (value) >> (shift & 63);", {"output"}),
    ("engine/sweep.hpp", "reset", "cycle = 0;", ";", {"output", "crash", "timeout", "status", "watchdog", "assertion"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Bench:
    """The first engine, with the first models only: enough for these."""
    return Bench(
        "small",
        ENGINE,
        SHAPES[0][2],
        tuple(case for case, _ in zip(cases(ENGINE), range(CASES), strict=False)),
    )


def test_mutants_die_as_they_should(bench: Bench, tmp_path: Path) -> None:
    texts, every = population()
    trial = Trial([CSim()], [bench], texts, Memory(tmp_path / "memory.json"))
    chosen = []
    for file, kind, before, after, how in DEADLY:
        found = [
            m
            for m in every
            if (m.file, m.kind) == (file, kind) and before in m.before and m.after.endswith(after)
        ]
        assert found, (file, before)
        _, verdict = trial.judge(found[0])
        assert verdict.how in how, (found[0], verdict)
        chosen.append(found[0])
    again = Trial([CSim()], [bench], texts, Memory(tmp_path / "memory.json"))
    result = again.run(chosen, 99, {}, lambda *_: None)  # nothing is compiled: all are remembered
    assert (len(result.killed), len(result.survivors), result.score) == (len(DEADLY), 0, 1.0)


# -- where csim does not look ----------------------------------------------------------------------------------------


def mutant(file: str, before: str, after: str) -> Mutant:
    """The first mutant of a line."""
    _, every = population()
    return next(m for m in every if m.file == file and before in m.before and m.after.endswith(after))


def verdict_of(killer: Killer, bench: Bench, chosen: Mutant, tmp_path: Path) -> str:
    texts, _ = population()
    return Trial([killer], [bench], texts, Memory(tmp_path / "memory.json")).judge(chosen)[1].how


def test_sanitizers_notice_what_lies_behind_a_pointer(bench: Bench, tmp_path: Path) -> None:
    """A lane too many of the last segment: beyond the sums, where nobody looks."""
    chosen = mutant("engine/multiply.hpp", "t < SingleTokens;", "t < SingleTokens + 1; ++t) {")
    plain = replace(bench, packing="MULT18X18D", cases=bench.cases[:2])
    assert verdict_of(CSim("sanitized", SANITIZED), plain, chosen, tmp_path) == "sanitizer"


def test_a_stage_of_a_plug_in_has_mutants(plugged_bench: Bench, tmp_path: Path) -> None:
    _, every = population()
    assert {m.kind for m in every if m.file == "engine/stages/outside.hpp"} >= {"bound", "beat", "shift"}
    for chosen, how in (
        (mutant("dispatch.hpp.j2", "saturate_stage(result", "record.out_signed == 0, value);"), "output"),
        (mutant("engine/linear.hpp", "record.table_bits == 0 && !", "&& record.has_residual;"), "status"),
    ):
        assert verdict_of(CSim(), plugged_bench, chosen, tmp_path) == how


BESIDE_A_CLOCK = [
    # Data for a header: no length.
    ("engine/sequencer.hpp", "= in.read();", "(in.read(), in.read());", "status"),
    ("engine/transfer.hpp", "= stream.read();", "(stream.read(), stream.read());", "watchdog"),
    ("engine/transfer.hpp", "stream.write(out);", "    ;", "output"),
    ("engine/transfer.hpp", "stream.write(out);", "stream.write(out); stream.write(out);", "TLAST"),
    ("engine/transfer.hpp", "out.last = last;", "out.last = false;", "TLAST"),
    ("engine/transfer.hpp", "out.strb = -1;", "out.strb = 1;", "handshake"),
]


@pytest.mark.slow
def test_ports_are_watched(bench: Bench, tmp_path: Path) -> None:
    """A beat too many trips the watchdog, one too few or without TLAST is missed, holes break a promise."""
    trial = Trial([CoSim()], [bench], population()[0], Memory(tmp_path / "memory.json"))
    found = {tuple(row): trial.judge(mutant(*row))[1].how for *row, _ in BESIDE_A_CLOCK}
    assert found == {tuple(row): how for *row, how in BESIDE_A_CLOCK}


@pytest.mark.slow
def test_a_seeded_few_die_beside_a_clock(bench: Bench, tmp_path: Path) -> None:
    texts, every = population()
    reasons = read(every)
    files = {"engine/transfer.hpp", "engine/sequencer.hpp", "engine/feed.hpp", "flow_engine.cpp.j2"}
    chosen = draw([m for m in every if m.file in files], 40, seed=2)
    trial = Trial([CoSim()], [bench], texts, Memory(tmp_path / "memory.json"))
    result = trial.run(chosen, 6, reasons, lambda *_: None)
    assert result.tried == 6
    assert len(result.killed) >= 5, [str(survivor) for survivor in result.survivors]


def test_a_kill_is_forgotten_with_its_run(bench: Bench, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory.json")
    memory.add("key", bench, Verdict("output", bench.cases[0].name))
    memory.add("other", bench, Verdict(REFUSED))
    memory.add("lives", bench, Verdict(""))
    again = Memory(tmp_path / "memory.json")
    assert again.find("key", bench) == Verdict("output", bench.cases[0].name)
    assert again.find("other", bench) == Verdict(REFUSED)
    assert again.find("lives", bench) is None
    assert again.find("key", replace(bench, cases=bench.cases[1:])) is None


def test_survivors_are_shown_with_their_line() -> None:
    texts, every = population()
    survivor = next(m for m in every if m.file == "engine/pool.hpp")
    assert apply(survivor, texts).splitlines()[survivor.line - 1] == survivor.after
    data = Result(survivors=[survivor]).to_json()
    assert (data["tried"], data["killed"], data["score"]) == (1, 0, 0.0)
    assert data["survivors"] == [
        (
            f"engine/pool.hpp:{survivor.line}: {survivor.function}() {survivor.kind} [{survivor.key}]\n"
            f"  - {survivor.before.strip()}\n  + {survivor.after.strip()}"
        )
    ]
