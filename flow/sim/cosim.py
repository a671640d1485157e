"""`flow sim --backend cosim`: the C++ that lies in a build, behind its real ports, beside a clock.

The build's own shell, bench and driver run on the build's own kernel: what is proved is what a user has.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

from flow.emit.build import Build
from flow.emit.cosim import cosim_files
from flow.emit.hls import kernel_files
from flow.emit.manifest import IMAGE
from flow.engine import Program
from flow.errors import ToolError
from flow.ir import Array
from flow.sim.csim import CSim
from flow.sim.diagnostics import Origins
from flow.sim.verilator import SOURCES, CaseResult, Model, compile_model, run_bench

TOP = "flow_bench"
FLAGS = ("-O3", "-march=native", "-mtune=generic", "-DFLOW_COSIM")
INCLUDES = ("hls", "hls/compat", "sim")
UNITS = ("sim/flow_bench.sv", "sim/flow_engine.sv", "sim/axi_memory.sv", "sim/shell.cpp")
SOURCE_ENDINGS = (".h", ".hpp", ".cpp", ".sv")
WAVES = "dump.fst"


@dataclass(frozen=True)
class Stalls:
    """Probabilities that a cycle lets no beat through (`idle`: into the engine, `backpressure`: out of it, `memory`),
    and the memory's latency in cycles."""

    idle: float = 0.3
    backpressure: float = 0.3
    memory: float = 0.1
    latency: int = 8


@dataclass(frozen=True)
class Bench:
    """How the bench drives a build: seeded stalls, and the cycles without any beat after which it gives up."""

    seed: int = 0
    stalls: Stalls = field(default_factory=Stalls)
    patience: int = 20_000
    waves: Path | None = None


def model_of(files: Mapping[str, bytes], waves: bool = False) -> Model:
    """The simulation model of a build's files (by path relative to the build)."""
    sources = {
        path: content
        for path, content in files.items()
        if path.startswith(("hls/", "sim/")) and path.endswith(SOURCE_ENDINGS) and path != "hls/testbench.cpp"
    }
    includes = tuple(f"-I{SOURCES}/{folder}" for folder in INCLUDES)
    return Model(sources, UNITS, TOP, (*FLAGS, *includes), waves)


def build_model(build: Path, waves: bool = False) -> Path:
    """The compiled model of what lies in a build's folders now, changed or not.

    Raises:
        ToolError: see `compile_model`.
    """
    paths = (path for folder in ("hls", "sim") for path in (build / folder).rglob("*") if path.is_file())
    files = {
        path.relative_to(build).as_posix(): path.read_bytes()
        for path in paths
        if path.suffix in SOURCE_ENDINGS
    }
    return compile_model(model_of(files, waves), Origins.at(build))


def run_scenarios(
    build: Path, module: str, place: Path, *, case: str = "", waves: bool = False, model: Path | None = None
) -> list[CaseResult]:
    """Compile a build's model (or take `model`) and run the cocotb tests of a module in its sim/ folder; `case` names a
    single one.

    Raises:
        ToolError: see `run_bench`.
    """
    place.mkdir(parents=True, exist_ok=True)
    environment = {"FLOW_BUILD": str(build.absolute())}
    if case:
        environment["COCOTB_TEST_FILTER"] = rf"\.{case}$"
    folders = [build.absolute() / "sim", build.absolute() / "driver"]
    program = model or build_model(build, waves)
    return run_bench(program, folders, module, place, environment=environment, waves=waves)


def run_program(program: Program, frames: Sequence[bytes], bench: Bench | None = None) -> list[bytes]:
    """Output frames of a program that lies in no build, on the engine as flow emits it.

    Raises:
        ToolError: see `CoSim.run`.
    """
    bench = bench or Bench()
    kernel = {f"hls/{path}": content for path, content in kernel_files(program.engine).items()}
    files = kernel | cosim_files(program.engine)
    with tempfile.TemporaryDirectory(prefix="flow-cosim-") as scratch:
        for path, content in {**files, IMAGE: program.image}.items():
            (Path(scratch) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / path).write_bytes(content)
        model = compile_model(model_of(files, bench.waves is not None))
        return run_job(Path(scratch), model, frames, bench).outputs


@dataclass(frozen=True)
class Done:
    """What a job left: output frames, beats of each port and cycles (`Bench.counts` of the build's bench), and files
    by name."""

    outputs: list[bytes]
    counts: dict[str, int]
    files: dict[str, bytes]


def run_job(
    build: Path,
    model: Path,
    frames: Sequence[bytes],
    bench: Bench,
    batches: Sequence[int] | None = None,
    keep: Sequence[str] = (),
) -> Done:
    """Run frames on a compiled model, with the bench, driver and image of a build's folder.

    `batches` are the frames of every RUN (drawn where there are none); `keep` names files of the simulation to return.

    Raises:
        ToolError: the simulation failed, got stuck at a port, or moved another number of beats than it should.
    """
    build = build.absolute()
    job = {
        "seed": bench.seed,
        "patience": bench.patience,
        "stalls": asdict(bench.stalls),
        "input_bytes": [len(frame) for frame in frames],
        "batches": batches,
    }
    with tempfile.TemporaryDirectory(prefix="flow-cosim-") as scratch:
        place = Path(scratch)
        (place / "job.json").write_text(json.dumps(job))
        (place / "input.bin").write_bytes(b"".join(frames))
        folders, environment = [build / "sim", build / "driver"], {"FLOW_BUILD": str(build)}
        waves = bench.waves
        results = run_bench(model, folders, "job", place, environment=environment, waves=waves is not None)
        if waves is not None:
            shutil.copyfile(place / WAVES, waves)
        for result in results:
            if result.failure:
                raise ToolError(f"cosim: {result.failure}")
        answer = json.loads((place / "result.json").read_bytes())
        data = (place / "output.bin").read_bytes()
        files = {name: (place / name).read_bytes() for name in keep}
    ends = accumulate(answer["output_bytes"], initial=0)
    return Done([data[a:b] for a, b in pairwise(ends)], answer["counts"], files)


class CoSim:
    """A build's kernel behind its ports, and its program. `counts` are the beats and cycles of the last `run`."""

    def __init__(self, build: Build, bench: Bench | None = None) -> None:
        self._build = build
        self._bench = bench or Bench()
        self.counts: dict[str, int] = {}
        files = {
            name: build.read(name)
            for name in build.manifest["files"]
            if name.startswith(("hls/", "sim/", "driver/"))
        }
        self._program = compile_model(model_of(files, self._bench.waves is not None), Origins.of(build))

    @cached_property
    def _csim(self) -> CSim:
        return CSim(self._build)

    def run(self, frames: Sequence[bytes], lengths: Sequence[int]) -> list[bytes]:
        """Output frames, one for each input frame.

        Raises:
            ToolError: the simulation failed, got stuck at a port, or moved another number of beats than it should.
        """
        done = run_job(self._build.path, self._program, frames, self._bench)
        self.counts = done.counts
        return done.outputs

    def trace(self, frame: bytes, length: int) -> list[dict[str, Array]]:
        """What every step wrote, by the C simulation of the same kernel: ports show no steps."""
        return self._csim.trace(frame, length)
