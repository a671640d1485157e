"""Random transformers the whole way: export, quantize, lower, and every number where the contract says
that it is.

`FLOW_EXAMPLES` raises the number of drawn specs (default 4, beside 8 that cover every choice of the zoo).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from flow.emit.lower import lay_out
from flow.engine import Engine
from flow.golden import execute
from flow.golden.host import HostProgram
from flow.ir import Array, Graph, Node
from flow.ops.boundary import DeviceOutput
from flow.sim import cosim, rtl
from flow.sim.compare import count_differences
from flow.sim.cosim import Bench, Stalls
from flow.sim.kernel import run_frames
from tests.transformers import zoo
from tests.transformers.bounds import check_steps, closing_steps
from tests.transformers.modules import CLASSES
from tests.transformers.pipeline import Model, Sample, make
from tests.transformers.specs import CHOICES, Spec, covering, describe, specs

EXAMPLES = int(os.environ.get("FLOW_EXAMPLES", "4"))
COVERED, COVERING_SEED = 8, 13
"""A seed with which so few specs hold every choice; the last test says so."""
ENGINES = tuple(
    replace(engine, sequence=96, operand_depth=2048, store_depth=8192, values_depth=4096)
    for engine in (
        Engine(8, 4, 2, 1, 2, beat_bytes=16, stream_bytes=8),
        Engine(2, 16, 2, 8, 4, beat_bytes=64, stream_bytes=16),
        Engine(4, 32, 4, 2, 8, beat_bytes=32, stream_bytes=64),
    )
)
"""Odd ones: more tokens than banks, one norm lane, more norm lanes than rows, heads wider and narrower
than the banks."""

FLOAT = 1e-4
"""Recognised graph against torch, relative to the largest output: float32 sums in another order."""
CALIBRATED_DB, FRESH_DB = 30.0, 22.0
Clocked = Callable[..., list[bytes]]
BENCH = Bench(
    seed=5, stalls=Stalls(idle=0.4, backpressure=0.4, memory=0.2, latency=15), patience=rtl.PATIENCE
)
"""Patient: weights of 40 row groups wait decoded in the Verilog engine, whose memory then is silent for long."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examine(spec: Spec, folder: Path) -> None:
    """All checks of one spec."""
    model = make(spec, folder)
    fresh = zoo.samples(spec, 8, seed=2)
    stress = zoo.samples(spec, 4, seed=3, stress=True)
    check_float(model)
    check_noise(model, model.calibrated, CALIBRATED_DB)
    check_noise(model, fresh, FRESH_DB)
    check_bounds(model, [*fresh[:2], *stress])
    check_csim(model, ENGINES[spec.seed % len(ENGINES)], [*fresh[:3], *stress])


def outputs(model: Model, graph: Graph, sample: Sample) -> Array:
    """The rows of real tokens of the one output."""
    (output,) = execute(graph, sample).values()
    return zoo.valid(model.spec, sample, output)


def torch_outputs(model: Model, sample: Sample) -> Array:
    return zoo.valid(model.spec, sample, zoo.run_torch(model.module, sample))


def check_float(model: Model) -> None:
    """The recognised graph computes what torch computes."""
    for sample in model.calibrated[:4]:
        wanted, found = torch_outputs(model, sample), outputs(model, model.floats, sample)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= FLOAT * np.abs(wanted).max()


def check_noise(model: Model, samples: Sequence[Sample], least_db: float) -> None:
    """The integers' signal to noise against float torch, over all samples together."""
    signal = noise = 0.0
    for sample in samples:
        wanted, found = torch_outputs(model, sample), outputs(model, model.graph, sample)
        signal += float(np.square(wanted, dtype=np.float64).sum())
        noise += float(np.square(wanted - found, dtype=np.float64).sum())
    assert signal > 0
    assert 10 * np.log10(signal / max(noise, 1e-30)) >= least_db


def check_bounds(model: Model, samples: Sequence[Sample]) -> None:
    """Every step within its derived rounding bound, on samples of which some saturate."""
    saturated = 0
    for sample in samples:
        steps = check_steps(model.reference, model.graph, sample, zoo.length(model.spec, sample))
        assert {step.name for step in steps} == closing_steps(model.graph)
        assert not [step for step in steps if not step.holds]
        saturated += sum(step.saturated for step in steps)
    assert saturated


def check_csim(
    model: Model, engine: Engine, samples: Sequence[Sample], beside_clock: Clocked | None = None
) -> None:
    """The compiled kernel gives the golden model's integers, every one of them; also the engine that `beside_clock`
    runs, behind stalling ports."""
    program = lay_out(model.graph, engine).program
    host = HostProgram.of(model.graph, program.tokens)
    lengths = [host.length(sample) for sample in samples]
    assert lengths == [zoo.length(model.spec, sample) for sample in samples]
    frames = [program.frame(host.before(s), n) for s, n in zip(samples, lengths, strict=True)]
    clocked = beside_clock and partial(beside_clock, bench=BENCH)
    results = clocked(program, frames) if clocked else run_frames(program, frames, lengths)
    assert len(results) == len(samples)
    for sample, data, n in zip(samples, results, lengths, strict=True):
        golden: dict[str, Array] = {}

        def keep(node: Node, values: tuple[Array, ...], golden: dict[str, Array] = golden) -> None:
            if isinstance(node.op, DeviceOutput):
                golden[node.op.key] = values[0]

        execute(model.graph, sample, keep)
        compared, differing = count_differences(golden, program.read_frame(data, n))
        assert compared >= min(CLASSES, model.spec.width)
        assert differing == 0


@pytest.mark.parametrize("spec", covering(COVERED, COVERING_SEED), ids=describe)
def test_covering(spec: Spec, tmp_path: Path) -> None:
    examine(spec, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("spec", covering(COVERED, COVERING_SEED), ids=describe)
def test_covering_beside_a_clock(spec: Spec, tmp_path: Path) -> None:
    """The same kernels behind their ports, every sample of another length where the spec has lengths."""
    samples = [*zoo.samples(spec, 3, seed=2), *zoo.samples(spec, 4, seed=3, stress=True)]
    check_csim(make(spec, tmp_path), ENGINES[spec.seed % len(ENGINES)], samples, cosim.run_program)


@pytest.mark.slow
@pytest.mark.parametrize("spec", covering(COVERED, COVERING_SEED), ids=describe)
def test_covering_in_verilog(spec: Spec, tmp_path: Path) -> None:
    """The same models on the Verilog engine, under the same stalls."""
    samples = [*zoo.samples(spec, 3, seed=2), *zoo.samples(spec, 4, seed=3, stress=True)]
    check_csim(make(spec, tmp_path), ENGINES[spec.seed % len(ENGINES)], samples, rtl.run_program)


@given(spec=specs())
@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck), print_blob=False,
)  # fmt: skip
def test_drawn(tmp_path_factory: pytest.TempPathFactory, spec: Spec) -> None:
    examine(spec, tmp_path_factory.mktemp("drawn"))


def test_covering_specs_hold_every_choice() -> None:
    chosen = covering(COVERED, COVERING_SEED)
    held = {name: {getattr(spec, name) for spec in chosen} for name in CHOICES}
    assert {name: missing for name, values in CHOICES.items() if (missing := set(values) - held[name])} == {}
