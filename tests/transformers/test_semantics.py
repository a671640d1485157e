"""One float test per semantic: the recognised graph computes what torch computes, and stops doing so when
broken by hand.

A noise gate cannot see every mis-lowering: another GELU or a tenfold eps costs less than quantization
does. So every semantic is compared in float here, and then broken in the recognised graph: the comparison
must fail, or it proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from flow.frontend.pt2 import read_pt2
from flow.golden import execute
from flow.ir import Array, Graph, Node, Op, Value
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
)
from flow.ops.source import Constant
from flow.passes import recognise
from tests.transformers import zoo
from tests.transformers.specs import Spec, settled

TOLERANCE = 4e-6
"""Largest difference from torch, relative to the largest output. Float32 sums of at most 96 products in
another order, in few layers, measure 1e-6; the smallest break below, one GELU for the other, 5e-5."""
POWER = 3.0
"""A broken graph must miss the tolerance by this factor."""

Break = Callable[[Graph], Graph]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- editing -------------------------------------------------------------------------------------------------


def nodes(graph: Graph, kind: type[Op]) -> list[Node]:
    """All nodes of a kind, at least one."""
    found = [node for node in graph if isinstance(node.op, kind)]
    assert found, f"the graph has no {kind.__name__}"
    return found


def exchanged(graph: Graph, node: Node, op: Op | None = None, inputs: list[Value] | None = None) -> None:
    """Put another operator, or other operands, in a node's place."""
    new = graph.add(node.name, op or node.op, node.inputs if inputs is None else inputs, node.module)
    graph.replace_value(Value(node.name), new)


def each(kind: type[Op], change: Callable[[Graph, Node], None]) -> Break:
    """A break of every node of a kind."""

    def apply(graph: Graph) -> Graph:
        graph = graph.copy()
        for node in nodes(graph, kind):
            change(graph, graph[node.name])
        graph.prune(keep=[n.name for n in graph if n.op.name == "input"])
        return graph

    return apply


def first(kind: type[Op], change: Callable[[Graph, Node], None]) -> Break:
    """A break of the first node of a kind alone."""

    def apply(graph: Graph) -> Graph:
        graph = graph.copy()
        change(graph, nodes(graph, kind)[0])
        graph.prune(keep=[n.name for n in graph if n.op.name == "input"])
        return graph

    return apply


# -- breaks --------------------------------------------------------------------------------------------------


def scale_off(graph: Graph, node: Node) -> None:
    assert isinstance(node.op, FloatAttention)
    exchanged(graph, node, replace(node.op, scale=node.op.scale * 1.01))


def causal_flipped(graph: Graph, node: Node) -> None:
    assert isinstance(node.op, FloatAttention)
    exchanged(graph, node, replace(node.op, causal=not node.op.causal))


def heads_merged(graph: Graph, node: Node) -> None:
    assert isinstance(node.op, FloatAttention)
    exchanged(graph, node, replace(node.op, heads=1))


def query_for_key(graph: Graph, node: Node) -> None:
    query, key, *rest = node.inputs
    exchanged(graph, node, inputs=[key, query, *rest])


def mask_dropped(graph: Graph, node: Node) -> None:
    data = 3 if isinstance(node.op, FloatAttention) else 1
    assert len(node.inputs) == data + 1
    exchanged(graph, node, inputs=list(node.inputs[:data]))


def eps_tenfold(graph: Graph, node: Node) -> None:
    assert isinstance(node.op, FloatNorm)
    exchanged(graph, node, replace(node.op, eps=node.op.eps * 10))


def centring_flipped(graph: Graph, node: Node) -> None:
    assert isinstance(node.op, FloatNorm)
    exchanged(graph, node, replace(node.op, centred=not node.op.centred))


def operand(position: int, change: Callable[[Array], Array]) -> Callable[[Graph, Node], None]:
    """A change of a constant operand."""

    def apply(graph: Graph, node: Node) -> None:
        constant = graph.producer(node.inputs[position]).op
        assert isinstance(constant, Constant)
        new = graph.add("broken", Constant(change(constant.value)))
        exchanged(graph, node, inputs=[new if i == position else v for i, v in enumerate(node.inputs)])

    return apply


def bias_dropped(graph: Graph, node: Node) -> None:
    assert len(node.inputs) == 3
    exchanged(graph, node, inputs=list(node.inputs[:2]))


def function(kind: str) -> Callable[[Graph, Node], None]:
    return lambda graph, node: exchanged(graph, node, FloatActivation(kind))


def pool(kind: str) -> Callable[[Graph, Node], None]:
    return lambda graph, node: exchanged(graph, node, FloatPool(kind), [node.inputs[0]])


def residual_of(graph: Graph, node: Node) -> tuple[int, Node]:
    """The operand of a residual addition that is no linear layer's, and what computes it."""
    position = next(i for i, v in enumerate(node.inputs) if not isinstance(graph.producer(v).op, FloatLinear))
    return position, graph.producer(node.inputs[position])


def residual_dropped(graph: Graph, node: Node) -> None:
    position, _ = residual_of(graph, node)
    graph.replace_value(Value(node.name), node.inputs[1 - position])


def residual_behind_norm(graph: Graph, node: Node) -> None:
    """Pre-norm made post-norm: the stream goes on from the norm's result."""
    position, stream = residual_of(graph, node)
    norm = next(u for u in graph.users(Value(stream.name)) if isinstance(u.op, FloatNorm))
    exchanged(graph, node, inputs=[Value(norm.name), node.inputs[1 - position]])


def residual_before_norm(graph: Graph, node: Node) -> None:
    """Post-norm made pre-norm: the stream goes on from the norm's operand."""
    position, norm = residual_of(graph, node)
    if isinstance(norm.op, FloatNorm):  # not the first block's, which reads the input
        exchanged(graph, node, inputs=[norm.inputs[0], node.inputs[1 - position]])


def table_rolled(graph: Graph, node: Node) -> None:
    """A table of positions, on the device."""
    position, table = residual_of(graph, node)
    assert isinstance(table.op, Constant)
    operand(position, lambda value: np.roll(value, 1, axis=0))(graph, node)


def host_positions_rolled(graph: Graph) -> Graph:
    """A table of positions that the host adds to embeddings."""
    graph = graph.copy()
    add = next(n for n in graph if n.op.label == "aten.add.Tensor")
    position = next(i for i, v in enumerate(add.inputs) if isinstance(graph.producer(v).op, Constant))
    operand(position, lambda value: np.roll(value, 1, axis=-2))(graph, add)
    return graph


# -- cases ---------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A semantic, a model that depends on it, and how to break it."""

    semantic: str
    spec: Spec
    broken: Break

    def __str__(self) -> str:
        return self.semantic.replace(" ", "_")


def spec(**changes: object) -> Spec:
    """A small model in which every parameter matters."""
    base = Spec(width=48, heads=3, hidden=96, layers=2, tokens=11)
    return settled(replace(base, **changes))  # type: ignore[arg-type]


def attention_cases() -> Iterator[Case]:
    for spelling in ("sdpa", "module", "encoder", "scaled_query", "scaled_scores", "scaled_both"):
        yield Case(f"score scale, {spelling}", spec(attention=spelling), each(FloatAttention, scale_off))
    for spelling in ("sdpa", "module", "encoder", "scaled_scores"):
        causal, padded = spec(attention=spelling, mask="causal"), spec(attention=spelling, mask="padding")
        yield Case(f"causal, {spelling}", causal, each(FloatAttention, causal_flipped))
        yield Case(f"not causal, {spelling}", padded, each(FloatAttention, causal_flipped))
        yield Case(f"key padding, {spelling}", padded, each(FloatAttention, mask_dropped))
    for form in ("infinite", "lowest"):
        padded, causal = spec(mask="padding", mask_form=form), spec(mask="causal", mask_form=form)
        yield Case(f"key padding, {form}", padded, each(FloatAttention, mask_dropped))
        yield Case(f"causal, {form}", causal, each(FloatAttention, causal_flipped))
    both = spec(mask="causal_padding")
    yield Case("causal under padding", both, each(FloatAttention, causal_flipped))
    for packing in ("separate", "fused", "unbound", "conv1d"):
        yield Case(f"heads, {packing}", spec(packing=packing), each(FloatAttention, heads_merged))
        yield Case(f"query and key, {packing}", spec(packing=packing), each(FloatAttention, query_for_key))


def norm_cases() -> Iterator[Case]:
    for kind in ("layer", "layer_bare", "rms", "rms_spelled"):
        model = spec(norm=kind, eps=1e-2)
        yield Case(f"eps, {kind}", model, each(FloatNorm, eps_tenfold))
        yield Case(f"centring, {kind}", model, each(FloatNorm, centring_flipped))
        if kind != "layer_bare":
            yield Case(f"norm weight, {kind}", model, each(FloatNorm, operand(1, np.ones_like)))
    yield Case("norm bias", spec(norm="layer"), each(FloatNorm, operand(2, np.zeros_like)))
    for spelling in ("sdpa", "encoder"):
        before, behind = spec(attention=spelling), spec(attention=spelling, pre_norm=False)
        yield Case(f"pre-norm, {spelling}", before, each(FloatAdd, residual_behind_norm))
        yield Case(f"post-norm, {spelling}", behind, each(FloatAdd, residual_before_norm))
        yield Case(f"residual, {spelling}", before, first(FloatAdd, residual_dropped))


def pointwise_cases() -> Iterator[Case]:
    others = {"relu": "gelu", "gelu": "gelu_tanh", "gelu_spelled": "gelu_tanh", "gelu_tanh": "gelu",
              "gelu_tanh_spelled": "gelu", "silu": "gelu", "tanh": "sigmoid"}  # fmt: skip
    for kind, other in others.items():
        yield Case(f"activation, {kind}", spec(activation=kind), each(FloatActivation, function(other)))
    for packing in ("separate", "fused", "conv1d"):
        yield Case(f"linear bias, {packing}", spec(packing=packing), each(FloatLinear, bias_dropped))


def pool_cases() -> Iterator[Case]:
    yield Case("mean pooling", spec(head="classifier"), each(FloatPool, pool("first")))
    yield Case("first-token pooling", spec(head="classifier", pool="first"), each(FloatPool, pool("mean")))
    masked = spec(head="pooled", mask="padding")
    yield Case("masked pooling", masked, each(FloatPool, mask_dropped))


def table_cases() -> Iterator[Case]:
    yield Case("positions, patches", spec(front="patches"), first(FloatAdd, table_rolled))
    yield Case("positions and class token", spec(front="class_token"), first(FloatAdd, table_rolled))
    yield Case("positions, ids", spec(front="ids"), host_positions_rolled)


CASES = [*attention_cases(), *norm_cases(), *pointwise_cases(), *pool_cases(), *table_cases()]


Recognised = Callable[[Spec], tuple[nn.Module, Graph]]


@pytest.fixture(scope="module")
def recognised(tmp_path_factory: pytest.TempPathFactory) -> Recognised:
    """The module of a spec and its recognised export, made once."""

    @cache
    def make(spec: Spec) -> tuple[nn.Module, Graph]:
        path = tmp_path_factory.mktemp("semantic") / "model.pt2"
        module = zoo.build(spec)
        torch.export.save(zoo.export(spec, module), path)
        return module, recognise(read_pt2(path))

    return make


@pytest.mark.parametrize("case", CASES, ids=str)
def test_semantic(case: Case, recognised: Recognised) -> None:
    module, graph = recognised(case.spec)
    samples = zoo.samples(case.spec, 3, seed=5)

    def difference(graph: Graph) -> float:
        worst = 0.0
        for sample in samples:
            wanted = zoo.valid(case.spec, sample, zoo.run_torch(module, sample))
            (output,) = execute(graph, sample).values()
            found = zoo.valid(case.spec, sample, output)
            assert found.shape == wanted.shape
            worst = max(worst, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
        return worst

    assert difference(graph) <= TOLERANCE
    assert difference(case.broken(graph)) > POWER * TOLERANCE


def test_case_names_are_distinct() -> None:
    assert len({case.semantic for case in CASES}) == len(CASES)
