"""`nn.TransformerEncoder` from its state_dict, with this configuration (a star marks the keys that must be there):

    {"model_type": "torch_encoder",
     "d_model": 64, "nhead": 4, "num_layers": 2, "dim_feedforward": 256,   *
     "sequence_length": 17,                                               *
     "activation": "relu", "norm_first": false, "layer_norm_eps": 1e-5,   as in nn.TransformerEncoderLayer
     "bias": true,                                                        biases of every linear layer and norm
     "final_norm": false,                                                 the `norm` argument of nn.TransformerEncoder
     "inputs": ["src"],                                                   add "attention_mask" for shorter sequences
     "output": "last_hidden_state"}                                       or "mean_pooling"

The input `src` is [1, S, d_model] float32; the output is [1, S, d_model] or, pooled, [1, d_model].
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flow.frontend.architectures.config import MAX_LAYERS, MAX_TOKENS, ConfigReader
from flow.frontend.architectures.family import Architecture, text_inputs
from flow.frontend.architectures.layers import (
    Encoder,
    EncoderShape,
    layer_names,
    linear_names,
    mean_over_tokens,
)


class TorchEncoder(nn.Module):
    """What `nn.TransformerEncoder(nn.TransformerEncoderLayer(..., batch_first=True))` computes."""

    def __init__(self, shape: EncoderShape, layers: int, final_norm: bool, output: str) -> None:
        super().__init__()
        self.output = output
        self.encoder = Encoder(shape, layers)
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps, bias=shape.bias) if final_norm else None

    def forward(self, src: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        x = self.encoder(src, attention_mask)
        if self.norm is not None:
            x = self.norm(x)
        if self.output == "mean_pooling":
            x = mean_over_tokens(x, attention_mask)
        return {self.output: x}


def torch_encoder(config: Mapping[str, Any], where: str, _tensors: Collection[str]) -> Architecture:
    """Build from the configuration in this module's docstring.

    Raises:
        FlowError: the configuration has faults; all are listed.
    """
    read = ConfigReader(config, where)
    output = read.choice("output", ("last_hidden_state", "mean_pooling"), "last_hidden_state")
    biased = read.flag("bias", True)
    shape = EncoderShape(
        width=read.integer("d_model"),
        heads=read.integer("nhead"),
        hidden=read.integer("dim_feedforward"),
        activation=read.activation("activation", "relu"),
        eps=read.positive("layer_norm_eps", 1e-5),
        norm_first=read.flag("norm_first", False),
        bias=biased,
        attention_bias=biased,
    )
    read.divides("nhead", shape.heads, "d_model", shape.width)
    layers = read.integer("num_layers", maximum=MAX_LAYERS)
    length = read.integer("sequence_length", maximum=MAX_TOKENS)
    final_norm = read.flag("final_norm", False)
    names_in = read.names("inputs", ["src"], ["attention_mask"], ("src",))
    read.finish()
    with torch.device("meta"):
        module = TorchEncoder(shape, layers, final_norm, output)
    inputs = text_inputs(names_in, length) | {"src": torch.empty(1, length, shape.width, device="meta")}
    return Architecture(module, _names(layers, biased, final_norm), inputs)


def _names(layers: int, biased: bool, final_norm: bool) -> dict[str, tuple[str, ...]]:
    same = ("linear1", "linear2", "norm1", "norm2")
    parts = (("self_attn.out_proj", "self_attn.out_proj", biased), *((part, part, biased) for part in same))
    names: dict[str, tuple[str, ...]] = {}
    for index in range(layers):
        for leaf in ("weight", "bias") if biased else ("weight",):
            packed = tuple(
                f"encoder.layers.{index}.self_attn.{part}.{leaf}" for part in ("query", "key", "value")
            )
            names[f"layers.{index}.self_attn.in_proj_{leaf}"] = packed
        names |= layer_names("layers", index, parts)
    return names | (linear_names("norm", "norm", biased) if final_norm else {})
