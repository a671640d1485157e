"""Layer scale folds into the weights of the linear layer before it."""

from __future__ import annotations

import numpy as np

from flow.golden import execute
from flow.ir import Graph, TensorType, print_graph, verify
from flow.ops import Constant, Dequantize, FloatLinear, FloatScale, Input
from flow.passes.fold_scales import FoldScales

RNG = np.random.default_rng(0)
GAIN = np.array([0.5, -2.0, 0.0], np.float32)


def scaled(quantized: bool) -> Graph:
    graph = Graph("scaled")
    x = graph.add("x", Input("x", TensorType((4, 5), "float32")))
    if quantized:
        integers = graph.add("w_int", Constant(RNG.integers(-127, 128, (3, 5)).astype(np.int8), "fc.weight"))
        scale = np.array([0.01, 0.02, 0.03])
        w = graph.add("w", Dequantize(scale, np.zeros(3, np.int64), -127, 127, "int8", 0), [integers])
    else:
        w = graph.add("w", Constant(RNG.normal(size=(3, 5)).astype(np.float32), "fc.weight"))
    b = graph.add("b", Constant(RNG.normal(size=3).astype(np.float32), "fc.bias"))
    linear = graph.add("fc", FloatLinear(), [x, w, b])
    gain = graph.add("gain", Constant(GAIN, "gamma"))
    graph.set_output("output", graph.add("scaled", FloatScale(), [linear, gain]))
    return graph


def test_the_factor_goes_into_weight_and_bias() -> None:
    before = scaled(quantized=False)
    after = FoldScales()(before)
    after.prune()
    verify(after, "FoldScales")
    assert "float.scale" in print_graph(before)
    assert "float.scale" not in print_graph(after)
    x = RNG.normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(
        execute(after, {"x": x})["output"], execute(before, {"x": x})["output"], rtol=1e-5, atol=1e-6
    )


def test_a_quantized_weight_keeps_its_integers_up_to_sign() -> None:
    before = scaled(quantized=True)
    after = FoldScales()(before)
    after.prune()
    verify(after, "FoldScales")
    (dequantize,) = (node for node in after if isinstance(node.op, Dequantize))
    integers, old = (
        after.producer(dequantize.inputs[0]).op.attributes()["value"],
        before["w_int"].op.attributes()["value"],
    )
    assert (integers == old * np.array([[1], [-1], [0]])).all()
    assert dequantize.op.attributes()["scale"].tolist() == [0.005, 0.04, 0.03]
    x = RNG.normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(
        execute(after, {"x": x})["output"], execute(before, {"x": x})["output"], rtol=1e-5, atol=1e-5
    )
