"""Modules that look like what flow knows and compute something else: right, or refused by name.

Each is exported by torch and compared with torch, so that no reading of our own decides what is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from torch import Tensor, nn

from flow.compress.calibrate import calibrate
from flow.compress.quantize import quantize
from flow.emit.lower import LowerOptions, integerise
from flow.errors import UnsupportedError
from flow.frontend import load
from flow.golden import execute
from flow.ir import Array, Graph
from flow.passes import recognise

S, C, HEADS = 5, 8, 2
TOLERANCE = 2e-6
"""Largest difference from torch, relative to the largest output: float32 sums in another order."""

Function = Callable[..., object]
CAUSAL = torch.ones(S, S, dtype=torch.bool).tril()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Module(nn.Module):
    """Parameters for `function(self, *inputs)`."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.norm = nn.LayerNorm(C)
        self.q, self.k, self.v, self.o = (nn.Linear(C, C) for _ in range(4))
        self.conv = nn.Conv2d(3, C, 2, 2)
        self.gain = nn.Parameter(torch.rand(C) + 0.5)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> object:
        return self.function(self, x) if attention_mask is None else self.function(self, x, attention_mask)


Core = Callable[[Tensor, Tensor, Tensor], Tensor]


def attend(m: Module, x: Tensor, core: Core) -> Tensor:
    """A residual around attention whose middle is `core` on [1, h, S, d]."""
    y = m.norm(x)
    q, k, v = (layer(y).view(1, -1, HEADS, C // HEADS).transpose(1, 2) for layer in (m.q, m.k, m.v))
    return x + torch.as_tensor(m.o(core(q, k, v).transpose(1, 2).reshape(x.shape)))


def masked(m: Module, x: Tensor, seen: Tensor) -> Tensor:
    return attend(m, x, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=seen))


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-1, -2)


def samples(shape: tuple[int, ...], lengths: bool, count: int = 3) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        sample: dict[str, Array] = {"x": rng.standard_normal(shape).astype(np.float32)}
        if lengths:
            sample["attention_mask"] = (np.arange(S) < 1 + (2 + i) % S).astype(np.int64)[None]
        found.append(sample)
    return found


def exported(function: Function, folder: Path, shape: tuple[int, ...], lengths: bool) -> tuple[Module, Graph]:
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    module = Module(function).eval()
    example = {name: torch.from_numpy(value) for name, value in samples(shape, lengths)[0].items()}
    program = torch.export.export(module, tuple(example.values()), strict=False)
    torch.export.save(program, folder / "model.pt2")
    return module, load(folder / "model.pt2")


def rms(x: Tensor, keepdim: bool = True) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=keepdim) + 1e-3)


def two_results(m: Module, x: Tensor) -> tuple[Tensor, Tensor]:
    y = rms(m.q(x))
    return y, y * m.gain


RIGHT: dict[str, Function] = {
    "mask filled before the scale": lambda m, x: attend(
        m, x, lambda q, k, v: (scores(q, k).masked_fill(~CAUSAL, -1e4) / 3).softmax(-1) @ v
    ),
    "mask added before the scale": lambda m, x: attend(
        m, x, lambda q, k, v: ((scores(q, k) + torch.zeros(S, S).masked_fill(~CAUSAL, -1e9)) / 3).softmax(-1) @ v
    ),
    "norm's result returned with and without its gain": two_results,
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_looks_odd_and_is_right(name: str, tmp_path: Path) -> None:
    module, raw = exported(RIGHT[name], tmp_path, (1, S, C), lengths=False)
    graph = recognise(raw)
    for sample in samples((1, S, C), lengths=False):
        with torch.no_grad():
            result = module(torch.from_numpy(sample["x"]))
        wanted = [t.numpy() for t in (result if isinstance(result, tuple) else (result,))]
        for want, got in zip(wanted, execute(graph, sample).values(), strict=True):
            assert np.abs(want - got).max() <= TOLERANCE * np.abs(want).max()


OTHER_MASK = "found an attention mask of another form"
LEFT = "operations that flow cannot lower"

REFUSED: dict[str, tuple[Function, tuple[int, ...], bool, str]] = {
    "fill that the scale makes small": (
        lambda m, x: attend(
            m, x, lambda q, k, v: (scores(q, k).masked_fill(~CAUSAL, -1e4) * 1e-4).softmax(-1) @ v
        ),
        (1, S, C), False, "masked_fill",
    ),
    "mask that the scale makes small": (
        lambda m, x: attend(
            m, x, lambda q, k, v: ((scores(q, k) + (~CAUSAL).float() * -1e4) * 1e-3).softmax(-1) @ v
        ),
        (1, S, C), False, OTHER_MASK,
    ),
    "queries masked, keys not": (
        lambda m, x, mask: masked(m, masked(m, x, mask[:, None, :, None] != 0), mask[:, None, :, None] != 0),
        (1, S, C), True, OTHER_MASK,
    ),
    "causal by one too many": (lambda m, x: masked(m, x, CAUSAL.roll(1, 0) | CAUSAL), (1, S, C), False, OTHER_MASK),
    "mean without keepdim": (lambda m, x: m.o(rms(m.q(x), keepdim=False)), (1, C, C), False, LEFT),
    "convolution of an image without a batch": (
        lambda m, x: m.o(m.conv(x).flatten(1).T), (3, 4, 4), False, "aten.conv2d.default on the device",
    ),
    "convolution with a computed kernel": (
        lambda m, x: m.o(F.conv2d(x, m.conv.weight * x.mean(), stride=2).flatten(2).transpose(1, 2)),
        (1, 3, 4, 4), False, "aten.conv2d.default on the device",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str, tmp_path: Path) -> None:
    function, shape, lengths, message = REFUSED[name]
    _, raw = exported(function, tmp_path, shape, lengths)
    with pytest.raises(UnsupportedError, match=message):
        recognise(raw)


@pytest.mark.parametrize("shape", [(1, S, S), (1, 1, S, S), (2, S)])
def test_a_mask_of_pairs_has_no_length(shape: tuple[int, ...], tmp_path: Path) -> None:
    function = lambda m, x, mask: masked(m, x, mask != 0)  # noqa: E731
    module = Module(function).eval()
    mask = torch.ones(shape, dtype=torch.int64)
    if len(shape) == 2:
        module.function = lambda m, x, mask: masked(m, x, mask[:1, None, None] != 0)
    program = torch.export.export(module, (torch.zeros(1, S, C), mask), strict=False)
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(UnsupportedError) as caught:
        recognise(load(tmp_path / "model.pt2"))
    assert "found an attention mask that depends on other inputs" in str(caught.value)


def test_host_operators_with_an_unknown_option_are_refused(tmp_path: Path) -> None:
    _, raw = exported(
        lambda m, x: m.o(F.pad(x, (0, 0, 1, 1), mode="reflect")), tmp_path, (1, S, C), lengths=False
    )
    graph = recognise(raw)
    with pytest.raises(UnsupportedError) as caught:
        execute(graph, samples((1, S, C), lengths=False)[0])
    assert str(caught.value) == (
        "aten.pad.default: found an operand without host evaluation (pad: mode reflect); expected one of "
        "docs/operators.md"
    )


def test_arithmetic_is_named_before_the_movement_around_it(tmp_path: Path) -> None:
    _, raw = exported(lambda m, x: m.o(F.leaky_relu(m.q(x))), tmp_path, (1, S, C), lengths=False)
    with pytest.raises(UnsupportedError) as caught:
        recognise(raw)
    assert "aten.leaky_relu.default" in str(caught.value).splitlines()[1]


def test_integers_follow_masks_before_the_scale(tmp_path: Path) -> None:
    _, raw = exported(RIGHT["mask filled before the scale"], tmp_path, (1, S, C), lengths=False)
    graph = recognise(raw)
    cal = samples((1, S, C), lengths=False, count=16)
    integers = integerise(quantize(graph, calibrate(graph, cal)), LowerOptions())
    real, got = (next(iter(execute(g, cal[0]).values())) for g in (graph, integers))
    assert 10 * math.log10(float((real**2).sum() / ((real - got) ** 2).sum())) > 30


def padded(m: Module, x: Tensor, mask: Tensor) -> Tensor:
    return masked(m, x, mask[:, None, None, :] != 0)


def host_mean(m: Module, x: Tensor, mask: Tensor) -> Tensor:
    weight = mask[..., None].float()
    return F.normalize((padded(m, x, mask) * weight).sum(1), dim=1)


HOST: dict[str, tuple[Function, bool]] = {
    "tokens": (padded, True),
    "class probabilities of each token": (lambda m, x, mask: padded(m, x, mask).softmax(-1), True),
    "masked sum": (host_mean, True),
    "last real token": (
        lambda m, x, mask: padded(m, x, mask)[torch.arange(1), mask.sum(1) - 1], True
    ),
    "similarity of tokens": (
        lambda m, x, mask: padded(m, x, mask) @ padded(m, x, mask).transpose(1, 2), True
    ),
    "sum of all tokens": (lambda m, x, mask: padded(m, x, mask).sum(1), False),
    "maximum of all tokens": (lambda m, x, mask: padded(m, x, mask).amax(1), False),
    "last token": (lambda m, x, mask: padded(m, x, mask)[:, -1], False),
    "softmax over tokens": (lambda m, x, mask: padded(m, x, mask).softmax(1), False),
}  # fmt: skip


@pytest.mark.parametrize("name", HOST)
def test_the_host_reads_no_token_that_is_not_there(name: str, tmp_path: Path) -> None:
    function, allowed = HOST[name]
    _, raw = exported(function, tmp_path, (1, S, C), lengths=True)
    graph = recognise(raw)
    quantized = quantize(graph, calibrate(graph, samples((1, S, C), lengths=True, count=8)))
    if allowed:
        integerise(quantized, LowerOptions())
        return
    with pytest.raises(UnsupportedError) as caught:
        integerise(quantized, LowerOptions())
    assert str(caught.value).splitlines()[0] == "model: found outputs that read tokens beyond the length"
    assert "multiply by the mask before reducing over tokens" in str(caught.value)
