"""Moving biases changes nothing but ranges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.biases import MoveBiases
from flow.compress.calibrate import calibrate
from flow.compress.prepare import prepare
from flow.compress.quantize import QuantizeOptions, quantize
from flow.golden import execute
from flow.ir import Array, Graph, Value, verify
from flow.ops.source import Constant
from flow.passes.to_integers import to_integers

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def bias(graph: Graph, name: str) -> Array:
    op = graph[name].op
    assert isinstance(op, Constant)
    return op.value


@pytest.mark.parametrize("causal", [False, True])
def test_outputs_are_the_same(transformer: Build, samples: Draw, causal: bool) -> None:
    graph = transformer(mask=True, causal=causal)
    for i in range(2):
        bias(graph, f"layers_{i}_attn_k_bias")[:] = 30.0
        bias(graph, f"layers_{i}_attn_v_bias")[:] = np.linspace(-2, 2, 32)
    drawn = samples(graph, 4)
    moved = MoveBiases()(graph)
    verify(moved)
    assert [len(moved[f"layers_0_attn_{n}"].inputs) for n in "qkv"] == [3, 2, 2]
    for sample in drawn:
        length = int(sample["attention_mask"].sum())
        want, got = execute(graph, sample)["out"], execute(moved, sample)["out"]
        np.testing.assert_allclose(got[:length], want[:length], atol=2e-4)  # float32 scores with a bias of 30


def test_a_missing_bias_is_made_and_shared_operands_are_left_alone(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    output = graph["layers_0_attn_out"]
    graph.rewire(output.name, output.inputs[:2])
    moved = MoveBiases()(graph)
    sample = samples(graph, 1)[0]
    assert len(moved["layers_0_attn_out"].inputs) == 3
    np.testing.assert_allclose(execute(moved, sample)["out"], execute(graph, sample)["out"], atol=1e-5)
    shared = transformer(layers=1)
    q, k, v = shared["layers_0_attn"].inputs
    shared.rewire("layers_0_attn", [q, k, k])
    assert len(MoveBiases()(shared)["layers_0_attn_k"].inputs) == 3
    watched = transformer(layers=1)
    watched.set_output("keys", k)
    watched.set_output("context", Value("layers_0_attn"))
    assert [len(MoveBiases()(watched)[f"layers_0_attn_{n}"].inputs) for n in "kv"] == [3, 3]
    assert v.node == "layers_0_attn_v"


def test_a_loud_key_bias_costs_nothing(transformer: Build, samples: Draw) -> None:
    def sqnr(graph: Graph, quantized: Graph, drawn: list[dict[str, Array]]) -> float:
        integers = to_integers(quantized)
        pairs = [(execute(graph, s)["out"], execute(integers, s)["out"]) for s in drawn]
        return float(
            -10 * np.log10(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs))
        )

    quiet, loud = transformer(layers=1), transformer(layers=1)
    bias(loud, "layers_0_attn_k_bias")[3] = 1e3
    drawn = samples(quiet, 6)
    reference = sqnr(quiet, prepare(quiet, drawn, QuantizeOptions()).quantized(), drawn)
    assert sqnr(quiet, prepare(loud, drawn, QuantizeOptions()).quantized(), drawn) > reference - 1e-9
    assert sqnr(quiet, quantize(loud, calibrate(loud, drawn)), drawn) < reference - 3
