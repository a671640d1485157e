"""Widths of single edges: what is asked for arrives in the integer graph, what the engine cannot do is not asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flow.compress.calibrate import calibrate
from flow.compress.quantize import Edge, QuantizeOptions, quantize
from flow.ir import Array, Graph
from flow.ops import Attention, Linear, Table
from flow.passes.to_integers import to_integers

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def integers(graph: Graph, drawn: list[dict[str, Array]], options: QuantizeOptions) -> Graph:
    return to_integers(quantize(graph, calibrate(graph, drawn), options))


def inputs(graph: Graph) -> dict[str, str]:
    """Type of what each linear step reads, by the step."""

    def step(name: str) -> str:
        return name.partition("_matmul")[0].partition("_wide")[0].removesuffix("_acc")

    return {
        step(node.name): graph.type_of(node.inputs[0]).dtype for node in graph if isinstance(node.op, Linear)
    }


def test_widths_of_single_edges(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=2)
    widths: Mapping[Edge, int] = {
        Edge("input", "layers_0_attn_norm_scale"): 16,
        Edge("input", "layers_1_ffn_act"): 16,
        Edge("index", "layers_1_ffn_act"): 10,
        Edge("numerators", "layers_1_attn"): 16,
    }
    found = integers(graph, samples(graph, 3), QuantizeOptions(widths=widths))
    read = inputs(found)
    assert [read[f"layers_0_attn_{name}"] for name in "qkv"] == ["int16"] * 3
    assert [read[f"layers_1_attn_{name}"] for name in "qkv"] == ["int8"] * 3
    assert (read["layers_0_ffn_add"], read["layers_1_ffn_add"]) == ("uint8", "int16")
    assert [n.op.index_bits for n in found if isinstance(n.op, Table)] == [8, 10]
    assert [n.op.exp_bits for n in found if isinstance(n.op, Attention)] == [8, 16]


def test_contexts_stay_narrow(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1, pool="mean", pooler=True)
    options = QuantizeOptions(input_bits=16, output_bits=16, index_bits=12, numerator_bits=16)
    read = inputs(integers(graph, samples(graph, 3), options))
    assert {name for name, dtype in read.items() if dtype == "int8"} == {"layers_0_attn_add"}
    assert {"pooler_index", "out", "head"} & read.keys()
    assert sorted(read.values()).count("int16") == len(read) - 1
