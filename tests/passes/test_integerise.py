from __future__ import annotations

import numpy as np
import pytest

from flow.errors import UnsupportedError
from flow.golden import execute
from flow.ir import Array, Graph, Value
from flow.ops.float import FloatActivation, FloatAdd, FloatAttention, FloatLinear, FloatNorm, FloatPool
from flow.ops.linear import Linear
from flow.ops.quant import Dequantize
from flow.ops.requantise import Requantise
from flow.ops.table import Table
from flow.passes.base import run_passes
from flow.passes.integerise import Integerise
from tests.conftest import Golden
from tests.passes.building import Builder, block, text

S, C = 4, 6
QUANTIZE = "run `flow quantize` on the float model"


def refused(graph: Graph, options: Integerise | None = None) -> list[str]:
    """The lines of the one message, without its dashes."""
    with pytest.raises(UnsupportedError) as caught:
        (options or Integerise())(graph)
    first, *lines = str(caught.value).splitlines()
    assert first == f"tiny: found {len(lines)} places outside the number contract"
    return [line.removeprefix("  - ") for line in lines]


def stream(b: Builder) -> Value:
    """An int16 residual stream."""
    return b.wide(b.linear("embed", b.qdq(b.input("x", S, C), 2.0**-5), C))


def run(graph: Graph) -> Array:
    sample = {"x": np.random.default_rng(1).normal(size=(S, C)).astype(np.float32)}
    (output,) = execute(graph, sample).values()
    return output


# -- what becomes of a block ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [False, True], ids=["whole", "masked"])
def test_block(golden: Golden, mask: bool) -> None:
    graph = block(mask)
    after = run_passes(graph, [Integerise()])
    name = "masked" if mask else "whole"
    golden(f"passes/integerise_{name}.txt", f"{text(graph)}\n{text(after)}")


def test_relu_is_the_saturation_of_the_linear_step() -> None:
    b = Builder()
    relu = b.add("relu", FloatActivation("relu"), b.linear("up", b.qdq(b.input("x", S, C), 0.03125), 5))
    graph = b.output(b.wide(b.linear("down", b.qdq(relu, 2.0**-6, 0, 255), C)))
    after = run_passes(graph, [Integerise()])
    assert not [n for n in after if isinstance(n.op, Table)]
    np.testing.assert_allclose(run(after), run(graph), atol=0.2)


def test_zero_point_of_the_input_folds_into_the_bias() -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**-5, 0, 255, 100)
    graph = b.output(b.wide(b.linear("layer", x, 5, bias=False)))
    after = run_passes(graph, [Integerise()])
    (linear,) = (n.op for n in after if isinstance(n.op, Linear))
    assert linear.bias.tolist() == (-100 * linear.weight.astype(int).sum(axis=1)).tolist()
    np.testing.assert_allclose(run(after), run(graph), atol=2.0**-8)


def test_signed_index_of_a_table_is_shifted_to_count_from_zero() -> None:
    b = Builder()
    up = b.qdq(b.linear("up", b.qdq(b.input("x", S, C), 2.0**-5), 5), 2.0**-6, -128, 127, 20)
    gelu = b.qdq(b.add("gelu", FloatActivation("gelu"), up), 2.0**-6, -128, 127, -100)
    graph = b.output(b.wide(b.linear("down", gelu, C)))
    after = run_passes(graph, [Integerise()])
    (index,) = (n for n in after if n.name.endswith("_index"))
    assert isinstance(index.op, Requantise)
    assert (index.type.dtype, index.op.zero) == ("uint8", 148)
    np.testing.assert_allclose(run(after), run(graph), atol=0.1)


def test_tensor_that_is_quantised_and_read_on_the_host_never_leaves_it() -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**-5)
    b.output(x, "copy")
    graph = b.output(b.wide(b.linear("layer", x, 5)))
    assert text(Integerise()(graph)).count("= output(") == 1


def test_int8_residual_is_carried_wide_if_allowed(golden: Golden) -> None:
    b = Builder()
    x = b.qdq(b.linear("embed", b.qdq(b.input("x", S, C), 2.0**-5), C), 2.0**-5)
    normed = b.qdq(b.norm("norm", x), 2.0**-5)
    add = b.add("add", FloatAdd(), b.linear("layer", normed, C), x, module="add")
    graph = b.output(b.qdq(b.norm("last", b.qdq(add, 2.0**-4)), 2.0**-10, -32767, 32767))
    assert refused(graph) == [
        f"{name} (quantize): found an int8 residual stream; expected int16; {QUANTIZE}, or pass --allow-int8-residual"
        for name in ("embed_q", "add_q")
    ]
    after = run_passes(graph, [Integerise(allow_int8_residual=True)])
    golden("passes/integerise_int8_residual.txt", f"{text(graph)}\n{text(after)}")
    np.testing.assert_allclose(run(after), run(graph), atol=0.3)


# -- what is refused -----------------------------------------------------------------------------------------------


def test_float_model() -> None:
    b = Builder()
    graph = b.output(b.add("layer", FloatLinear(), b.input("x", S, C), b.constant("w", 5, C)))
    with pytest.raises(UnsupportedError) as caught:
        Integerise()(graph)
    assert (
        str(caught.value) == f"tiny: found a float model; expected quantize/dequantize operators; {QUANTIZE}"
    )


def test_float_output_and_float_edge_in_one_message() -> None:
    b = Builder()
    first = b.linear("first", b.qdq(b.input("x", S, C), 2.0**-5), C)
    b.output(b.wide(b.linear("second", first, 3)), "one")
    graph = b.output(b.linear("third", b.qdq(first, 2.0**-5), 3), "two")
    assert refused(graph) == [
        "second (float.linear): found a float edge from first (float.linear); expected quantize/dequantize there; "
        + QUANTIZE,
        (
            "third (float.linear): found a float result that leaves the device; expected an int16 "
            "quantize at the model "
            f"output; {QUANTIZE}"
        ),
    ]


def test_float_weight() -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**-5)
    graph = b.output(b.wide(b.add("layer", FloatLinear(), x, b.constant("w", 5, C), module="fc")))
    assert refused(graph) == [
        f"fc (float.linear): found a float weight; expected int8 or int4 with a scale per output channel; {QUANTIZE}"
    ]


def test_weight_quantised_along_its_inputs() -> None:
    b = Builder()
    q = b.held("w_q", np.ones((5, C)), "int8")
    weight = b.add("w", Dequantize(np.ones(C), np.zeros(C, np.int64), -127, 127, "int8", 1), q)
    layer = b.add("layer", FloatLinear(), b.qdq(b.input("x", S, C), 2.0**-5), weight, module="fc")
    assert refused(b.output(b.wide(layer))) == [
        (
            "fc (float.linear): found a weight quantised along axis 1 with zero points; expected "
            "int8 or int4, axis 0, "
            f"zero point 0; {QUANTIZE}"
        )
    ]


def test_quantize_on_an_unlisted_edge() -> None:
    b = Builder()
    x = stream(b)
    twice = b.qdq(x, 2.0**-5)
    graph = b.output(b.wide(b.linear("layer", twice, 3)))
    assert refused(graph) == [
        (
            "embed_dq_q (quantize): found a quantize of the result of dequantize; expected one "
            "behind linear, add, norm, "
            f"activation, attention or pool; {QUANTIZE}"
        )
    ]


@pytest.mark.parametrize(
    ("low", "high", "zero", "shown"),
    [
        (-127, 127, 5, "[-127, 127] with zero point 5, scale 0.03125"),
        (0, 15, 0, "[0, 15] with zero point 0, scale 0.03125"),
        (-32767, 32767, 1, "[-32767, 32767] with zero point 1, scale 0.03125"),
    ],
)
def test_type_outside_the_contract(low: int, high: int, zero: int, shown: str) -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**-5, low, high, zero, module="stem")
    assert refused(b.output(b.wide(b.linear("layer", x, 3)))) == [
        (
            f"stem (quantize): found an activation quantised {shown}; expected symmetric int8 or "
            "int16, or affine of 8 to "
            "12 bits, per tensor"
        )
    ]


def test_quantised_at_one_scale_and_dequantised_at_another() -> None:
    b = Builder()
    b.qdq(b.input("x", S, C), 2.0**-5)
    wrong = b.add("wrong", Dequantize(np.array(2.0**-6), np.array(0), -127, 127, "int8"), Value("x_q"))
    assert refused(b.output(b.wide(b.linear("layer", wrong, 3)))) == [
        "layer (float.linear): found an input quantised at 0.03125 and dequantised at 0.015625; expected equal scales"
    ]


@pytest.mark.parametrize(("low", "high", "dtype"), [(0, 255, "uint8"), (-32767, 32767, "int16")])
def test_query_that_is_not_symmetric_int8(low: int, high: int, dtype: str) -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**-5)
    q = b.qdq(b.linear("q", x, C), 2.0**-5, low, high)
    k, v = (b.qdq(b.linear(name, x, C), 2.0**-5) for name in "kv")
    attention = b.add("attention", FloatAttention(2, 0.5), q, k, v, module="attn")
    assert refused(b.output(b.wide(b.linear("out", b.qdq(attention, 2.0**-5), C)))) == [
        (
            f"attn (float.attention): found q, k, v of {dtype}, int8, int8; expected int8 with zero "
            "point 0, and an int8 context"
        )
    ]


def test_context_that_is_not_int8() -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**-5)
    q, k, v = (b.qdq(b.linear(name, x, C), 2.0**-5) for name in "qkv")
    graph = b.output(b.wide(b.add("attention", FloatAttention(2, 0.5), q, k, v, module="attn")))
    assert refused(graph) == [
        (
            "attn (float.attention): found q, k, v of int8, int8, int8; expected int8 with zero "
            "point 0, and an int8 context"
        )
    ]


def test_accumulator_that_can_overflow() -> None:
    b = Builder()
    wide = 768
    x = b.wide(b.linear("embed", b.qdq(b.input("x", 2, 4), 2.0**-5), wide))
    q = b.held("w_q", np.full((3, wide), 127), "int8")
    weight = b.add("w", Dequantize(np.ones(3), np.zeros(3, np.int64), -127, 127, "int8", 0), q)
    graph = b.output(b.wide(b.add("layer", FloatLinear(), x, weight, module="fc"), 1.0))
    assert refused(graph) == [
        (
            "fc (float.linear): linear: found output channel 0 able to reach 3196059648 in its "
            "accumulator; expected below "
            "2^31; quantise its input to int8, or its weights to fewer bits"
        )
    ]


def test_bias_beyond_the_accumulator() -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**-5)
    bias = b.held("bias", [2.0**19, 0.0, 0.0], "float32")
    graph = b.output(b.wide(b.add("layer", FloatLinear(), x, b.weight("w", 3, C), bias, module="fc")))
    assert refused(graph) == [
        "fc (float.linear): found a bias of 4.295e+09 accumulator steps; expected below 2^31; calibrate again"
    ]


def test_scale_that_no_factor_expresses() -> None:
    b = Builder()
    x = b.qdq(b.input("x", S, C), 2.0**20)
    assert refused(b.output(b.wide(b.linear("layer", x, 3), 2.0**-10))) == [
        (
            "layer (float.linear): layer (float.linear), channel 0: found the requantise factor "
            "4.1943e+06; expected a "
            "magnitude in [2^-32, 2^14); calibrate the model again"
        )
    ]


def test_sum_of_two_streams() -> None:
    b = Builder()
    x = stream(b)
    y = b.wide(b.norm("norm", x))
    assert refused(b.output(b.wide(b.add("sum", FloatAdd(), x, y, module="mix")))) == [
        (
            "mix (float.add): found a sum of dequantize and dequantize; expected a linear layer's "
            "float result plus a "
            f"residual; {QUANTIZE}"
        )
    ]


def test_norm_and_pool_of_an_affine_tensor() -> None:
    b = Builder()
    x = b.qdq(b.linear("embed", b.qdq(b.input("x", S, C), 2.0**-5), C), 2.0**-5, 0, 4095, 3)
    b.output(b.wide(b.add("pool", FloatPool("mean"), x, module="mean")), "pooled")
    graph = b.output(b.wide(b.linear("layer", b.qdq(b.norm("norm", x), 2.0**-5), 3)))
    assert refused(graph) == [
        f"mean (float.pool): found pooling of uint16; expected int16 with zero point 0; {QUANTIZE}",
        (
            f"norm (float.norm): found a norm of uint16 to [-127, 127]; expected int16 to int8 or int16, "
            f"zero points 0; {QUANTIZE}"
        ),
    ]


def test_activation_that_no_linear_layer_feeds() -> None:
    b = Builder()
    x = stream(b)
    norm = b.qdq(b.norm("norm", x), 2.0**-5)
    tanh = b.qdq(b.add("tanh", FloatActivation("tanh"), norm, module="act"), 2.0**-7)
    assert refused(b.output(b.wide(b.linear("layer", tanh, 3)))) == [
        "act (tanh): found an activation on the result of norm; expected one behind a linear layer"
    ]


def test_parameter_that_is_computed() -> None:
    b = Builder()
    x = stream(b)
    weight = b.aten("aten.neg.default", (C,), self=b.input("gain", C))
    norm = b.add("norm", FloatNorm(1e-5), x, weight, b.constant("bias", C), module="ln")
    assert refused(b.output(b.wide(b.linear("layer", b.qdq(norm, 2.0**-5), 3)))) == [
        "ln (float.norm): found a parameter computed by aten.neg.default; expected a constant"
    ]


def test_one_attention_that_forgets_the_mask() -> None:
    graph = block(mask=True)
    attention = graph["attention"]
    graph.rewire(attention.name, attention.inputs[:3])
    b = Builder()
    b.graph = graph
    mask, x = Value("attention_mask"), Value("embed_dq")
    pool = b.add("pool", FloatPool("mean"), x, mask, module="pool")
    b.output(b.wide(pool), "pooled")
    with pytest.raises(UnsupportedError) as caught:
        Integerise()(graph)
    assert str(caught.value) == (
        "block: found 1 places outside the number contract\n"
        "  - attention (float.attention): found no mask, while other operators are masked; expected "
        "attention_mask here too"
    )
