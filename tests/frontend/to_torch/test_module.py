"""The module: names, parameters, fine-tuning, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from flow.errors import FlowError, UnsupportedError
from flow.frontend.to_torch import to_module, with_weights, write_pt2
from flow.golden import execute
from flow.ir import Array, Op, TensorType, verify
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatAdd
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant, Input

if TYPE_CHECKING:
    from tests.frontend.to_torch.conftest import Models


def test_names_parameters_and_buffers(models: type[Models]) -> None:
    module = to_module(models.encoder(quantized=True))
    layer = "encoder.layers.0"
    parameters = dict(module.named_parameters())
    assert sorted(parameters) == sorted(
        [
            "positions",
            "head.bias",
            *(f"{layer}.{n}.{leaf}" for n in ("norm1", "norm2") for leaf in ("weight", "bias")),
        ]
        + [f"{layer}.self_attn.{part}.bias" for part in ("query", "key", "value", "out_proj")]
        + [f"{layer}.linear1.bias"]
    )
    assert not module.training
    buffers = dict(module.named_buffers())
    assert buffers[f"{layer}.linear2.weight"].dtype == torch.int8
    assert buffers[f"{layer}.linear2.weight_scale"].dtype == torch.float32
    smoothing = [name for name in buffers if name.split(".")[-1].startswith("constant")]
    assert len(smoothing) == 1
    assert len(buffers) == 7 * 3 + 1


def test_inputs_by_position_or_name_and_observer(models: type[Models]) -> None:
    graph = models.encoder(quantized=False)
    module = to_module(graph)
    values = {key: torch.from_numpy(value) for key, value in models.sample(graph).items()}
    by_name, by_position = module(**values), module(*values.values())
    assert all(torch.equal(by_name[key], by_position[key]) for key in by_name)
    assert {k: (tuple(v.shape), v.dtype) for k, v in module.example_inputs().items()} == {
        "src": ((1, models.S, models.C), torch.float32),
        "attention_mask": ((1, models.S), torch.int64),
    }
    seen: list[str] = []
    module.evaluate(values, lambda node, outputs: seen.append(f"{node.name} {tuple(outputs[0].shape)}"))
    assert seen == [f"{n.name} {n.type.shape}" for n in graph if not isinstance(n.op, (Input, Constant))]
    with pytest.raises(FlowError) as caught:
        module(values["src"])
    assert str(caught.value) == "inputs: found src; expected src, attention_mask"


def test_fine_tuning_reaches_the_graph(models: type[Models]) -> None:
    graph = models.encoder(quantized=False)
    inputs = models.sample(graph)
    values = {key: torch.from_numpy(value) for key, value in inputs.items()}
    module = to_module(graph)
    before = execute(graph, inputs)["logits"]
    target = torch.from_numpy(before) + torch.tensor([[1.0, -1.0, 0.5, 0.0]])
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-4)
    losses = []
    for _ in range(10):
        loss = (module(**values)["logits"] - target).pow(2).sum()
        optimiser.zero_grad()
        loss.backward()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        assert all(g is not None and bool(g.abs().max() > 0) for g in gradients.values())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    tuned = with_weights(graph, module)
    verify(tuned)
    assert np.array_equal(execute(graph, inputs)["logits"], before)  # the source graph keeps its weights
    models.assert_close(execute(tuned, inputs), {k: v.detach().numpy() for k, v in module(**values).items()})
    keys = {n.op.key for n in tuned if isinstance(n.op, Constant)}
    assert keys == {n.op.key for n in graph if isinstance(n.op, Constant)}
    assert len(tuned) == len(graph)


def test_names_that_collide_or_are_no_identifiers(tmp_path: Path, models: type[Models]) -> None:
    b = models.Build()
    x = b.input("x", (2, 3))
    keys = ["a.b", "a.b.c", "a.b", "forward", "training", "weird name!.0", "", "evaluate.x"]
    values = [b.random(2, 3, key=key) for key in keys]
    for i, value in enumerate(values):
        x = b.op(FloatAdd(), x, value, module=["a.b", "a", "forward", "", "slots.0", "a.b.c"][i % 6])
    b.graph.set_output("y", x)
    inputs = models.sample(b.graph)
    expected = execute(b.graph, inputs)
    models.assert_close(models.run(b.graph, inputs), expected, 1e-6)
    assert len(to_module(b.graph).state_dict()) == len(keys)
    models.assert_close(execute(models.there_and_back(b.graph, tmp_path), inputs), expected, 1e-6)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UnsupportedError) as caught:
        call()
    return str(caught.value)


def test_everything_not_allowed_is_listed(tmp_path: Path, models: type[Models]) -> None:
    b = models.Build()
    x = b.input("x", (2, 3))
    kind = TensorType((2, 3), "float32")
    y = b.op(Aten("aten.bernoulli.default", {"self": Ref(0)}, (kind,)), x, module="encoder.noise")
    y = b.op(Aten("os.system.default", {"self": Ref(0)}, (kind,)), y)
    q = b.op(Quantize(np.array(1.0), np.array(0), -127, 127, "int8"), y)
    b.graph.set_output("y", b.op(Dequantize(np.array(1.0), np.array(0), 0, 255, "uint8"), q, module="head"))
    outside = "found an operator outside the allow-list; expected one that encoders use"
    expected = (
        "graph test: found operators that have no way back to torch; expected only allowed ones\n"
        f"  - encoder.noise (aten.bernoulli.default): {outside}\n"
        f"  - aten_1 (os.system.default): {outside}\n"
        "  - head (dequantize): found int8[2x3] @1; expected uint8 as the operator says"
    )
    assert refusal(lambda: to_module(b.graph)) == expected
    assert refusal(lambda: write_pt2(b.graph, tmp_path / "x.pt2")) == expected
    assert list(tmp_path.iterdir()) == []


class DeviceStep(Op):
    """An operator of the integer dialect."""

    name = "device.step"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return inputs[:1]

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        return inputs[:1]


def test_device_operators_are_refused(models: type[Models]) -> None:
    b = models.Build()
    b.graph.set_output("y", b.op(DeviceStep(), b.input("x", (2, 3))))
    assert refusal(lambda: to_module(b.graph)) == (
        "graph test: found operators that have no way back to torch; expected only allowed ones\n"
        "  - device_step (device.step): found an integer device operator; expected a raw or float one; "
        "write the graph before it is lowered"
    )


def test_weights_of_another_graph(models: type[Models]) -> None:
    module = to_module(models.encoder(quantized=False))
    other = models.Build().graph
    with pytest.raises(FlowError) as caught:
        with_weights(other, module)
    assert str(caught.value) == (
        "positions: found no constant of shape (7, 60) in graph test; expected the graph that the module was made from"
    )
