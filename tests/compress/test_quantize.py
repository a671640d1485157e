"""Every edge of the contract's table, and fidelity to the float graph."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flow.compress.calibrate import Range, Ranges, calibrate
from flow.compress.forms import affine, symmetric
from flow.compress.quantize import QuantizeOptions, quantize
from flow.compress.weights import row_scales
from flow.errors import FlowError, UnsupportedError
from flow.golden import execute
from flow.ir import Array, Graph, Node, TensorType, Value, print_graph
from flow.ops.aten import Aten, Ref, reshape
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatLinear,
    FloatNorm,
    FloatPool,
    FloatScale,
)
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant, Input

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def edge(graph: Graph, node: Node, operand: int) -> str:
    """`int8`, `uint8+z` (affine) … for a pair, `float` for none, through which an operand comes."""
    pair = graph.producer(node.inputs[operand])
    if not isinstance(pair.op, Dequantize):
        return "float"
    source = graph.producer(pair.inputs[0])
    assert isinstance(source.op, Constant) or (
        isinstance(source.op, Quantize) and source.op.attributes() == pair.op.attributes()
    )
    kind = f"{pair.op.dtype}" + ("+z" if pair.op.qmin == 0 else "") + ("/row" if pair.op.axis == 0 else "")
    return kind + ("!" if pair.op.qmin < 0 and int(np.abs(pair.op.zero_point).max()) else "")


def edges(graph: Graph, stem: str) -> list[str]:
    return [edge(graph, graph[stem], i) for i in range(len(graph[stem].inputs))]


def output_edge(graph: Graph) -> str:
    value = graph.outputs["out"]
    op = graph.producer(value).op
    return op.dtype if isinstance(op, Dequantize) and op.qmin < 0 else "float"


def quantized(graph: Graph, drawn: list[dict[str, Array]], **options: Any) -> Graph:
    before = print_graph(graph)
    result = quantize(graph, calibrate(graph, drawn), QuantizeOptions(**options))
    assert print_graph(graph) == before
    return result


def sqnr_db(graph: Graph, result: Graph, drawn: list[dict[str, Array]]) -> float:
    signal = noise = 0.0
    for sample in drawn:
        want, got = execute(graph, sample)["out"], execute(result, sample)["out"]
        if "attention_mask" in sample and want.shape[0] == sample["attention_mask"].size:
            length = int(sample["attention_mask"].sum())
            want, got = want[:length], got[:length]
        signal, noise = signal + float((want**2).sum()), noise + float(((got - want) ** 2).sum())
    assert noise > 0
    return float(10 * np.log10(signal / noise))


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"pre_norm": False},
        {"bias": False},
        {"pre_norm": False, "bias": False, "activation": "gelu_tanh"},
        {"mask": True},
        {"mask": True, "pre_norm": False, "pool": "mean"},
        {"pool": "first", "pooler": True, "activation": "silu"},
        {"pool": "mean", "pooler": True, "patches": True, "width": 48, "heads": 3},
        {"activation": "relu", "causal": True, "layers": 3},
        {"activation": "relu", "pre_norm": False, "patches": True, "width": 40, "heads": 5, "tokens": 7},
        {"activation": "sigmoid"},
        {"activation": "tanh", "pre_norm": False, "tokens": 1},
        {"layers": 1, "width": 20, "heads": 1, "tokens": 33, "hidden": 24},
    ],
)
def test_thirty_decibels_on_calibrated_inputs(
    transformer: Build, samples: Draw, shape: dict[str, Any]
) -> None:
    graph = transformer(**shape)
    drawn = samples(graph, 8)
    few = 1.5 if shape.get("pool") else 0.0  # int8 behind a pool has room for more than eight rows showed
    assert sqnr_db(graph, quantized(graph, drawn), drawn) >= 30.0 - few


def test_wider_tables_and_no_smoothing_and_int4(transformer: Build, samples: Draw) -> None:
    graph = transformer()
    drawn = samples(graph, 8)
    base = sqnr_db(graph, quantized(graph, drawn), drawn)
    wide = sqnr_db(graph, quantized(graph, drawn, index_bits=12, output_bits=16), drawn)
    int4 = sqnr_db(graph, quantized(graph, drawn, weight_bits=4), drawn)
    assert base < wide
    assert 5 < int4 < base - 10


def test_smoothing_helps_where_a_channel_is_loud(transformer: Build, samples: Draw) -> None:
    graph = transformer()
    for name in ("layers_0_attn_norm", "layers_1_ffn_norm"):
        gain = graph.producer(graph[name].inputs[1]).op
        assert isinstance(gain, Constant)
        gain.value[5] = 60.0
    drawn = samples(graph, 8)
    assert sqnr_db(graph, quantized(graph, drawn), drawn) > 3 + sqnr_db(
        graph, quantized(graph, drawn, smooth_alpha=None), drawn
    )


def test_edges_of_a_pre_norm_encoder(transformer: Build, samples: Draw) -> None:
    graph = transformer(patches=True, layers=1, pool="mean", pooler=True, mask=True)
    result = quantized(graph, samples(graph, 3))
    assert edges(result, "patch") == ["int8", "int8/row", "float"]
    assert edges(result, "embed") == ["float", "float"]
    assert isinstance(result.producer(result["embed"].inputs[1]).op, Constant)
    assert edges(result, "layers_0_attn_norm")[0] == "int16"
    assert edges(result, "layers_0_attn_norm_scale") == ["float", "float"]
    assert edges(result, "layers_0_attn_q") == ["int8", "int8/row", "float"]
    assert edges(result, "layers_0_attn") == ["int8", "int8", "int8", "float"]
    assert edges(result, "layers_0_attn_out")[0] == "int8"
    assert edges(result, "layers_0_attn_add") == ["float", "int16"]
    assert edges(result, "layers_0_ffn_act") == ["uint8+z"]
    assert edges(result, "layers_0_ffn_fc2")[0] == "uint8+z"
    assert edges(result, "layers_0_ffn_add") == ["float", "int16"]
    assert edges(result, "pool") == ["int16", "float"]
    assert isinstance(
        result.producer(result.producer(result.producer(result["pool"].inputs[0]).inputs[0]).inputs[0]).op,
        FloatScale,
    )
    assert edges(result, "pooler")[0] == "int8"
    assert edges(result, "pooler_tanh") == ["uint8+z"]
    assert edges(result, "head")[0] == "uint8+z"
    assert output_edge(result) == "int16"
    assert (
        result["layers_0_attn_add"].inputs[1] == result["layers_0_attn_norm"].inputs[0]
    )  # one pair for the residual


def test_edges_of_a_post_norm_encoder(transformer: Build, samples: Draw) -> None:
    graph = transformer(pre_norm=False, layers=2)
    result = quantized(graph, samples(graph, 3))
    # the device input feeds both a residual and linear layers
    assert edges(result, "layers_0_attn_q")[0] == "int8"
    assert edges(result, "layers_0_attn_add") == ["int16", "float"]
    # so does a norm between layers: int16 for the residual, scaled int8 for the matmuls
    assert edges(result, "layers_0_attn_norm")[0] == "int16"
    assert edges(result, "layers_0_ffn_add") == ["int16", "float"]
    scale = result.producer(
        result.producer(result.producer(result["layers_0_ffn_fc1"].inputs[0]).inputs[0]).inputs[0]
    )
    assert scale.op.name == "float.scale"
    assert result.producer(scale.inputs[0]).name == "layers_0_attn_norm"
    assert output_edge(result) == "int16"


def test_relu_needs_no_index(transformer: Build, samples: Draw) -> None:
    graph = transformer(activation="relu", layers=1)
    result = quantized(graph, samples(graph, 3))
    assert edges(result, "layers_0_ffn_act") == ["float"]
    assert edges(result, "layers_0_ffn_fc2")[0] == "uint8+z"
    pair = result.producer(result["layers_0_ffn_fc2"].inputs[0]).op
    assert isinstance(pair, Dequantize)
    assert int(pair.zero_point) == 0


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "silu", "tanh", "sigmoid"])
@pytest.mark.parametrize("bits", [8, 12])
def test_table_ranges(transformer: Build, samples: Draw, kind: str, bits: int) -> None:
    graph = transformer(activation=kind, layers=1)
    drawn = samples(graph, 3)
    ranges = calibrate(graph, drawn)
    wide = ranges.updated({Value("layers_0_ffn_fc1"): Range(-30.0, 20.0, np.full(64, 30.0))})
    result = quantize(graph, wide, QuantizeOptions(index_bits=bits))
    index = result.producer(result["layers_0_ffn_act"].inputs[0]).op
    output = result.producer(result["layers_0_ffn_fc2"].inputs[0]).op
    assert isinstance(index, Dequantize)
    assert isinstance(output, Dequantize)
    low, high = ((q - int(index.zero_point)) * float(index.scale) for q in (index.qmin, index.qmax))
    want = {"tanh": (-4.0, 4.0), "sigmoid": (-8.0, 8.0)}.get(kind, (-4.0, 20.0))
    assert [low, high] == pytest.approx(list(want), abs=float(index.scale))
    assert (index.dtype, index.bits) == ("uint8" if bits == 8 else "int16", bits)
    points = (np.arange(2**bits) - int(index.zero_point)) * float(index.scale)
    (image,) = FloatActivation(kind).golden(points)
    codes = np.rint(image / float(output.scale)) + int(output.zero_point)
    assert codes.min() >= -0.5
    assert codes.max() <= 256
    assert codes.max() - codes.min() >= 250  # the exact image of the index range fills the output
    assert (output.dtype, output.qmin, output.qmax) == ("uint8", 0, 255)


def test_sixteen_bit_table_output_is_signed(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    result = quantized(graph, samples(graph, 3), output_bits=16)
    assert edges(result, "layers_0_ffn_fc2")[0] == "int16"


def test_zeros_survive_and_weights_are_symmetric(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    keep = {}
    for node in graph:
        if isinstance(node.op, Constant) and node.op.value.ndim == 2:
            node.op.value[:, 1::2] = 0.0
            node.op.value[3] = 0.0
            keep[node.op.key] = node.op.value != 0
    for bits, top in ((8, 127), (4, 7)):
        result = quantized(graph, samples(graph, 3), weight_bits=bits)
        stored = {
            n.op.key: n.op.value for n in result if isinstance(n.op, Constant) and n.op.value.dtype == np.int8
        }
        assert stored.keys() == keep.keys()
        for key, value in stored.items():
            assert (value[~keep[key]] == 0).all()
            assert set(np.abs(value).max(axis=1)[np.arange(len(value)) != 3].tolist()) == {top}
            assert value[3].max() == value[3].min() == 0


def test_row_scales_stay_in_range() -> None:
    weight = np.zeros((4, 8), np.float32)
    weight[0], weight[1], weight[2] = 1.27, 1e-9, 0.127
    assert row_scales(weight, None, 0.1, 8) == pytest.approx([0.01, 0.01 * 2**-12, 0.001, 0.01], rel=1e-6)
    bias = np.array([0, 0, 2.0**28, 0], np.float32)
    assert row_scales(weight, bias, 0.1, 8)[2] == pytest.approx(10.0)
    assert row_scales(np.zeros((2, 3), np.float32), None, 1.0, 8).tolist() == [1.0, 1.0]
    assert row_scales(weight, None, 0.1, 4)[0] == pytest.approx(1.27 / 7)


def test_empty_ranges_have_sensible_scales() -> None:
    assert float(symmetric(0.0, 8).scale) == pytest.approx(1 / 127)
    assert float(affine(0.0, 0.0, 8).scale) == pytest.approx(1 / 255)
    assert int(affine(0.0, 0.0, 8).zero_point) == 0
    only_positive = affine(2.0, 10.0, 8)
    assert int(only_positive.zero_point) == 0
    assert float(only_positive.scale) == pytest.approx(10 / 255)
    assert int(affine(-10.0, -2.0, 8).zero_point) == 255
    assert float(symmetric(3.0, 16).scale) == np.float32(3.0 / 32767)


def test_a_silent_graph_quantizes_to_silence(transformer: Build) -> None:
    graph = transformer(bias=False, layers=1, patches=True)
    drawn = [{"x": np.ones((12, 9), np.float32)}]
    for node in graph:
        if isinstance(node.op, Constant) and node.name.endswith(("norm_bias", "patch_weight", "position")):
            node.op.value[:] = 0.0
    result = quantized(graph, drawn)
    for node in result:
        if isinstance(node.op, Quantize):
            assert (node.op.scale > 1e-6).all()
    np.testing.assert_array_equal(
        execute(result, drawn[0])["out"][:, 0], np.repeat(execute(result, drawn[0])["out"][0, 0], 12)
    )


def test_headroom_is_for_int16_only(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    drawn = samples(graph, 3)
    ranges = calibrate(graph, drawn)
    result = quantize(graph, ranges, QuantizeOptions(headroom=2.0, smooth_alpha=None))
    wide = result.producer(result["layers_0_attn_norm"].inputs[0]).op
    narrow = result.producer(result["layers_0_attn"].inputs[0]).op
    assert isinstance(wide, Dequantize)
    assert isinstance(narrow, Dequantize)
    assert float(wide.scale) == pytest.approx(2 * ranges[Value("x")].magnitude / 32767)
    few = 1 + 1 / 6  # 3 samples of 12 rows
    assert float(narrow.scale) == pytest.approx(few * ranges[Value("layers_0_attn_q")].magnitude / 127)


def host(graph: Graph, target: str, value: Value, module: str) -> Value:
    return graph.add(module, Aten(target, {"self": Ref(0)}, (graph.type_of(value),)), [value], module)


def small(parts: Callable[[Graph, Value], Value], shape: tuple[int, ...] = (4, 8)) -> tuple[Graph, Ranges]:
    graph = Graph("small")
    graph.set_output("out", parts(graph, graph.add("x", Input("x", TensorType(shape, "float32")))))
    unit = {Value(n.name): Range(-1.0, 1.0, np.ones(n.type.shape[-1])) for n in graph}
    return graph, Ranges(unit, 1)


def linear(graph: Graph, x: Value, name: str = "fc", outputs: int = 8) -> Value:
    columns = graph.type_of(x).shape[1]
    weight = graph.add(
        f"{name}_weight", Constant(np.eye(outputs, columns, dtype=np.float32), f"{name}.weight")
    )
    return graph.add(name, FloatLinear(), [x, weight], name)


def test_host_prologue_and_epilogue_stay_float() -> None:
    def parts(graph: Graph, x: Value) -> Value:
        rows = graph.add("rows", reshape((4, 8), graph.type_of(x)), [x])
        table = graph.add("table", Constant(np.ones((4, 8), np.float32)))
        embedded = graph.add("embedded", FloatAdd(), [rows, table])
        y = linear(graph, embedded)
        return graph.add("batched", reshape((1, 4, 8), graph.type_of(y)), [y])

    graph, ranges = small(parts, (1, 4, 8))
    result = quantize(graph, ranges)
    assert edges(result, "embedded") == ["float", "float"]
    assert edges(result, "fc") == ["int8", "int8/row"]
    assert edges(result, "batched") == ["int16"]
    assert result.outputs["out"] == Value("batched")


def test_pool_forms_follow_their_readers() -> None:
    def parts(graph: Graph, x: Value) -> Value:
        pooled = graph.add("pool", FloatPool("mean"), [linear(graph, x)])
        graph.set_output("pooled", pooled)
        return linear(graph, pooled, "head")

    graph, ranges = small(parts)
    result = quantize(graph, ranges)
    assert edges(result, "pool") == ["int16"]
    assert edges(result, "head")[0] == "int8"
    pooled = result.producer(result.outputs["pooled"]).op
    assert isinstance(pooled, Dequantize)
    assert pooled.dtype == "int16"


def test_of_two_linears_in_an_add_the_later_one_is_fused() -> None:
    graph, ranges = small(
        lambda g, x: g.add("add", FloatAdd(), [linear(g, x, "late"), linear(g, x, "early")])
    )
    assert edges(quantize(graph, ranges), "add") == ["int16", "float"]  # `early` is computed last

    def doubled(graph: Graph, x: Value) -> Value:
        return graph.add("add", FloatAdd(), [linear(graph, x)] * 2)

    graph, ranges = small(doubled)
    assert edges(quantize(graph, ranges), "add") == ["int16", "int16"]


def test_tied_weights_are_stored_once_per_layer() -> None:
    def parts(graph: Graph, x: Value) -> Value:
        weight = graph.add("w", Constant(np.eye(8, dtype=np.float32), "tied"))
        hidden = graph.add("a", FloatLinear(), [x, weight])
        return graph.add("b", FloatLinear(), [hidden, weight])

    graph, ranges = small(parts)
    result = quantize(graph, ranges)
    assert [edges(result, name) for name in "ab"] == [["int8", "int8/row"]] * 2
    assert result["a"].inputs[1] != result["b"].inputs[1]


def fails(graph: Graph, ranges: Ranges, message: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        quantize(graph, ranges)


def test_host_operators_between_device_operators_are_named() -> None:
    def parts(graph: Graph, x: Value) -> Value:
        first = host(graph, "aten.sin.default", linear(graph, x, "fc1"), "net.sin")
        second = host(graph, "aten.cos.default", first, "net.cos")
        return host(graph, "aten.abs.default", linear(graph, second, "fc2"), "net.abs")

    tail = (
        "found a host operator between device operators; expected only linear, norm, attention, activation, "
        "add and pool there; rewrite the model without it"
    )
    graph, ranges = small(parts)
    fails(
        graph,
        ranges,
        "small: found operators that cannot be quantized\n"
        f"  - net.sin (aten.sin.default): {tail}\n  - net.cos (aten.cos.default): {tail}",
    )


def test_quantizing_twice_is_refused() -> None:
    graph, ranges = small(linear)
    once = quantize(graph, ranges)
    with pytest.raises(UnsupportedError) as caught:
        quantize(once, ranges)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 5  # two pairs and the weight's Dequantize
    assert lines[1].endswith(
        "found a quantized edge; expected a float model; quantize the model it was made from"
    )


def test_computed_parameters_are_refused() -> None:
    def parts(graph: Graph, x: Value) -> Value:
        bias = graph.add("bias", Constant(np.zeros(8, np.float32)))
        pooled = graph.add("row", reshape((32,), graph.type_of(x)), [x])
        gain = graph.add(
            "gain", Aten("aten.slice.Tensor", {"self": Ref(0)}, (TensorType((8,), "float32"),)), [pooled]
        )
        return graph.add("norm", FloatNorm(1e-5), [x, gain, bias], "net.norm")

    graph, ranges = small(parts)
    fails(
        graph,
        ranges,
        "small: found operators that cannot be quantized\n"
        "  - net.norm (float.norm): found parameter 1 computed by %gain; expected a constant; fold it before export",
    )


def test_a_graph_with_nothing_to_run_is_refused() -> None:
    graph, ranges = small(lambda _, x: x)
    fails(
        graph,
        ranges,
        "small: found operators that cannot be quantized\n"
        "  - found no linear, norm, attention, activation or pool; expected a transformer; check the model",
    )


def test_missing_ranges_are_named() -> None:
    graph, _ = small(linear)
    with pytest.raises(
        FlowError,
        match=r"^calibration: found no range for %x; expected one; calibrate the graph that is quantized$",
    ):
        quantize(graph, Ranges())


def test_options_out_of_range_are_listed_together() -> None:
    message = (
        "quantize options: found values out of range; choose others\n"
        "  - smooth_alpha: found 2.0; expected 0 to 1, or none\n"
        "  - smooth_floor: found 0; expected above 0, at most 1\n"
        "  - index_bits: found 13; expected 8 to 12\n"
        "  - output_bits: found 9; expected 8 or 16\n"
        "  - weight_bits: found 3; expected 4 or 8\n"
        "  - headroom: found 0.9; expected 1 to 16\n"
        "  - input_bits: found 12; expected 8 or 16\n"
        "  - numerator_bits: found 9; expected 8, 16 or none\n"
        "  - method: found max; expected auto, minmax, percentile, mse\n"
        "  - percentile: found 50; expected above 50, at most 100\n"
        "  - rounding: found up; expected nearest, mse, gptq"
    )
    with pytest.raises(FlowError, match=f"^{re.escape(message)}$"):
        QuantizeOptions(2.0, 0, 13, 9, 3, 0.9, 12, 9, "max", 50, "up")
    assert QuantizeOptions(smooth_alpha=None).smooth_alpha is None


def test_an_activation_that_is_an_output_is_wide() -> None:
    graph, ranges = small(lambda g, x: g.add("act", FloatActivation("sigmoid"), [linear(g, x)]))
    result = quantize(graph, ranges)
    assert edges(result, "act") == ["uint8+z"]
    assert output_edge(result) == "int16"


def test_a_linear_on_the_residual_stream_reads_int16() -> None:
    graph, ranges = small(lambda g, x: linear(g, g.add("add", FloatAdd(), [linear(g, x), x]), "head"))
    result = quantize(graph, ranges)
    assert edges(result, "add") == ["float", "int16"]
    assert edges(result, "head") == ["int16", "int8/row"]


def test_a_rectifier_towards_the_residual_stream_is_a_table() -> None:
    def parts(graph: Graph, x: Value) -> Value:
        act = graph.add("act", FloatActivation("relu"), [linear(graph, x)])
        return graph.add("add", FloatAdd(), [linear(graph, act, "head"), act])

    graph, ranges = small(parts)
    result = quantize(graph, ranges)
    assert edges(result, "act") == ["uint8+z"]
    assert edges(result, "head")[0] == "uint8+z"
    assert edges(result, "add") == ["float", "int16"]
