from __future__ import annotations

from flow.ops.float import FloatAdd, FloatAttention, FloatLinear
from flow.ops.source import Constant
from flow.passes.name_nodes import NameNodes
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite


def test_nodes_are_called_after_their_modules(golden: Golden) -> None:
    b = Builder()
    x = b.input("x", 3, 4)
    projections = []
    for first in (0, 4, 8):
        key = f"layers.0.self_attn.in_proj_weight[{first}:{first + 4}]"
        weight = b.add("linear_weight", Constant(b.rng.normal(size=(4, 4)).astype("float32"), key))
        linear = b.add("linear_5", FloatLinear(), x, weight, module="layers.0.self_attn")
        projections.append(b.qdq(linear, 2.0**-5))
    attention = b.add("sdpa_attention", FloatAttention(2, 0.5), *projections, module="layers.0.self_attn")
    graph = b.output(b.wide(b.add("add_2_add", FloatAdd(), attention, x, module="layers.0")))
    golden("passes/name_nodes.txt", rewrite(graph, NameNodes()))


def test_a_taken_name_gets_a_number() -> None:
    b = Builder()
    x = b.input("x", 3, 4)
    once = b.add("a", FloatAdd(), x, x, module="layer")
    graph = b.output(b.add("b", FloatAdd(), once, x, module="layer"))
    assert [n.name for n in NameNodes()(graph)] == ["x", "layer_add", "layer_add_1"]
