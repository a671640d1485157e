"""The search for widths: budgets, what it may choose, and that it pays no more than it must."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.errors import edge_errors, float_outputs, output_error, worst
from flow.compress.prepare import Prepared, prepare
from flow.compress.quantize import Edge, QuantizeOptions
from flow.compress.widths import REFERENCE_ENGINE, Budget, choose_widths, edges_of
from flow.cost import cycles_of
from flow.errors import FlowError
from flow.ir import Array, Graph
from flow.passes.to_integers import to_integers

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


@pytest.mark.parametrize(
    ("text", "budget", "shown"),
    [
        ("24dB", Budget(sqnr_db=24.0), "24dB"),
        (" 30.5 db", Budget(sqnr_db=30.5), "30.5dB"),
        ("0.998", Budget(cosine=0.998), "cosine 0.998"),
    ],
)
def test_budgets(text: str, budget: Budget, shown: str) -> None:
    assert Budget.parse(text) == budget
    assert str(budget) == shown


@pytest.mark.parametrize("text", ["", "24", "1.0", "0", "-3dB", "0dB", "0.9dB9", "nan"])
def test_other_budgets_are_refused(text: str) -> None:
    expected = "an SQNR such as 24dB, or a cosine between 0 and 1 such as 0.998"
    message = f"--error-budget: found {text!r}; expected {expected}"
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        Budget.parse(text)


@pytest.fixture(scope="module")
def case() -> tuple[Prepared, list[dict[str, Array]]]:
    from tests.compress.conftest import Builder, Shape

    graph = Builder(Shape(layers=1, pool="mean", pooler=True)).build()
    rng = np.random.default_rng(5)
    drawn = [{"x": rng.normal(size=(12, 32)).astype(np.float32)} for _ in range(12)]
    return prepare(graph, drawn[:8], QuantizeOptions()), drawn[8:]


def test_edges_with_a_choice(case: tuple[Prepared, list[dict[str, Array]]]) -> None:
    assert [str(edge) for edge in edges_of(case[0].graph)] == [
        "input layers_0_attn_norm_scale",
        "numerators layers_0_attn",
        "input layers_0_ffn_norm_scale",
        "input layers_0_ffn_act",
        "index layers_0_ffn_act",
        "input pool",
        "input pooler_tanh",
        "index pooler_tanh",
    ]


def test_a_budget_is_met_at_no_more_than_its_price(case: tuple[Prepared, list[dict[str, Array]]]) -> None:
    prepared, drawn = case
    narrow = output_error(to_integers(prepared.quantized()), drawn, float_outputs(prepared.graph, drawn))
    told: list[tuple[str, int, int]] = []
    budget = Budget(sqnr_db=narrow.sqnr_db["out"] + 1.5)
    choice = choose_widths(prepared, drawn, budget, progress=lambda *what: told.append(what))
    assert choice.met
    assert 0 < len(choice.purchases) < 12
    assert choice.purchases[-1].sqnr_db >= narrow.sqnr_db["out"] + 1.5
    assert all(p.sqnr_db < narrow.sqnr_db["out"] + 1.5 for p in choice.purchases[:-1])
    integers = to_integers(prepared.quantized(choice.widths))
    assert output_error(integers, drawn, float_outputs(prepared.graph, drawn)).sqnr_db["out"] == (
        choice.purchases[-1].sqnr_db
    )
    assert sum(cycles_of(integers, REFERENCE_ENGINE).values()) == choice.cycles
    assert choice.cycles - choice.narrow_cycles == sum(p.cycles for p in choice.purchases)
    assert {name for name, _, _ in told} == {"measure widths", "widen edges"}
    assert choose_widths(prepared, drawn, budget) == choice
    free = choose_widths(prepared, drawn, Budget(sqnr_db=1.0))
    assert (free.widths, free.cycles, free.met) == ({}, choice.narrow_cycles, True)


def test_a_budget_out_of_reach_is_not_met(case: tuple[Prepared, list[dict[str, Array]]]) -> None:
    choice = choose_widths(case[0], case[1], Budget(cosine=0.999999999))
    assert not choice.met
    assert choice.widths[Edge("input", "layers_0_ffn_norm_scale")] == 16
    errors = [p.sqnr_db for p in choice.purchases]
    assert errors == sorted(errors)
    assert choice.to_json()["met"] is False


def test_every_edge_has_its_error(case: tuple[Prepared, list[dict[str, Array]]]) -> None:
    prepared, drawn = case
    quantized = prepared.quantized({Edge("input", "layers_0_ffn_act"): 16})
    found = edge_errors(prepared.graph, quantized, to_integers(quantized), drawn)
    assert len(found) == sum(n.op.name == "quantize" for n in quantized)
    kinds = {edge.name: edge.kind for edge in found}
    assert kinds["x_wide"] == "int16"
    assert kinds["layers_0_attn_q_matmul"] == "int8"
    assert kinds["layers_0_ffn_fc1_index"] == "uint8"
    assert kinds["layers_0_ffn_act_table"] == "int16"
    for edge in found:
        assert edge.own is not None
        assert edge.total is not None
        assert edge.own > 60 or edge.kind.endswith("int8")
        assert edge.total < edge.own + 1
    lowest = worst(found, lambda edge: edge.own)
    assert lowest is not None
    assert lowest.own == min(edge.own for edge in found if edge.own is not None)
    assert worst((), lambda edge: edge.own) is None
