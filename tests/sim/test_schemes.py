"""A small transformer pruned by every scheme and quantized: it lowers, golden = C++, and cycles are those promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from flow.compress.calibrate import calibrate
from flow.compress.matrices import with_constants
from flow.compress.plan import Plan, PruneOptions, make_plan, masks_of
from flow.compress.quantize import QuantizeOptions, quantize
from flow.compress.schemes import SCHEMES
from flow.emit.lower import LowerOptions, integerise, lay_out
from flow.engine import Engine
from flow.formats import unpack
from flow.frontend.pt2 import read_pt2
from flow.frontend.to_torch import write_pt2
from flow.golden import execute
from flow.golden.host import HostProgram
from flow.ir import Array, Graph, Node
from flow.ops.boundary import DeviceOutput
from flow.ops.linear import Linear
from flow.passes import recognise
from flow.passes.lay_out import Layout, Placed
from flow.sim.kernel import run_frames

WIDTH, TOKENS, BANKS = 32, 6, 8
SPARSITY = 0.5
ENGINE = Engine(4, BANKS, 2, 2, 1, beat_bytes=16, stream_bytes=8, sequence=16)


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, activation="gelu", batch_first=True, dropout=0.0)
    module = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        program = torch.export.export(module, (torch.zeros(1, TOKENS, WIDTH),), strict=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    path = tmp_path_factory.mktemp("float") / "model.pt2"
    torch.export.save(program, path)
    return recognise(read_pt2(path))


def samples(graph: Graph, count: int, seed: int) -> list[dict[str, Array]]:
    (name,) = (node.op.key for node in graph if node.op.name == "input")  # type: ignore[attr-defined]
    rng = np.random.default_rng(seed)
    return [{name: rng.standard_normal((1, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]


def pruned(floats: Graph, scheme: str) -> tuple[Graph, Plan]:
    """The graph with the weights that a plan at the matrices' own magnitude keeps."""
    plan = make_plan(floats, PruneOptions(scheme=scheme, sparsity=SPARSITY, banks=BANKS))
    weights = {matrix.name: matrix.weight for matrix in plan.matrices}
    masks = masks_of(plan, weights)
    return with_constants(floats, {name: weight * masks[name] for name, weight in weights.items()}), plan


def linears(layout: Layout) -> list[Placed]:
    return [placed for placed in layout.placed if placed.encoded is not None]


def stored_cycles(layout: Layout, placed: Placed) -> tuple[int, ...]:
    """G*K of every row group as the image holds it."""
    words, engine = placed.record.words, layout.program.engine
    assert placed.encoded is not None
    first = words["weights"] * engine.beat_bytes
    encoded, _ = unpack(
        layout.program.image[first : first + words["weight_beats"] * engine.beat_bytes],
        placed.encoded.page,
        rows=words["row_groups"] * engine.rows,
        banks=engine.banks,
        depth=words["depth"],
        rows_per_group=engine.rows,
        weight_bits=words["weight_bits"],
        beat_bytes=engine.beat_bytes,
    )
    return encoded.row_group_cycles


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_a_pruned_model_lowers_and_equals_golden(
    floats: Graph, scheme: str, bits: int, tmp_path: Path
) -> None:
    graph, plan = pruned(floats, scheme)
    calibrated = samples(graph, 16, seed=1)
    write_pt2(
        quantize(graph, calibrate(graph, calibrated), QuantizeOptions(weight_bits=bits)), tmp_path / "q.pt2"
    )
    integers = integerise(recognise(read_pt2(tmp_path / "q.pt2")), LowerOptions())
    layout = lay_out(integers, ENGINE)
    promised = sorted((plan.structures[m.name].cycles or 0, m.rows) for m in plan.matrices)
    found = []
    for placed in linears(layout):
        op = placed.step.nodes[0].op
        assert isinstance(op, Linear)
        cycles = stored_cycles(layout, placed)
        found.append((max(cycles), len(op.weight)))
        if scheme != "unstructured":
            assert len(set(cycles)) == 1
    assert len(found) == len(plan.matrices) == 6
    if scheme != "unstructured":
        assert sorted(found) == promised
    check_csim(integers, layout, samples(graph, 4, seed=2))


def check_csim(graph: Graph, layout: Layout, given: list[dict[str, Array]]) -> None:
    """The kernel sends the golden model's integers."""
    program = layout.program
    host = HostProgram.of(graph, program.tokens)
    frames = [program.frame(host.before(sample), TOKENS) for sample in given]
    results = run_frames(program, frames, [TOKENS] * len(frames))
    for sample, data in zip(given, results, strict=True):
        golden: dict[str, Array] = {}

        def keep(node: Node, values: tuple[Array, ...], golden: dict[str, Array] = golden) -> None:
            if isinstance(node.op, DeviceOutput):
                golden[node.op.key] = values[0]

        execute(graph, sample, keep)
        ((name, tensor),) = golden.items()
        assert tensor.shape == (TOKENS, WIDTH)
        assert np.any(tensor)
        assert np.array_equal(program.read_frame(data, TOKENS)[name], tensor)
