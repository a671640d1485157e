"""An operator's own examples through golden and the C++ or Verilog: what an author of a plug-in runs first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from flow.emit.lower import lay_out
from flow.engine import STAGES, Engine
from flow.golden import execute
from flow.golden.samples import Sample
from flow.ir import Graph
from flow.ops.device import DeviceOp
from flow.ops.post import PostStage, register_outside
from flow.ops.source import Input
from flow.sim import rtl
from flow.sim.compare import Mismatch, first_difference
from flow.sim.kernel import Kernel, run_frames

SAMPLES = 6
Backend = Literal["csim", "rtl"]


def small_engines(stage: str | None) -> tuple[Engine, ...]:
    """Two engines of odd shapes that have a stage: beats narrower and wider than its parameters."""
    features = tuple(sorted({*STAGES, *([stage] if stage else [])}))
    return (
        Engine(4, 8, 2, 2, 1, beat_bytes=128, features=features, sequence=16, depth=8, table_bits=12),
        Engine(
            2,
            4,
            1,
            1,
            1,
            beat_bytes=8,
            stream_bytes=8,
            features=features,
            sequence=16,
            depth=8,
            table_bits=12,
        ),
    )


def check_operator(
    operator: type[DeviceOp], engines: Sequence[Engine] = (), backend: Backend = "csim"
) -> tuple[int, list[Mismatch]]:
    """(outputs compared, first difference of every example that differs), golden against C++ or Verilog (`rtl`).

    A plug-in's stage is registered if it is not yet. Stimuli are seeded: full range, all zero, both ends.

    Raises:
        FlowError: the stage lacks something, `rtl` its Verilog. ToolError: the code does not compile or run.
    """
    if issubclass(operator, PostStage):
        register_outside(operator)
    compared, found = 0, []
    for engine in engines or small_engines(operator.stage):
        kernel = Kernel.of(engine) if backend == "csim" else None
        for graph in operator.examples():
            program = lay_out(graph, engine).program
            samples = list(_samples(graph))
            frames = [program.frame(sample, program.tokens) for sample in samples]
            replies = (
                run_frames(program, frames, [program.tokens] * len(frames), kernel)
                if kernel is not None
                else rtl.run_program(program, frames)
            )
            different = None
            for index, (sample, reply) in enumerate(zip(samples, replies, strict=True)):
                tensors = program.read_frame(reply, program.tokens)
                for name, golden in execute(graph, sample).items():
                    compared += golden.size
                    different = different or first_difference(index, graph.name, name, golden, tensors[name])
            found += [different] if different is not None else []
    return compared, found


def _samples(graph: Graph) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    inputs = [node.op for node in graph if isinstance(node.op, Input)]
    ends = {op.key: np.iinfo(op.type.dtype) for op in inputs}
    shapes = {op.key: op.type.shape for op in inputs}
    yield {key: np.zeros(shape, np.int64) for key, shape in shapes.items()}
    yield {key: np.full(shape, ends[key].max) for key, shape in shapes.items()}
    yield {key: np.full(shape, -ends[key].max) for key, shape in shapes.items()}
    for _ in range(SAMPLES - 3):
        yield {key: rng.integers(-ends[key].max, ends[key].max + 1, shape) for key, shape in shapes.items()}
