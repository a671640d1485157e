"""The emitted kernel beside a clock as a killer: it sees what a plain C simulation cannot.

A port where nothing moves any more, promises of a handshake that are broken, reads outside the image, memories that
hold noise after a reset. Each mutant is a Verilator model of its own, so that fewer cases run than in C simulation.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flow.emit.cosim import cosim_files
from flow.emit.manifest import IMAGE
from flow.engine import INFO, Engine, Status
from flow.errors import ToolError
from flow.sim.cosim import model_of
from flow.sim.verilator import compile_model, run_bench
from mutation.case import Case
from mutation.killers import REFUSED, Run, Verdict, difference
from mutation.stimulus import Bench

PATIENCE, KERNEL_SECONDS = 3000, 3
OTHERS = ("several frames", "longest", "one token", "END in the middle", "length 0", "cut page")
"""Cases beside the models'."""
STALLS = {"idle": 0.3, "backpressure": 0.3, "memory": 0.1, "latency": 8}


def few(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Cases that are run beside a clock: the models, and those about frames and what is fetched."""
    return tuple(case for case in cases if case.mask or case.name in OTHERS)


@dataclass
class CoSim:
    """The emitted C++ behind its ports, in Verilator."""

    name: str = "cosim"
    outputs: dict[tuple[str, str], tuple[bytes, bytes]] = field(default_factory=dict)

    def baseline(self, files: Mapping[str, bytes], bench: Bench) -> None:
        """See `Killer`. Raises AssertionError where the unchanged kernel does not do what the stimulus expects."""
        program = _compile(files, bench.engine)
        assert program is not None, f"{bench.name}: the unchanged kernel does not compile"
        runs = dict(_run(program, bench))
        assert len(runs) == len(few(bench.cases)) > 0, f"{bench.name}: found {len(runs)} cases run"
        for case in few(bench.cases):
            how = difference(case, runs[case.name]).how
            assert not how, f"{bench.name}: {case.name}: the unchanged kernel is killed by {how}"
            self.outputs[bench.name, case.name] = (runs[case.name].output, runs[case.name].info)

    def judge(self, files: Mapping[str, bytes], bench: Bench) -> Verdict:
        """See `Killer`."""
        program = _compile(files, bench.engine)
        if program is None:
            return Verdict(REFUSED)
        cases = {case.name: case for case in bench.cases}
        for name, run in _run(program, bench):
            verdict = difference(cases[name], run)
            expected = self.outputs[bench.name, name]
            # What a program sends that nobody wrote is noise.
            noisy = cases[name].output is None
            if not verdict.how and (run.info != expected[1] or (not noisy and run.output != expected[0])):
                verdict = Verdict("other output", name)
            if verdict.how:
                return verdict
        return Verdict("")


def _compile(files: Mapping[str, bytes], engine: Engine) -> Path | None:
    """The model of a kernel, moved out of the cache: no other run will want it."""
    sources = cosim_files(engine) | {f"hls/{path}": content for path, content in files.items()}
    try:
        return compile_model(model_of(sources))
    except ToolError:
        return None


def _run(program: Path, bench: Bench) -> Iterator[tuple[str, Run]]:
    """Name and end of each case that ran; the last is the one that killed the simulator, if one did."""
    cases = few(bench.cases)
    with tempfile.TemporaryDirectory(prefix="flow-mutation-") as scratch:
        place = Path(scratch)
        for path, content in {**cosim_files(bench.engine), IMAGE: b""}.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        for number, case in enumerate(cases):
            (place / f"{number}.image").write_bytes(case.image)
            (place / f"{number}.input").write_bytes(case.stream)
        job = {
            "seed": 0,
            "patience": PATIENCE,
            "stalls": STALLS,
            "cases": [case.frames or (len(case.stream),) for case in cases],
        }
        (place / "cases.json").write_text(json.dumps(job))
        how = _simulate(program, place)
        lines = (
            (place / "results.jsonl").read_text().splitlines() if (place / "results.jsonl").exists() else []
        )
        for number, line in enumerate(lines):
            answer = json.loads(line)
            info = b"".join(answer["info"].get(name, 0).to_bytes(4, "little") for name in INFO)
            output = (place / f"{number}.output").read_bytes()
            yield cases[number].name, Run(answer["how"], _status(answer["info"]), output, info)
        if how and len(lines) < len(cases):
            yield cases[len(lines)].name, Run(how, 0, b"", b"")


def _status(info: Mapping[str, int]) -> int:
    return 0 if info.get("status") == int(Status.OK) else 1


def _simulate(program: Path, place: Path) -> str:
    """Run the cases; how the simulator died, if it did."""
    folders = [place / "sim", place / "driver", Path(__file__).resolve().parent]
    variables = {"FLOW_BUILD": str(place), "FLOW_KERNEL_SECONDS": str(KERNEL_SECONDS)}
    try:
        (result,) = run_bench(program, folders, "beside_clock", place, environment=variables)
    except ToolError as error:
        said = str(error)
        deaths = {
            "kernel: found it at work": "timeout",
            "deadlock: read": "watchdog",
            "Assertion": "assertion",
        }
        return next((how for words, how in deaths.items() if words in said), "crash")
    finally:
        shutil.rmtree(program.parent)
        program.parent.with_suffix(".lock").unlink()
    return "handshake" if result.failure else ""
