"""From integer operators to a program: fusing, ordering channels, planning memory, laying out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from flow.engine import HEADER_BYTES, RECORD_BYTES, Engine, Opcode, Record, Space
from flow.errors import FitError, UnsupportedError
from flow.ir import Graph, TensorType, Value
from flow.ops.attention import Attention
from flow.ops.boundary import DeviceOutput
from flow.ops.norm import Norm
from flow.ops.source import Input
from flow.passes.base import run_passes
from flow.passes.fuse_steps import FuseSteps, Step
from flow.passes.integerise import Integerise
from flow.passes.lay_out import LayOut, Layout
from flow.passes.order_channels import OrderChannels, by_head, natural
from flow.passes.plan_scratchpad import PlanScratchpad
from tests.conftest import Golden
from tests.passes.building import Builder, block

ENGINE = Engine(4, 8, 2, 2, 2, beat_bytes=16, sequence=16)


@pytest.fixture
def graph() -> Graph:
    return run_passes(block(mask=True), [Integerise()])


def lay_out(graph: Graph, engine: Engine = ENGINE) -> Layout:
    steps = FuseSteps()(graph)
    orders = OrderChannels(engine)(graph, steps)
    return LayOut(engine)(graph, steps, orders, PlanScratchpad(engine)(graph, steps, orders))


def shown(step: Step) -> str:
    nodes, reads, writes = (
        " ".join(str(n) for n in part) for part in ([n.name for n in step.nodes], step.reads, step.writes)
    )
    return f"{step.opcode.name.lower()} {step.name}: [{nodes}] {reads or '-'} -> {writes or '-'}, {step.tokens} tokens"


def norms(bits: Sequence[int], epsilons: Sequence[int]) -> Graph:
    """Norms of one int16 input."""
    graph = Graph("norms")
    x = graph.add("x", Input("x", TensorType((5, 6), "int16", 2.0**-8)))
    for i, (width, epsilon) in enumerate(zip(bits, epsilons, strict=True)):
        op = Norm(True, epsilon, np.full(6, 100), np.zeros(6, np.int64), 12, width, 1.0)
        out = graph.add(f"out{i}", DeviceOutput(f"y{i}"), [graph.add(f"norm{i}", op, [x])])
        graph.set_output(f"y{i}", out)
    return graph


# -- fusing
# --------------------------------------------------------------------------------------------------------


def test_steps_of_a_block(golden: Golden, graph: Graph) -> None:
    golden("passes/fuse_steps.txt", "\n".join(map(shown, FuseSteps()(graph))) + "\n")


def test_two_norms_of_one_input_share_a_step_and_a_third_starts_another() -> None:
    steps = [s for s in FuseSteps()(norms([16, 8, 8], [5, 5, 5])) if s.opcode is Opcode.NORM]
    assert [[n.name for n in s.nodes] for s in steps] == [["norm0", "norm1"], ["norm2"]]


def test_norms_with_other_eps_stay_apart() -> None:
    steps = [s for s in FuseSteps()(norms([16, 8], [5, 50])) if s.opcode is Opcode.NORM]
    assert [[n.name for n in s.nodes] for s in steps] == [["norm0"], ["norm1"]]


# -- channels
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "heads", "physical", "depth"),
    [
        (9, 3, [0, 1, 2, 4, 5, 6, 8, 9, 10], 2),  # d = 3 < B = 8: the next power of two
        (4, 4, [0, 2, 4, 6], 1),  # d = 1: at least P = 2
        (20, 2, [*range(10), *range(16, 26)], 4),  # d = 10 >= B: the next multiple of B
    ],
)
def test_heads_are_padded(channels: int, heads: int, physical: list[int], depth: int) -> None:
    order = by_head(ENGINE, channels, heads)
    assert order.physical.tolist() == physical
    assert order.depth == depth


def test_other_tensors_keep_their_order() -> None:
    order = natural(ENGINE, 9)
    assert (order.physical.tolist(), order.depth, order.pitch) == (list(range(9)), 2, 0)


def test_a_tensor_has_one_number_of_heads() -> None:
    graph = Graph("heads")
    q, k, v = (graph.add(n, Input(n, TensorType((4, 6), "int8", 1.0))) for n in "qkv")
    for heads in (2, 3):
        op = Attention(heads, 20000, 15, 8, 20000, 20, False, 1.0)
        context = graph.add(f"attention{heads}", op, [q, k, v])
        graph.set_output(f"y{heads}", graph.add("out", DeviceOutput(f"y{heads}"), [context]))
    with pytest.raises(UnsupportedError) as caught:
        OrderChannels(ENGINE)(graph, FuseSteps()(graph))
    assert str(caught.value) == (
        "attention3 (attention): found a tensor split into 2 and 3 heads; expected one number of heads"
    )


# -- memory
# --------------------------------------------------------------------------------------------------------


def test_plan_of_a_block(golden: Golden, graph: Graph) -> None:
    steps = FuseSteps()(graph)
    plan = PlanScratchpad(ENGINE)(graph, steps, OrderChannels(ENGINE)(graph, steps))
    lines = [
        f"{value} as {kind}: {p.space.name.lower()}[{p.base}:{p.base + p.words}] from step {p.first} to {p.last}"
        for (value, kind), p in plan.places.items()
    ]
    peaks = [f"peak {space.name.lower()}: {words}" for space, words in sorted(plan.peak.items())]
    golden("passes/plan_scratchpad.txt", "\n".join([*lines, *peaks]) + "\n")


def test_nothing_that_lives_is_overwritten(graph: Graph) -> None:
    steps = FuseSteps()(graph)
    plan = PlanScratchpad(ENGINE)(graph, steps, OrderChannels(ENGINE)(graph, steps))
    pairs = 0
    for one, two in combinations(plan.places.values(), 2):
        if one.space is two.space and one.first <= two.last and two.first <= one.last:
            assert one.base + one.words <= two.base or two.base + two.words <= one.base
            pairs += 1
    assert pairs
    for index, step in enumerate(steps):
        if step.opcode is Opcode.LINEAR:
            source = plan.places[step.reads[0], "operand"].space
            written = [p.space for p in plan.places.values() if p.first == index]
            assert source not in written, "a linear step writes the half that it reads"


def test_output_reads_from_wherever_the_tensor_already_is() -> None:
    graph = run_passes(block(), [Integerise()])
    graph.set_output("context", graph.add("context", DeviceOutput("context"), [Value("attention_q")]))
    steps = FuseSteps()(graph)
    plan = PlanScratchpad(ENGINE)(graph, steps, OrderChannels(ENGINE)(graph, steps))
    assert [kind for value, kind in plan.places if value == Value("attention_q")] == ["operand"]


# -- the program
# ---------------------------------------------------------------------------------------------------


def test_program_of_a_block(golden: Golden, graph: Graph) -> None:
    program = lay_out(graph).program
    lines = []
    for name, record in zip(program.steps, program.records, strict=True):
        words = " ".join(f"{k}={v}" for k, v in record.words.items())
        lines.append(f"{record.opcode.name.lower()} {name}: {words}")
    golden("passes/lay_out.txt", "\n".join(lines) + "\n")


def test_image_holds_the_records(graph: Graph) -> None:
    program = lay_out(graph).program
    assert len(program.image) % ENGINE.beat_bytes == 0
    for i, record in enumerate(program.records):
        start = HEADER_BYTES + i * RECORD_BYTES
        assert Record.unpack(program.image[start : start + RECORD_BYTES]).pack() == record.pack()


def test_laying_out_twice_gives_identical_bytes(graph: Graph) -> None:
    again = run_passes(block(mask=True), [Integerise()])
    assert lay_out(graph).program == lay_out(again).program


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sequence": 5},
            (
                "block: tokens: found 6 needed; expected at most 5 (engine capacity 'sequence'), 1 "
                "too many; use a larger "
                "engine, board or --set engine.sequence=6"
            ),
        ),
        (
            {"steps": 3},
            (
                "block: steps: found 12 needed; expected at most 3 (engine capacity 'steps'), 9 too "
                "many; use a larger "
                "engine, board or --set engine.steps=12"
            ),
        ),
        (
            {"operand_depth": 1},
            (
                "block: matmul operands: found 4 words per bank needed; expected at most 1 words per "
                "bank (engine capacity "
                "'operand_depth'), 3 too many; use a larger engine, board or --set engine.operand_depth=4"
            ),
        ),
        (
            {"store_depth": 2},
            (
                "block: residual stream, queries and keys: found 16 words per bank needed; expected "
                "at most 2 words per "
                "bank (engine capacity 'store_depth'), 14 too many; use a larger engine, board or --set "
                "engine.store_depth=16"
            ),
        ),
        (
            {"values_depth": 1},
            (
                "block: values of attention: found 8 words per bank needed; expected at most 1 words "
                "per bank (engine "
                "capacity 'values_depth'), 7 too many; use a larger engine, board or --set engine.values_depth=8"
            ),
        ),
        (
            {"depth": 1},
            (
                "embed (linear): input channels per bank: found 2 words needed; expected at most 1 "
                "words (engine capacity "
                "'depth'), 1 too many; use a larger engine, board or --set engine.depth=2"
            ),
        ),
        (
            {"features": ("add", "norm", "table")},
            (
                "attention (attention): found a step that needs the stage 'attention'; expected one "
                "of add, norm, table "
                "(engine capacity 'features'); lower onto an engine that has it"
            ),
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_capacity_that_is_too_small_is_named(graph: Graph, changes: dict[str, object], message: str) -> None:
    engine = replace(ENGINE, **changes)  # type: ignore[arg-type]
    with pytest.raises(FitError) as caught:
        lay_out(graph, engine)
    assert str(caught.value) == message


def test_values_live_in_their_own_memory(graph: Graph) -> None:
    layout = lay_out(graph)
    spaces = {value.node: place.space for placed in layout.placed for value, place in placed.writes}
    assert (spaces["q_q"], spaces["k_q"], spaces["v_q"]) == (Space.STORE, Space.STORE, Space.VALUES)


def test_frames_round_trip(graph: Graph) -> None:
    program = lay_out(graph).program
    b = Builder()
    tensors = {p.name: b.rng.integers(-127, 128, (6, 12)) for p in program.inputs}
    frame = program.frame(tensors, 5)
    (port,) = program.inputs
    found = port.unpack(ENGINE, frame[ENGINE.stream_bytes :], 5, 6)
    assert found[:5].tolist() == tensors[port.name][:5].tolist()
    assert not found[5:].any()


def test_values_that_no_linear_layer_computes_are_refused() -> None:
    graph = Graph("attention")
    q, k, v = (graph.add(key, Input(key, TensorType((5, 8), "int8", 0.1))) for key in "qkv")
    attention = graph.add("a", Attention(2, 2**14, 20, 8, 2**14, 16, causal=False, scale=1.0), [q, k, v])
    graph.set_output("y", graph.add("out", DeviceOutput("y"), [attention]))
    with pytest.raises(UnsupportedError) as caught:
        lay_out(graph)
    assert str(caught.value) == (
        "v (input): found the values of an attention that no linear layer computes; expected a value "
        "projection, which writes them transposed"
    )


def test_column_lists_beyond_the_loader_are_refused(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "column_entries", 0)
    with pytest.raises(
        FitError,
        match=r"columns in a bank's list: found \d+ needed; expected at most 0 \(engine capacity 'depth'\)",
    ):
        lay_out(graph)
