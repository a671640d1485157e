"""The whole engine as a killer: the programs that C++ mutants meet, beside a clock, and their cycles.

Every case of `mutation.stimulus`: each opcode's models, whose outputs golden gives, and records of which every word is
at and beyond its end. The information block is compared with that of the unchanged engine: a fault that costs cycles
and changes no bit is noticed as `cycles`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined
from mutation.killers import REFUSED, Run, Verdict, difference
from mutation.memory import Memory
from mutation.stimulus import Bench

from flow.boards import DSP_KINDS
from flow.emit.cosim import cosim_files
from flow.emit.manifest import IMAGE
from flow.emit.rtl import RtlContext, rtl_files
from flow.engine import INFO, Status
from flow.errors import ToolError
from flow.resources import asset_dir
from flow.sim.rtl import UNITS
from flow.sim.verilator import Model, compile_model, run_bench
from mutation_rtl.memory import Outcomes

BESIDE_CLOCK = Path(__file__).resolve().parents[1] / "mutation"
NOISE = ("+verilator+rand+reset+2", "+verilator+seed+7")
PATIENCE = 6000
STALLS = {"idle": 0.3, "backpressure": 0.3, "memory": 0.1, "latency": 8}
FLAGS = ("-O0",)
FIRST = 12
"""Cases that run by themselves before the others do: mostly they kill. Stalls, and so cycles, depend on what ran
before, so that the unchanged engine runs in the same two parts."""
_COUNTERS = ("cycles_low", "cycles_high", "stall_input", "stall_output", "stall_memory")


def files_of(bench: Bench, file: str = "", mutated: str = "") -> dict[str, bytes]:
    """The Verilog of a bench's engine, with a file replaced or a template rendered from another text."""
    packing = DSP_KINDS[bench.packing]
    files = rtl_files(bench.engine, packing=packing)
    if file.endswith(".j2"):
        name = f"rtl/{file}"
        loader = ChoiceLoader([DictLoader({name: mutated}), FileSystemLoader(asset_dir("templates"))])
        environment = Environment(
            loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
            keep_trailing_newline=True, autoescape=False,
        )  # fmt: skip
        context = RtlContext(bench.engine, packing)
        files[name.removesuffix(".j2")] = environment.get_template(name).render(ctx=context).encode()
    elif file:
        files[f"rtl/{file}"] = mutated.encode()
    return files


@dataclass
class WholeEngine:
    """Runs every case of every bench on the engine in Verilog until one ends otherwise."""

    benches: tuple[Bench, ...]
    name: str = "engine"
    outcomes: Outcomes = field(default_factory=Outcomes)
    _expected: dict[str, dict[str, Run]] = field(default_factory=dict)

    def judge(self, file: str, mutated: str) -> Verdict:
        """How a mutated file ends."""
        for bench in self.benches:
            files = files_of(bench, file, mutated)
            if files == files_of(bench):
                continue  # a branch of a template that this engine does not take
            key = _key(bench, files)
            verdict = self.outcomes.find(key) or self.outcomes.add(key, self._judge(bench, files))
            if verdict.how:
                return verdict
        return Verdict("")

    def _judge(self, bench: Bench, files: Mapping[str, bytes]) -> Verdict:
        expected = self._baseline(bench)
        program = _compile(bench, files)
        if program is None:
            return Verdict(REFUSED)
        cases = {case.name: case for case in bench.cases}
        try:
            for part in _parts(bench):
                for name, run in _run(program, part):
                    verdict = difference(cases[name], run)
                    how = verdict.how or _otherwise(expected[name], run, noisy=cases[name].output is None)
                    if how:
                        return Verdict(how, f"{bench.name}: {name}")
        finally:
            _forget(program)
        return Verdict("")

    def _baseline(self, bench: Bench) -> dict[str, Run]:
        """How every case of a bench ends on the unchanged engine."""
        if bench.name not in self._expected:
            program = _compile(bench, files_of(bench))
            assert program is not None, f"{bench.name}: the unchanged engine does not compile"
            try:
                runs = {name: run for part in _parts(bench) for name, run in _run(program, part)}
            finally:
                _forget(program)
            assert len(runs) == len(bench.cases) > 0, f"{bench.name}: found {len(runs)} cases run"
            for case in bench.cases:
                how = difference(case, runs[case.name]).how
                assert not how, f"{bench.name}: {case.name}: the unchanged engine is killed by {how}"
            self._expected[bench.name] = runs
        return self._expected[bench.name]


def _key(bench: Bench, files: Mapping[str, bytes]) -> str:
    """Names an engine's Verilog, the unchanged one that it is compared with, and all that both are tried with."""
    given = (FLAGS, NOISE, PATIENCE, STALLS, FIRST, [(case.name, case.digest) for case in bench.cases])
    unchanged = Memory.key(bench.name, files_of(bench))
    beside = {"beside_clock.py": (BESIDE_CLOCK / "beside_clock.py").read_bytes()}
    return Memory.key(repr((unchanged, *given)), {**cosim_files(bench.engine), **beside, **files})


def _parts(bench: Bench) -> tuple[Bench, Bench]:
    return replace(bench, cases=bench.cases[:FIRST]), replace(bench, cases=bench.cases[FIRST:])


def _otherwise(expected: Run, run: Run, *, noisy: bool) -> str:
    """What an accepted run has different from the unchanged engine's."""
    words = [
        {name: data[4 * i : 4 * i + 4] for i, name in enumerate(INFO)} for data in (expected.info, run.info)
    ]
    counted = [{name: word[name] for name in _COUNTERS} for word in words]
    others = [{k: v for k, v in word.items() if k not in _COUNTERS} for word in words]
    if others[0] != others[1] or (not noisy and expected.output != run.output):
        return "other output"
    return "cycles" if counted[0] != counted[1] else ""


def _compile(bench: Bench, files: Mapping[str, bytes]) -> Path | None:
    verilog = sorted(path for path in files if path.endswith(".v"))
    sources = {**cosim_files(bench.engine), **files}
    model = Model(
        {path: sources[path] for path in (*verilog, *UNITS)},
        (*UNITS, *verilog),
        "flow_bench",
        FLAGS,
        ports_only=True,
    )
    try:
        return compile_model(model)
    except ToolError:
        return None


def _forget(program: Path) -> None:
    """No other run will want a mutant's model."""
    shutil.rmtree(program.parent, ignore_errors=True)
    program.parent.with_suffix(".lock").unlink(missing_ok=True)


def _run(program: Path, bench: Bench) -> Iterator[tuple[str, Run]]:
    """Name and end of each case that ran; the last is the one that killed the simulator, if one did."""
    with tempfile.TemporaryDirectory(prefix="flow-mutation-") as scratch:
        place = Path(scratch)
        for path, content in {**cosim_files(bench.engine), IMAGE: b""}.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        for number, case in enumerate(bench.cases):
            (place / f"{number}.image").write_bytes(case.image)
            (place / f"{number}.input").write_bytes(case.stream)
        job = {
            "seed": 0, "patience": PATIENCE, "stalls": STALLS,
            "cases": [case.frames or (len(case.stream),) for case in bench.cases],
        }  # fmt: skip
        (place / "cases.json").write_text(json.dumps(job))
        how = _simulate(program, place)
        lines = []
        if (place / "results.jsonl").exists():
            lines = (place / "results.jsonl").read_text().splitlines()
        for number, line in enumerate(lines):
            answer = json.loads(line)
            info = b"".join(answer["info"].get(name, 0).to_bytes(4, "little") for name in INFO)
            done = 0 if answer["info"].get("status") == int(Status.OK) else 1
            output = (place / f"{number}.output").read_bytes()
            yield bench.cases[number].name, Run(answer["how"], done, output, info)
        if how and len(lines) < len(bench.cases):
            yield bench.cases[len(lines)].name, Run(how, 0, b"", b"")


def _simulate(program: Path, place: Path) -> str:
    """Run the cases; how the simulator died, if it did."""
    folders = [place / "sim", place / "driver", BESIDE_CLOCK]
    variables = {"FLOW_BUILD": str(place)}
    try:
        (result,) = run_bench(program, folders, "beside_clock", place, environment=variables, arguments=NOISE)
    except ToolError as error:
        return "timeout" if "found it running" in str(error) else "crash"
    return "handshake" if result.failure else ""
