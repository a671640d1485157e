"""A recognised model, written and read, is recognised as the same model: nothing is lost in the spelling."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flow.errors import UnsupportedError
from flow.frontend.pt2 import read_pt2
from flow.frontend.to_torch import write_pt2
from flow.golden import execute
from flow.ir import Array, Graph, TensorType
from flow.ops.float import FloatAttention, FloatLinear
from flow.ops.source import Constant, Input
from flow.passes import recognise

TOKENS, WIDTH = 9, 60


class Classifier(nn.Module):
    """Torch's own encoder with a position table, padding or causal mask, masked mean and a head."""

    def __init__(self, activation: str, norm_first: bool, causal: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 5, 84, 0.1, activation, 1e-3, batch_first=True, norm_first=norm_first
        )
        self.positions = nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.1)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 7)
        self.causal = causal

    def forward(self, src: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1) if self.causal else None
        x = self.encoder(
            src + self.positions, mask=hidden, src_key_padding_mask=attention_mask == 0, is_causal=self.causal
        )
        weights = attention_mask.unsqueeze(-1).float()
        logits: Tensor = self.head((x * weights).sum(1) / weights.sum(1))
        return logits


def operators(graph: Graph) -> Counter[str]:
    return Counter(str(node.op) for node in graph if node.op.name.startswith("float."))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("activation", "norm_first"), [("gelu", True), ("relu", False)])
def test_recognised_twice_is_the_same(
    activation: str, norm_first: bool, causal: bool, tmp_path: Path
) -> None:
    model = Classifier(activation, norm_first, causal).eval()
    src = torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(TOKENS)[None] < 6).long()
    program = torch.export.export(model, (src, mask), strict=False)
    torch.export.save(program, tmp_path / "raw.pt2")
    first = recognise(read_pt2(tmp_path / "raw.pt2"))
    write_pt2(first, tmp_path / "recognised.pt2")
    second = recognise(read_pt2(tmp_path / "recognised.pt2"))
    assert sum(operators(first).values()) == 27
    assert operators(second) == operators(first)
    modules = [sorted(node.module for node in g if node.op.name == "float.linear") for g in (first, second)]
    assert modules[0] == modules[1]
    inputs = {"src": src.numpy(), "attention_mask": mask.numpy()}
    with torch.no_grad():
        expected = model(src, mask).numpy()
    for graph in (first, second):
        (found,) = execute(graph, inputs).values()
        assert found.shape == expected.shape
        # float32 sums of at most 84 terms through some 25 operators, on values of order 1.
        assert np.abs(found - expected).max() < 2e-5


def attention(bits: int | None, causal: bool, masked: bool) -> Graph:
    """Projections, attention over 9 tokens and an output layer."""
    graph, rng = Graph("model"), np.random.default_rng(2)
    x = graph.add("x", Input("x", TensorType((TOKENS, WIDTH), "float32")))
    operands = []
    for name in ("q", "k", "v"):
        weight = graph.add(name, Constant(rng.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32), name))
        operands.append(graph.add(name, FloatLinear(), [x, weight], name))
    if masked:
        mask = Input("attention_mask", TensorType((1, TOKENS), "int64"))
        operands.append(graph.add("attention_mask", mask))
    context = graph.add("attention", FloatAttention(5, 0.3, causal, bits), operands, "attention")
    last = graph.add("o", Constant(np.eye(WIDTH, dtype=np.float32), "o"))
    graph.set_output("out", graph.add("o", FloatLinear(), [context, last], "o"))
    return graph


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("causal", "masked"), [(False, False), (True, False), (False, True), (True, True)])
def test_the_width_of_numerators_survives(bits: int, causal: bool, masked: bool, tmp_path: Path) -> None:
    graph = attention(bits, causal, masked)
    write_pt2(graph, tmp_path / "model.pt2")
    again = recognise(read_pt2(tmp_path / "model.pt2"))
    assert operators(again) == operators(graph)
    sample: dict[str, Array] = {
        "x": np.random.default_rng(3).normal(0, 1, (TOKENS, WIDTH)).astype(np.float32)
    }
    if masked:
        sample["attention_mask"] = (np.arange(TOKENS) < 6).astype(np.int64)[None]
    found, exact = execute(again, sample)["out"], execute(attention(None, causal, masked), sample)["out"]
    # Numerators are off by at most half of 1 / (2^bits - 1) each, their sum of at least 1 likewise; |v| < 9.
    assert 0 < np.abs(found - exact)[:6].max() < 9 * 2 * TOKENS * 0.5 / (2**bits - 1)


def test_other_widths_of_numerators_are_refused() -> None:
    with pytest.raises(
        UnsupportedError, match=r"^float\.attention: found softmax numerators of 12 bits; expected 8 or 16$"
    ):
        attention(12, causal=False, masked=False)
