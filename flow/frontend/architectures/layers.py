"""The parts that every family shares: attention, the encoder layer, pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
"""Pointwise functions by the names of `flow.ops.float.ACTIVATIONS`."""


@dataclass(frozen=True)
class EncoderShape:
    """What one encoder layer is: `width` = heads * d channels, an FFN of `hidden` channels, pre- or post-norm.

    `attention_bias` and `bias` say whether the q, k, v projections and the other linear layers (and norms) have biases.
    """

    width: int
    heads: int
    hidden: int
    activation: str
    eps: float
    norm_first: bool
    bias: bool = True
    attention_bias: bool = True


class SelfAttention(nn.Module):
    """y = W_o concat_h softmax(q_h k_h^T / sqrt(d)) v_h + b_o for x [1, S, width], over the keys that are `seen`."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width, bias=shape.attention_bias)
        self.key = nn.Linear(shape.width, shape.width, bias=shape.attention_bias)
        self.value = nn.Linear(shape.width, shape.width, bias=shape.attention_bias)
        self.out_proj = nn.Linear(shape.width, shape.width, bias=shape.bias)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        q, k, v = (self._split(projection(x)) for projection in (self.query, self.key, self.value))
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out_proj(y.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        return x.view(1, x.shape[1], self.heads, -1).transpose(1, 2)


class EncoderLayer(nn.Module):
    """One transformer layer, named as in `nn.TransformerEncoderLayer`.

    Post-norm: x = norm1(x + attention(x)); x = norm2(x + ffn(x)).
    Pre-norm: x = x + attention(norm1(x)); x = x + ffn(norm2(x)).
    ffn(x) = linear2(activation(linear1(x))).
    """

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.norm_first = shape.norm_first
        self.activation = ACTIVATIONS[shape.activation]
        self.self_attn = SelfAttention(shape)
        self.linear1 = nn.Linear(shape.width, shape.hidden, bias=shape.bias)
        self.linear2 = nn.Linear(shape.hidden, shape.width, bias=shape.bias)
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.eps, bias=shape.bias)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.eps, bias=shape.bias)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        if self.norm_first:
            x = x + self.self_attn(self.norm1(x), seen)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self.self_attn(x, seen))
        return self.norm2(x + self._feed_forward(x))  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.activation(self.linear1(x)))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """A stack of layers over x [1, S, width]; `attention_mask` [1, S] is a prefix of ones over the keys that exist."""

    def __init__(self, shape: EncoderShape, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(count))

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        seen = None if attention_mask is None else (attention_mask != 0).view(1, 1, 1, x.shape[1])
        for layer in self.layers:
            x = layer(x, seen)
        return x


class TextEmbeddings(nn.Module):
    """norm(words[ids] + types[type_ids] + positions[0..S-1]); without type ids every token is of type 0."""

    def __init__(self, vocabulary: int, positions: int, types: int, width: int, eps: float) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.types = nn.Embedding(types, width) if types else None
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, ids: Tensor, type_ids: Tensor | None) -> Tensor:
        x = self.words(ids)
        if self.types is not None:
            x = x + (self.types.weight[:1] if type_ids is None else self.types(type_ids))
        return self.norm(x + self.positions.weight[: ids.shape[1]])  # type: ignore[no-any-return]


def mean_over_tokens(x: Tensor, attention_mask: Tensor | None) -> Tensor:
    """[1, S, C] to [1, C]: the mean over the mask's tokens, else over all (spelled as in sentence-transformers)."""
    if attention_mask is None:
        return x.mean(1)
    weights = attention_mask.unsqueeze(-1).float()
    return torch.sum(x * weights, 1) / torch.clamp(weights.sum(1), min=1e-9)


def linear_names(checkpoint: str, ours: str, biased: bool = True) -> dict[str, tuple[str, ...]]:
    """Names of one linear or norm layer's tensors."""
    return {
        f"{checkpoint}.{leaf}": (f"{ours}.{leaf}",)
        for leaf in (("weight", "bias") if biased else ("weight",))
    }


def layer_names(
    prefix: str, index: int, parts: Sequence[tuple[str, str, bool]]
) -> dict[str, tuple[str, ...]]:
    """Names of the tensors of layer `index`: (checkpoint name below `prefix`, our name below the layer, biased)."""
    names: dict[str, tuple[str, ...]] = {}
    for theirs, ours, biased in parts:
        names |= linear_names(f"{prefix}.{index}.{theirs}", f"encoder.layers.{index}.{ours}", biased)
    return names
