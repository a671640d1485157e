"""Programs that no accelerator can be made from: each refused by name, with the module and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from flow.errors import UnsupportedError
from flow.frontend import read_pt2

if TYPE_CHECKING:
    from tests.frontend.pt2.conftest import Rewritten, Zoo

Save = Callable[..., Path]
_PROGRAM = "found what cannot be lowered; expected a static program without side effects"
_PURE = "expected a model that changes neither its inputs nor its buffers; compute a new tensor instead"


class Inner(nn.Module):
    """A model with one inner module, so that messages have a path to name."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.block = Block(function)

    def forward(self, x: Tensor) -> Any:
        return self.block(x)


class Block(nn.Module):
    """Applies a function; holds a counter for those that want one."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.function(self.linear(x))


class Counter(nn.Module):
    """Remembers how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)  # type: ignore[operator]
        return x * self.get_buffer("calls")


def message(path: Path) -> str:
    with pytest.raises(UnsupportedError) as error:
        read_pt2(path)
    return str(error.value)


def autocast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x.transpose(-1, -2)


def assign_part(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x * 2


def assign_and_reread(x: Tensor) -> Tensor:
    part = x.view(-1)
    x.mul_(2)
    return part + 1


def write_input(x: Tensor) -> Tensor:
    return x.add_(1)


def shape_forgotten(x: Tensor) -> Tensor:
    """Nobody reads the result of the call that changes the shape."""
    y = x * 2
    y.squeeze_(0)
    return x + 1


def written_out(x: Tensor) -> Tensor:
    y = torch.zeros(1, 3, 4)
    torch.ops.aten.mul.out(x.detach(), x.detach(), out=y)
    return y


def dynamic_scale(x: Tensor) -> Tensor:
    scale = x.abs().amax() / 127
    return torch.ops.quantized_decomposed.quantize_per_tensor(  # type: ignore[no-any-return]
        x, scale, torch.tensor(0), -128, 127, torch.int8
    )


CASES: list[tuple[str, Callable[[Tensor], Any], str]] = [
    (
        "training",
        lambda x: nn.functional.dropout(x, 0.1, training=True),
        (
            "block (aten.dropout.default): found training mode; expected evaluation mode; "
            "call model.eval() before torch.export.export"
        ),
    ),
    (
        "training_attention",
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
        (
            "block (aten.scaled_dot_product_attention.default): found training mode; expected evaluation mode; "
            "call model.eval() before torch.export.export"
        ),
    ),
    (
        "random",
        lambda x: x + torch.randn(4),
        (
            "block (aten.randn.default): found random numbers; expected a model that computes the same twice; "
            "draw them outside the model"
        ),
    ),
    (
        "autocast",
        autocast,
        (
            "block (higher_order.wrap_with_autocast): found torch.autocast; expected arithmetic as written; "
            "export outside torch.autocast"
        ),
    ),
    (
        "branch",
        lambda x: torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,)),
        (
            "block (higher_order.cond): found a branch, loop or other operator on functions; expected "
            "straight-line code; take one way at export"
        ),
    ),
    (
        "part_assigned",
        assign_part,
        (
            "block (aten.mul.Tensor): found a read of memory that aten.fill_.Tensor changed through another view; "
            "expected operators without side effects; write torch.where or torch.cat in place of an "
            "assignment to a part"
        ),
    ),
    (
        "other_view",
        assign_and_reread,
        (
            "block (aten.add.Tensor): found a read of memory that aten.mul_.Tensor changed through another view; "
            "expected operators without side effects; write torch.where or torch.cat in place of an "
            "assignment to a part"
        ),
    ),
    (
        "reshaped_in_place",
        lambda x: x.unsqueeze_(0),
        (
            "block (aten.unsqueeze_.default): found an operator that changes its argument; expected one "
            "that gives a result; use that form"
        ),
    ),
    (
        "shape_forgotten",
        shape_forgotten,
        (
            "block (aten.squeeze_.dim): found an operator that changes its argument; expected one "
            "that gives a result; use that form"
        ),
    ),
    (
        "written_out",
        written_out,
        (
            "block (aten.mul.out): found an operator that changes its argument; expected one "
            "that gives a result; use that form"
        ),
    ),
    (
        "complex",
        lambda x: torch.fft.fft(x).real,
        (
            "block (aten.fft_fft.default): result fft_fft: found element type 10 of torch's export schema; expected "
            "one of uint8, int8, int16, int32, int64, float16, float32, float64, bool, bfloat16, uint16"
        ),
    ),
    (
        "dynamic_scale",
        dynamic_scale,
        (
            "block (quantized_decomposed.quantize_per_tensor.tensor): found a scale that is computed at run time; "
            "expected a static one; calibrate with torchao's PT2E flow or flow quantize"
        ),
    ),
    (
        "per_token",
        lambda x: torch.ops.quantized_decomposed.choose_qparams.tensor(x, -128, 127, 1e-5, torch.int8)[0],
        (
            "block (quantized_decomposed.choose_qparams.tensor): found this form of quantization; expected "
            "one of dequantize_per_channel, dequantize_per_tensor, quantize_per_channel, quantize_per_tensor, "
            "with static scales"
        ),
    ),
]


@pytest.mark.parametrize(("function", "line"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_operation_is_refused_by_name(save: Save, function: Callable[[Tensor], Any], line: str) -> None:
    path = save(Inner(function), torch.randn(1, 3, 4))
    assert message(path) == f"{path}: {_PROGRAM}\n  - {line}"


def test_writes_to_what_outlives_the_call_are_refused(save: Save) -> None:
    path = save(Counter(), torch.randn(1, 3))
    assert (
        message(path) == f"{path}: {_PROGRAM}\n  - add_ (aten.add_.Tensor): found a write to calls; {_PURE}"
    )


def test_writes_to_an_input_are_refused(save: Save) -> None:
    class Writer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.add_(1)

    path = save(Writer(), torch.randn(1, 3))
    assert (
        message(path) == f"{path}: {_PROGRAM}\n  - add_ (aten.add_.Tensor): found a write to input x; {_PURE}"
    )


def test_declared_mutations_are_refused(zoo: Zoo, rewritten: Rewritten) -> None:
    """Functionalised programs write buffers by an extra output."""

    def mutate(program: Any) -> None:
        specs = program["graph_module"]["signature"]["output_specs"]
        specs.append({"buffer_mutation": {"arg": {"name": "add"}, "buffer_name": "cache.keys"}})

    path = rewritten.program(zoo["pre_norm"].path, mutate)
    assert (
        message(path)
        == f"{path}: {_PROGRAM}\n  - output (buffer_mutation): found a write to cache.keys; {_PURE}"
    )


def test_all_faults_are_listed_at_once(save: Save) -> None:
    """Equal faults share a line, each module is named."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Dropout(0.1), nn.Dropout(0.1), Counter()

        def forward(self, x: Tensor) -> Tensor:
            return self.third(self.second(self.first(x)))  # type: ignore[no-any-return]

    model = Two()
    model.eval = lambda: model  # type: ignore[method-assign] # as users forget it
    path = save(model, torch.randn(1, 3))
    assert message(path) == (
        f"{path}: {_PROGRAM}\n"
        "  - first, second (aten.dropout.default): found training mode; expected evaluation mode; "
        "call model.eval() before torch.export.export\n"
        f"  - third (aten.add_.Tensor): found a write to third.calls; {_PURE}"
    )


def test_fused_encoder_layer_is_refused_with_the_lines_that_avoid_it(tmp_path: Path) -> None:
    """Strict export of a model whose parameters need no gradient takes torch's inference path."""
    path = tmp_path / "model.pt2"
    layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval().requires_grad_(False)
    example = torch.randn(1, 3, 8)
    torch.export.save(torch.export.export(model, (example,), strict=True), path)
    assert message(path) == (
        f"{path}: {_PROGRAM}\n"
        "  - layers.0, layers.1 (aten._transformer_encoder_layer_fwd.default): found torch's fused inference path; "
        "expected its separate operators; export with\n"
        "      torch.backends.mha.set_fastpath_enabled(False)\n"
        "      ep = torch.export.export(model.eval(), (example,), strict=False)"
    )
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        torch.export.save(torch.export.export(model.eval(), (example,), strict=False), path)
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    assert len(read_pt2(path)) > 50


def test_dynamic_shapes_are_refused(save: Save) -> None:
    sizes = {"x": {1: torch.export.Dim("tokens", min=2, max=64)}}
    path = save(Inner(torch.relu), torch.randn(1, 3, 4), dynamic_shapes=sizes)
    text = message(path)
    symbol = text.rpartition("size ")[2].partition(";")[0]
    assert symbol.isalnum()
    assert text == (
        f"{path}: found dynamic shapes; expected static ones; export with an example of the right size, without "
        f"dynamic_shapes\n  - input x: found axis 1 of size {symbol}; expected a number"
    )


def test_sizes_that_depend_on_data_are_refused(save: Save) -> None:
    path = save(Inner(torch.nonzero), torch.randn(1, 3, 4))
    assert message(path) == (
        f"{path}: {_PROGRAM}\n"
        "  - block (aten.nonzero.default): result nonzero: found the dynamic size u0; expected a number"
    )


def test_foreign_operators_are_refused(zoo: Zoo, rewritten: Rewritten) -> None:
    def rename(program: Any) -> None:
        nodes = program["graph_module"]["graph"]["nodes"]
        node = next(node for node in nodes if node["target"] == "torch.ops.aten.relu.default")
        node["target"] = "torch.ops.mine.secret.default"

    path = rewritten.program(zoo["pre_norm"].path, rename)
    assert message(path) == (
        f"{path}: {_PROGRAM}\n"
        "  - encoder.layers.0 (mine.secret.default): found an operator that is not torch's own; "
        "expected aten operators; spell it out in torch functions"
    )


def test_custom_objects_are_refused(zoo: Zoo, rewritten: Rewritten) -> None:
    def swap(program: Any) -> None:
        specs = program["graph_module"]["signature"]["input_specs"]
        specs[0] = {"custom_obj": {"arg": {"name": "obj", "class_fqn": "a.B"}, "custom_obj_name": "obj"}}

    path = rewritten.program(zoo["pre_norm"].path, swap)
    assert message(path) == (
        f"{path}: models/model.json: found an input of kind 'custom_obj'; expected tensors and numbers; "
        "export a model without custom objects"
    )
