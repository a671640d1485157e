"""The benches of tests/rtl as killers: each case of each test, as that test would run it, on a mutated module."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mutation.killers import REFUSED, Verdict
from mutation.memory import Memory

from flow.errors import ToolError
from flow.sim.verilator import Model, compile_model, run_bench
from mutation_rtl.memory import Outcomes

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "rtl"
FLAGS = ("-O0",)
"""Compiling takes longer than simulating."""
LIMIT = 512
"""Product of the largest geometry that is compiled for a mutant."""


@dataclass(frozen=True)
class ModuleCase:
    """One call of `simulate` by a test of tests/rtl."""

    name: str
    top: str
    parameters: Mapping[str, int]
    bench: str
    case: Mapping[str, Any] = field(repr=False)
    ports_only: bool
    units: frozenset[str]
    """Files that the module is built of."""

    @property
    def size(self) -> int:
        """Grows with what there is to compile."""
        product = 1
        for name in ("Tokens", "Banks", "Rows", "Heads"):
            product *= int(self.parameters.get(name, 1))
        return product


def module_cases() -> list[ModuleCase]:
    """Every case of every test, the smallest first; those that only count the pace of the reference engine last."""
    if str(TESTS / "benches") not in sys.path:
        sys.path.insert(0, str(TESTS / "benches"))
    if "tests" not in sys.modules:  # no package, and some library brings one of that name
        package = types.ModuleType("tests")
        package.__path__ = [str(TESTS.parent)]
        sys.modules["tests"] = package
    harness = importlib.import_module("tests.rtl.harness")
    found: list[ModuleCase] = []
    for path in sorted(TESTS.glob("test_*.py")):
        module = importlib.import_module(f"tests.rtl.{path.stem}")
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                found += _cases(module, name, function, harness)
    return sorted(found, key=lambda case: (case.case.get("kind") == "pace", case.size, case.name))


def _cases(module: Any, name: str, function: Any, harness: Any) -> Iterator[ModuleCase]:
    """Call a test with every combination of its parameters, and keep what it would simulate."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    axes = []
    for mark in marks:
        names = mark.args[0] if isinstance(mark.args[0], tuple) else (mark.args[0],)
        axes.append(
            [dict(zip(names, value if len(names) > 1 else (value,), strict=True)) for value in mark.args[1]]
        )
    calls: list[Any] = []

    def keep(*arguments: Any, ports_only: bool = False) -> None:
        calls.append((*arguments, ports_only))

    before = module.simulate
    module.simulate = keep
    try:
        for number, combination in enumerate(itertools.product(*axes)):
            calls.clear()
            function(tmp_path=Path(), **{key: value for part in combination for key, value in part.items()})
            for top, parameters, bench, _, case, ports_only in calls:
                units = frozenset(f"{unit}.v" for unit in harness.closure(top))
                yield ModuleCase(f"{name}-{number}", top, parameters, bench, case, ports_only, units)
    finally:
        module.simulate = before


@dataclass
class ModuleBenches:
    """Runs the benches that a mutated file takes part in, the smallest module first."""

    cases: list[ModuleCase]
    most: int = 16
    """Cases of one module that a mutant meets."""
    name: str = "module"
    outcomes: Outcomes = field(default_factory=Outcomes)
    _sound: set[str] = field(default_factory=set)

    def judge(self, file: str, texts: Mapping[str, str], mutated: str) -> Verdict:
        """How a mutated file ends."""
        for case in self.chosen(file):
            if case.name not in self._sound:
                how = self._run(case, texts)
                assert not how, f"{case.name}: the unchanged module is killed by {how}"
                self._sound.add(case.name)
            how = self._run(case, {**texts, file: mutated})
            if how:
                return Verdict(how, case.name)
        return Verdict("")

    def chosen(self, file: str) -> list[ModuleCase]:
        """Of the smallest modules that hold the file some cases each, spread over their sizes."""
        tops: dict[str, list[ModuleCase]] = {}
        for case in self.cases:
            if file in case.units and case.size <= LIMIT:
                tops.setdefault(case.top, []).append(case)
        found: list[str] = []
        for top in sorted(tops, key=lambda top: len(tops[top][0].units))[:2]:
            cases = tops[top]
            order = [cases[len(cases) // 3], cases[-1], cases[0], *cases]
            found += list(dict.fromkeys(case.name for case in order))[: self.most]
        return [case for name in found for case in self.cases if case.name == name]

    def _run(self, case: ModuleCase, texts: Mapping[str, str]) -> str:
        """What goes wrong on a case; nothing where all is well."""
        files = {name: texts[name].encode() for name in sorted(case.units)}
        given = json.dumps([dict(case.parameters), dict(case.case)], sort_keys=True)
        what = repr((case.top, case.bench, given, case.ports_only, FLAGS))
        key = Memory.key(what, files | _bench_files(case.bench))
        known = self.outcomes.find(key)
        return (known or self.outcomes.add(key, Verdict(_simulated(case, files)))).how


@cache
def _bench_files(bench: str) -> dict[str, bytes]:
    """A bench's Python, and that of what it imports from beside it."""
    found = {"harness.py": (TESTS / "harness.py").read_bytes()}
    frontier = [bench]
    while frontier:
        place = TESTS / "benches" / f"{frontier.pop()}.py"
        if place.is_file() and place.name not in found:
            found[place.name] = place.read_bytes()
            frontier += re.findall(r"^(?:from|import) (\w+)", place.read_text(), re.MULTILINE)
    return found


def _simulated(case: ModuleCase, files: Mapping[str, bytes]) -> str:
    harness = importlib.import_module("tests.rtl.harness")
    model = Model(
        files, tuple(files), case.top, FLAGS, parameters=case.parameters, ports_only=case.ports_only
    )
    try:
        program = compile_model(model)
    except ToolError:
        return REFUSED
    try:
        with tempfile.TemporaryDirectory(prefix="flow-mutation-") as scratch:
            place = Path(scratch)
            (place / "case.json").write_text(json.dumps(case.case))
            folders = [TESTS / "benches"]
            results = run_bench(program, folders, case.bench, place, environment={}, arguments=harness.NOISE)
        return "bench" if not results or any(result.failure for result in results) else ""
    except ToolError as error:
        return "timeout" if "found it running" in str(error) else "crash"
    finally:
        shutil.rmtree(program.parent, ignore_errors=True)
        program.parent.with_suffix(".lock").unlink(missing_ok=True)
