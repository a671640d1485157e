from __future__ import annotations

from dataclasses import dataclass

import pytest

from flow.errors import VerifyError
from flow.ir import Graph, TensorType, Value
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatAdd
from flow.passes.base import run_passes
from tests.passes.building import Builder, text


@dataclass(frozen=True)
class KeepAll:
    """Does nothing."""

    def __call__(self, graph: Graph) -> Graph:
        return graph.copy()


def tiny() -> Graph:
    b = Builder("tiny")
    x = b.input("x", 3, 4)
    b.input("unused", 2)
    summed = b.add("sum", FloatAdd(), x, x)
    b.add("dead", FloatAdd(), x, x)
    scaled = b.add("twice", FloatAdd(), summed, summed)
    return b.output(scaled)


def test_dead_nodes_go_and_inputs_stay() -> None:
    result = run_passes(tiny(), [KeepAll()])
    assert [n.name for n in result] == ["x", "unused", "sum", "twice"]
    assert text(tiny()).count("float.add") == 3


def test_the_pass_that_broke_the_graph_is_named() -> None:
    @dataclass(frozen=True)
    class ChangeShape:
        def __call__(self, graph: Graph) -> Graph:
            graph = graph.copy()
            wide = Aten("aten.cat.default", {"tensors": (Ref(0),)}, (TensorType((6, 4), "float32"),))
            value = graph.add("wide", wide, [Value("x")])
            graph.rewire("sum", [value, value])
            return graph

    with pytest.raises(VerifyError) as caught:
        run_passes(tiny(), [KeepAll(), ChangeShape(), KeepAll()])
    assert str(caught.value) == (
        "graph tiny after ChangeShape: found 1 broken invariants; expected none\n"
        "  - %twice: typed ['float32[3x4]'], its operator infers ['float32[6x4]']"
    )


def test_an_operand_that_does_not_exist_is_named() -> None:
    @dataclass(frozen=True)
    class ReadSecondResult:
        def __call__(self, graph: Graph) -> Graph:
            graph = graph.copy()
            graph._insert(
                graph["twice"].__class__("late", FloatAdd(), (Value("x", 1), Value("x")), graph["x"].types)
            )
            graph.set_output("late", Value("late"))
            return graph

    with pytest.raises(VerifyError) as caught:
        run_passes(tiny(), [ReadSecondResult()])
    assert str(caught.value) == (
        "graph tiny after ReadSecondResult: found 1 broken invariants; expected none\n"
        "  - %late: reads an output that its producer does not have"
    )
