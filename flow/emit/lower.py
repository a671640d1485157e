"""`flow lower`: a model file to the files of a build, in memory; `write_build` puts them on disk."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flow.boards import DSP_KINDS, Board
from flow.cost import EstimateReport, estimate_layout, fit, ultra_memories
from flow.emit.build import BOARD_FILE, manifest_of, tree_of
from flow.emit.chip import chip_files
from flow.emit.cosim import cosim_files
from flow.emit.hls import hls_files
from flow.emit.report import report_of
from flow.emit.rtl import rtl_files
from flow.emit.sources import Sources
from flow.engine import Engine, Program
from flow.errors import FlowError, raise_all
from flow.frontend import load
from flow.golden import execute
from flow.golden.host import HostProgram
from flow.golden.stimulus import stimulus
from flow.ir import Array, Graph, Node
from flow.ops.boundary import DeviceOutput
from flow.passes import recognise
from flow.passes.fuse_steps import FuseSteps
from flow.passes.lay_out import LayOut, Layout
from flow.passes.order_channels import OrderChannels
from flow.passes.plan_scratchpad import PlanScratchpad
from flow.passes.to_integers import to_integers

Progress = Callable[[str], None]
BENCH_FRAMES = 2
"""Frames of the stimulus that a build carries for its test benches."""


@dataclass(frozen=True)
class LowerOptions:
    """What a user may ask of `lower`. `overrides` are `--set engine.NAME=VALUE` pairs by NAME."""

    allow_int8_residual: bool = False
    exp_bits: int | None = None
    overrides: Mapping[str, int] = field(default_factory=dict)


def parse_settings(pairs: Sequence[str]) -> dict[str, int]:
    """`engine.NAME=VALUE` pairs to overrides; `fit` checks the names.

    Raises:
        FlowError: lists every pair of another form or given twice.
    """
    found: dict[str, int] = {}
    faults = []
    for pair in pairs:
        match = re.fullmatch(r"engine\.(\w+)=([0-9]{1,9})", pair)
        if match is None:
            faults.append(f"found {pair!r}; expected engine.NAME=NUMBER, such as engine.tokens=16")
        elif match[1] in found:
            faults.append(f"found engine.{match[1]} twice; expected it once")
        else:
            found[match[1]] = int(match[2])
    raise_all(FlowError, "--set: found settings that cannot be used", faults)
    return found


@dataclass(frozen=True)
class Lowered:
    """A lowered model: recognised and integer graph, program on its engine, estimate, and the files of its build."""

    reference: Graph
    graph: Graph
    layout: Layout
    estimate: EstimateReport
    board: Board
    files: Mapping[str, bytes]
    manifest: Mapping[str, Any]

    @property
    def engine(self) -> Engine:
        """The engine that the program runs on."""
        return self.layout.program.engine

    def summary(self, output: Path) -> dict[str, Any]:
        """The object of `flow lower --json`."""
        return {
            "build": str(output),
            "board": self.board.name,
            "engine": self.engine.to_json(),
            "multipliers": self.engine.multipliers,
            "steps": len(self.layout.program.records),
            "image_bytes": len(self.layout.program.image),
            "estimate": self.estimate.to_json(),
        }


def read_model(path: Path, config: Path | None = None) -> Graph:
    """A model file as a recognised graph (level 1).

    Raises:
        FlowError: bad file. UnsupportedError: lists what cannot be lowered.
    """
    graph = load(path, config)
    graph.name = path.name  # messages name the file: inside a .pt2 every model is called `model`
    return recognise(graph)


def integerise(reference: Graph, options: LowerOptions) -> Graph:
    """The integer graph (level 2) of a recognised QDQ graph.

    Raises:
        UnsupportedError: lists every edge outside the number contract, or every output that reads padding.
    """
    return to_integers(reference, options.allow_int8_residual, options.exp_bits)


def lay_out(graph: Graph, engine: Engine, progress: Progress | None = None) -> Layout:
    """The program of an integer graph on an engine.

    Raises:
        FitError: names the capacity that is exceeded.
    """
    steps = FuseSteps()(graph)
    orders = OrderChannels(engine)(graph, steps)
    plan = PlanScratchpad(engine)(graph, steps, orders)
    return LayOut(engine, progress)(graph, steps, orders, plan)


@dataclass(frozen=True)
class Prepared:
    """A model lowered to a program on an engine: everything in a build that no template has a part in."""

    reference: Graph
    graph: Graph
    layout: Layout
    estimate: EstimateReport
    board: Board
    files: Mapping[str, bytes]
    info: Mapping[str, Any]


def lower(
    model: Path,
    board: Board,
    *,
    engine: Engine | None = None,
    config: Path | None = None,
    options: LowerOptions | None = None,
    templates: Path | None = None,
    progress: Progress | None = None,
) -> Lowered:
    """Lower a model to `board`, onto `engine` if one is given, else onto the engine that fits the board and model best.

    `templates` is a folder whose files take the place of flow's own templates and headers.

    Raises:
        FlowError: bad file, option or template. UnsupportedError: not lowerable. FitError: too big, by resource or
            capacity.
    """
    sources = Sources.of(templates)
    prepared = prepare(model, board, engine=engine, config=config, options=options, progress=progress)
    (progress or (lambda _: None))("write the kernel")
    return emit(prepared, sources)


def prepare(
    model: Path,
    board: Board,
    *,
    engine: Engine | None = None,
    config: Path | None = None,
    options: LowerOptions | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """The part of `lower` that depends on the model.

    Raises:
        FlowError: bad file or option. UnsupportedError: not lowerable. FitError: too big, by resource or capacity.
    """
    options = options or LowerOptions()
    tell = progress or (lambda _: None)
    tell("read the model")
    reference = read_model(model, config)
    tell("integerise")
    graph = integerise(reference, options)
    if engine is None:
        tell(f"fit an engine to {board.name}")
        engine = fit(graph, board, options.overrides)
    elif options.overrides:
        raise FlowError(
            "--set: found it together with --engine; expected an engine as it is; drop one of the two"
        )
    layout = lay_out(graph, engine, progress)
    estimate = estimate_layout(layout, board)
    files = {
        **tree_of(graph, reference, layout.program),
        **sim_files(graph, layout.program),
        "report.json": report_of(layout, graph, estimate),
        **({} if board.bundled else {BOARD_FILE: board.text.encode()}),
    }
    info = {
        "model": {"name": model.name, "sha256": _sha256(model)},
        "board": board.name,
        "level": board.level,
        "options": {
            "allow_int8_residual": options.allow_int8_residual,
            "exp_bits": options.exp_bits,
            "set": dict(options.overrides),
        },
    }
    return Prepared(reference, graph, layout, estimate, board, files, info)


def emit(prepared: Prepared, sources: Sources) -> Lowered:
    """The part of `lower` that depends on the templates and headers.

    Raises:
        FlowError: a template fails; names its file and line.
    """
    program, board = prepared.layout.program, prepared.board
    packing, ultra = DSP_KINDS[board.dsp_kind], ultra_memories(program.engine, board)
    files = {
        **prepared.files,
        **hls_files(program.engine, board, sources=sources),
        **cosim_files(program.engine, sources=sources),
        **rtl_files(program.engine, packing=packing, ultra=ultra, sources=sources),
        **chip_files(program.engine, board, program.image, sources=sources),
    }
    info = {**prepared.info, "templates": sources.overlaid}
    manifest = manifest_of(program, info, files)
    return Lowered(
        prepared.reference, prepared.graph, prepared.layout, prepared.estimate, board, files, manifest
    )


def sim_files(graph: Graph, program: Program) -> dict[str, bytes]:
    """Seeded stimulus as frames for the benches, `sim/input.bin`, the golden answer, `sim/expected.bin`, and the bytes
    of each frame, `sim/frames.json`."""
    host = HostProgram.of(graph, program.tokens)
    given, expected = [], []
    for sample in stimulus(graph, BENCH_FRAMES, seed=0).samples:
        length = host.length(sample)
        found: dict[str, Array] = {}
        execute(graph, sample, partial(_keep_outputs, found))
        given.append(program.frame(host.before(sample), length))
        expected.append(
            b"".join(port.pack(program.engine, found[port.name], length) for port in program.outputs)
        )
    sizes = {"input_bytes": [len(f) for f in given], "output_bytes": [len(f) for f in expected]}
    return {
        "sim/input.bin": b"".join(given),
        "sim/expected.bin": b"".join(expected),
        "sim/frames.json": (json.dumps(sizes) + "\n").encode(),
    }


def _keep_outputs(found: dict[str, Array], node: Node, values: tuple[Array, ...]) -> None:
    if isinstance(node.op, DeviceOutput):
        found[node.op.key] = values[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
