"""The graph container: editing, printing, verifying, serialising."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from flow.errors import FlowError, VerifyError
from flow.ir import Graph, TensorType, Value, graph_from_json, graph_to_json, print_graph, verify
from flow.ops import Constant, FloatActivation, FloatAdd, FloatLinear, Input
from flow.ops.aten import reshape


def small() -> Graph:
    graph = Graph("small")
    x = graph.add("x", Input("x", TensorType((1, 2, 3), "float32")))
    rows = graph.add("rows", reshape((2, 3), graph.type_of(x)), [x])
    w = graph.add("w", Constant(np.arange(9, dtype=np.float32).reshape(3, 3), "fc.weight"))
    y = graph.add("fc", FloatLinear(), [rows, w], module="block.fc")
    z = graph.add("sum", FloatAdd(), [y, rows])
    graph.set_output("output", z)
    return graph


def test_printed_form() -> None:
    assert print_graph(small()) == (
        "graph small:\n"
        "  %x: float32[1x2x3] = input(key=x, type=float32[1x2x3])\n"
        "  %rows: float32[2x3] = aten.reshape.default(self=$0, shape=[2, 3]) %x\n"
        "  %w: float32[3x3] = constant(value=float32[3x3], key=fc.weight)\n"
        "  %fc: float32[2x3] = float.linear %rows %w  # block.fc\n"
        "  %sum: float32[2x3] = float.add %fc %rows\n"
        "  return output = %sum\n"
    )


def test_replace_value_reaches_users_and_outputs_and_prune_drops_the_rest() -> None:
    graph = small()
    relu = graph.add("relu", FloatActivation("relu"), [Value("fc")])
    graph.replace_value(Value("fc"), relu, keep=[relu.node])
    graph.replace_value(Value("sum"), relu)
    graph.prune()
    assert [node.name for node in graph] == ["x", "rows", "w", "fc", "relu"]
    assert graph.outputs == {"output": Value("relu")}
    verify(graph)


def test_a_copy_is_independent() -> None:
    graph = small()
    other = graph.copy()
    other.set_output("output", Value("fc"))
    other.prune()
    assert len(graph) == 5
    assert len(other) == 4
    assert graph.outputs["output"] == Value("sum")


def test_iteration_is_topological_whatever_the_order_of_insertion() -> None:
    graph = small()
    early = graph.add("late_weight", Constant(np.ones((3, 3), np.float32)))
    graph.rewire("fc", [Value("rows"), early])
    order = [node.name for node in graph]
    assert order.index("late_weight") < order.index("fc")


def test_the_verifier_names_the_pass_and_every_fault() -> None:
    graph = small()
    wrong = replace(graph["fc"], types=(TensorType((2, 4), "float32"),))
    graph._dag.nodes["fc"]["node"] = wrong
    with pytest.raises(VerifyError) as caught:
        verify(graph, after="BreakThings")
    assert str(caught.value) == (
        "graph small after BreakThings: found 2 broken invariants; expected none\n"
        "  - %fc: typed ['float32[2x4]'], its operator infers ['float32[2x3]']\n"
        "  - %sum: float.add: found float32[2x4] and float32[2x3]; expected equal shapes"
    )


def test_the_verifier_finds_a_cycle() -> None:
    graph = small()
    graph.rewire("fc", [Value("sum"), Value("w")])
    with pytest.raises(
        VerifyError, match=r"graph small after construction: found a cycle .*; expected a dataflow graph"
    ):
        verify(graph)


def test_serialised_graphs_come_back_equal() -> None:
    graph = small()
    arrays: dict[str, np.ndarray] = {}
    data = json.loads(json.dumps(graph_to_json(graph, arrays)))
    back = graph_from_json(data, arrays)
    assert print_graph(back) == print_graph(graph)
    assert np.array_equal(back["w"].op.attributes()["value"], graph["w"].op.attributes()["value"])
    again: dict[str, np.ndarray] = {}
    assert graph_to_json(back, again) == data


def test_a_damaged_graph_is_refused() -> None:
    arrays: dict[str, np.ndarray] = {}
    data = graph_to_json(small(), arrays)
    data["nodes"][2]["op"] = "os.system"
    with pytest.raises(
        FlowError, match=r"graph.json: found operator 'os.system'; expected one of .*; is a plug-in missing\?"
    ):
        graph_from_json(data, arrays)
    with pytest.raises(
        FlowError,
        match=r"graph.json: found damaged data \(KeyError: 'nodes'\); expected what `flow lower` wrote; lower again",
    ):
        graph_from_json({"name": "x", "links": []}, arrays)
