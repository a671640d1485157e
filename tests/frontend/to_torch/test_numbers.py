"""The same numbers in numpy, in torch, and after the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from flow.frontend.pt2 import read_pt2
from flow.frontend.to_torch import to_module
from flow.golden import execute
from flow.ir import Graph
from flow.ops.aten import Aten
from flow.ops.float import ACTIVATIONS, FloatActivation, FloatAdd, FloatNorm, FloatPool
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant

if TYPE_CHECKING:
    from tests.frontend.to_torch.conftest import Models


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_float_graph_runs_equal_in_numpy_torch_and_after_the_file(
    masked: bool, causal: bool, tmp_path: Path, models: type[Models]
) -> None:
    graph = models.encoder(quantized=False, masked=masked, causal=causal)
    inputs = models.sample(graph)
    expected = execute(graph, inputs)
    models.assert_close(models.run(graph, inputs), expected)
    again = models.there_and_back(graph, tmp_path)
    models.assert_close(execute(again, inputs), expected)
    models.assert_close(models.run(again, inputs), expected)


def test_quantized_graph_survives_the_file_bit_for_bit(tmp_path: Path, models: type[Models]) -> None:
    graph = models.encoder(quantized=True)
    again = models.there_and_back(graph, tmp_path)

    def parameters(g: Graph) -> list[str]:
        specs = [n.op for n in g if isinstance(n.op, (Quantize, Dequantize))]
        return sorted(
            repr((s.name, s.scale.tolist(), s.zero_point.tolist(), s.qmin, s.qmax, s.dtype, s.axis or 0))
            for s in specs
        )

    assert len(parameters(graph)) == 13
    assert parameters(again) == parameters(graph)
    integers = {
        n.op.key: n.op.value for n in graph if isinstance(n.op, Constant) and n.op.value.dtype == np.int8
    }
    found = {
        n.op.key: n.op.value for n in again if isinstance(n.op, Constant) and n.op.value.dtype == np.int8
    }
    assert len(integers) == 7
    assert found.keys() == integers.keys()
    assert all(np.array_equal(found[key], value) for key, value in integers.items())
    for length in (models.S, 3):
        inputs = models.sample(graph, length)
        expected = execute(graph, inputs)
        # A float sum that rounds differently may cross a tie: one step of an int8 input or of the int16 residual.
        models.assert_close(execute(again, inputs), expected, 0.02)
        models.assert_close(models.run(graph, inputs), expected, 0.02)


CONTAINERS = [
    ("int8", -127, 127, 0),
    ("int8", -128, 127, -100),
    ("uint8", 0, 255, 17),
    ("int16", -32767, 32767, 0),
    ("int16", 0, 4095, 900),
    ("uint16", 0, 65535, 40_000),
    ("int32", -(2**20), 2**20, 5),
]


@pytest.mark.parametrize(("dtype", "qmin", "qmax", "zero"), CONTAINERS)
@pytest.mark.parametrize("scale", [2.0**-4, 0.0123456789012345])
def test_quantise_dequantise_is_bit_exact(
    dtype: str, qmin: int, qmax: int, zero: int, scale: float, tmp_path: Path, models: type[Models]
) -> None:
    b = models.Build()
    x = b.input("x", (1, 4001))
    spec = (np.array(scale), np.array(zero), qmin, qmax, dtype)
    q = b.op(Quantize(*spec), x)
    b.graph.set_output("q", q)
    b.graph.set_output("y", b.op(Dequantize(*spec), q))
    # Clipped both ways; on the ties where the scale is a power of two, else a quarter of a step from them.
    reach = 1.2 * max(abs(qmin - zero), abs(qmax - zero))
    units = np.rint(np.linspace(-reach, reach, 4001)) + (0.5 if scale == 2.0**-4 else 0.25)
    inputs = {"x": (units * scale).astype(np.float32)[None]}
    expected = execute(b.graph, inputs)
    assert expected["q"].min() == qmin
    assert expected["q"].max() == qmax
    again = models.there_and_back(b.graph, tmp_path)
    for found in (models.run(b.graph, inputs), execute(again, inputs), models.run(again, inputs)):
        assert found["q"].dtype == np.dtype(dtype)
        assert np.array_equal(found["q"], expected["q"])
        # Torch multiplies by the scale rounded to float32, and rounds the product: half a unit each.
        assert np.allclose(found["y"], expected["y"], rtol=2.0**-23, atol=0)


@pytest.mark.parametrize("axis", [0, 1])
def test_per_channel_scales_keep_their_precision(axis: int, tmp_path: Path, models: type[Models]) -> None:
    b = models.Build()
    codes = b.rng.integers(-7, 8, (6, 10)).astype(np.int8)
    scales = np.asarray(b.rng.uniform(0.1, 0.2, codes.shape[axis]))
    zeros = np.asarray(b.rng.integers(-3, 4, codes.shape[axis]))
    weight = b.op(
        Dequantize(scales, zeros, -7, 7, "int8", axis=axis), b.constant(codes, "fc.weight"), module="fc"
    )
    x = b.input("x", (6, 10))
    y = b.op(FloatAdd(), weight, x)
    b.graph.set_output("y", y)
    b.graph.set_output("q", b.op(Quantize(scales, zeros, -7, 7, "int8", axis=axis), y, module="fc"))
    inputs = {"x": b.rng.normal(0, 1, (6, 10)).astype(np.float32)}
    module = to_module(b.graph)
    assert {name: tuple(t.shape) for name, t in module.named_buffers() if "weight" in name} == {
        "fc.weight": (6, 10),
        "fc.weight_scale": scales.shape,
        "fc.weight_zero_point": scales.shape,
    }
    expected = execute(b.graph, inputs)
    again = models.there_and_back(b.graph, tmp_path)
    found = [n.op for n in again if isinstance(n.op, Dequantize)]
    assert len(found) == 1
    assert np.array_equal(found[0].scale, scales)
    for outputs in (models.run(b.graph, inputs), execute(again, inputs)):
        assert np.array_equal(outputs["y"], expected["y"])
        assert np.array_equal(outputs["q"], expected["q"])


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_activations(kind: str, tmp_path: Path, models: type[Models]) -> None:
    b = models.Build()
    b.graph.set_output("y", b.op(FloatActivation(kind), b.input("x", (9, 30))))
    inputs = {"x": np.linspace(-9, 9, 270).astype(np.float32).reshape(9, 30)}
    expected = execute(b.graph, inputs)
    models.assert_close(models.run(b.graph, inputs), expected, 1e-6)
    models.assert_close(execute(models.there_and_back(b.graph, tmp_path), inputs), expected, 1e-6)


@pytest.mark.parametrize("biased", [False, True])
def test_rms_norm(biased: bool, tmp_path: Path, models: type[Models]) -> None:
    b = models.Build()
    bias = b.random(models.C) if biased else b.constant(np.zeros(models.C, np.float32))
    b.graph.set_output(
        "y",
        b.op(
            FloatNorm(0.02, centred=False),
            b.input("x", (models.S, models.C)),
            b.random(models.C, mean=1.0),
            bias,
        ),
    )
    inputs = {"x": b.rng.normal(0, 0.1, (models.S, models.C)).astype(np.float32)}
    expected = execute(b.graph, inputs)
    models.assert_close(models.run(b.graph, inputs), expected)
    again = models.there_and_back(b.graph, tmp_path)
    models.assert_close(execute(again, inputs), expected)
    targets = [n.op.target for n in again if isinstance(n.op, Aten)]
    assert targets == ["aten.rms_norm.default", *(["aten.add.Tensor"] if biased else [])]


@pytest.mark.parametrize("kind", ["first", "mean"])
def test_pool_without_mask(kind: str, tmp_path: Path, models: type[Models]) -> None:
    b = models.Build()
    b.graph.set_output("y", b.op(FloatPool(kind), b.input("x", (models.S, models.C))))
    inputs = models.sample(b.graph)
    expected = execute(b.graph, inputs)
    models.assert_close(models.run(b.graph, inputs), expected)
    models.assert_close(execute(models.there_and_back(b.graph, tmp_path), inputs), expected)


class Everything(nn.Module):
    """Raw operators with lists, scalars, types, several outputs, integer inputs and constants."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embedding = nn.Embedding(11, 12)
        self.conv = nn.Conv2d(2, 12, 2, 2)
        self.norm = nn.LayerNorm(12)
        self.table = nn.Buffer(torch.randn(3, 12))

    def forward(self, ids: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cat([self.embedding(ids), self.conv(image).flatten(2).transpose(1, 2)], dim=1)
        a, b, c = torch.split(x, [4, 4, 4], dim=-1)
        first, second = x.chunk(2, dim=-1)
        y = torch.stack([a + b.unsqueeze(0).squeeze(0) * 2, c.pow(2) / 3 - 1])
        seen = torch.arange(7).unsqueeze(0) <= torch.arange(7).unsqueeze(1)
        scores = torch.where(seen, x @ x.transpose(1, 2), torch.full((7, 7), -1e9))
        z = self.norm(torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1) @ x)
        z = z + self.table[torch.tensor([0, 2, 1, 0, 0, 1, 2])] + torch.cat([second, first], -1)[..., ::1]
        counted = (ids != 3).to(torch.float32).cumsum(1)
        return y.permute(1, 2, 0, 3).reshape(1, 7, 8)[:, 1:6].mean(1), z.sum(dim=(0, 1)) * counted.sum()


def test_raw_operators(tmp_path: Path, models: type[Models]) -> None:
    inputs = {
        "ids": torch.tensor([[1, 3, 10]]),
        "image": torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1)),
    }
    model = Everything().eval()
    torch.export.save(torch.export.export(model, (), inputs, strict=False), tmp_path / "raw.pt2")
    graph = read_pt2(tmp_path / "raw.pt2")
    arrays = {key: value.numpy() for key, value in inputs.items()}
    with torch.no_grad():
        expected = [value.numpy() for value in model(**inputs)]
    again = models.there_and_back(graph, tmp_path)
    for found in (
        execute(graph, arrays),
        models.run(graph, arrays),
        execute(again, arrays),
        models.run(again, arrays),
    ):
        assert list(found) == list(graph.outputs)
        models.assert_close(dict(enumerate(found.values())), dict(enumerate(expected)))  # type: ignore[arg-type]
