"""BERT: post-norm encoder over word, position and token-type embeddings (Devlin et al., arXiv:1810.04805).

`BertModel` has one output, chosen by the key `output`: `last_hidden_state` [1, S, C] (the default), `pooler_output`
[1, C] = tanh(W h_0 + b), or `mean_pooling` [1, C], the masked mean that sentence embedders use.
`BertForSequenceClassification` has `logits` [1, labels] = W tanh(W_p h_0 + b_p) + b.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flow.frontend.architectures.config import MAX_LAYERS, ConfigReader
from flow.frontend.architectures.family import Architecture, sequence_length, text_inputs
from flow.frontend.architectures.layers import (
    Encoder,
    EncoderShape,
    TextEmbeddings,
    layer_names,
    linear_names,
    mean_over_tokens,
)

OUTPUTS = {
    "BertModel": ("last_hidden_state", "pooler_output", "mean_pooling"),
    "BertForSequenceClassification": ("logits",),
}

_HEADS = ("cls.", "qa_outputs.", "classifier.", "pooler.")

_LAYER = (
    ("attention.self.query", "self_attn.query", True),
    ("attention.self.key", "self_attn.key", True),
    ("attention.self.value", "self_attn.value", True),
    ("attention.output.dense", "self_attn.out_proj", True),
    ("attention.output.LayerNorm", "norm1", True),
    ("intermediate.dense", "linear1", True),
    ("output.dense", "linear2", True),
    ("output.LayerNorm", "norm2", True),
)


class Bert(nn.Module):
    """The encoder with the head that `output` asks for."""

    def __init__(
        self, embeddings: TextEmbeddings, shape: EncoderShape, layers: int, output: str, labels: int
    ) -> None:
        super().__init__()
        self.output = output
        self.embeddings = embeddings
        self.encoder = Encoder(shape, layers)
        self.pooler = nn.Linear(shape.width, shape.width) if output in ("pooler_output", "logits") else None
        self.classifier = nn.Linear(shape.width, labels) if output == "logits" else None

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        x = self.encoder(self.embeddings(input_ids, token_type_ids), attention_mask)
        if self.output == "mean_pooling":
            x = mean_over_tokens(x, attention_mask)
        if self.pooler is not None:
            x = torch.tanh(self.pooler(x.select(1, 0)))
        if self.classifier is not None:
            x = self.classifier(x)
        return {self.output: x}


def bert(config: Mapping[str, Any], where: str, tensors: Collection[str]) -> Architecture:
    """Build from a Hugging Face BERT configuration.

    Raises:
        FlowError: the configuration has faults; all are listed.
    """
    read = ConfigReader(config, where)
    kind = read.architecture(
        OUTPUTS, "BertForSequenceClassification" if "classifier.weight" in tensors else "BertModel"
    )
    output = read.choice("output", OUTPUTS[kind], OUTPUTS[kind][0])
    shape = EncoderShape(
        width=read.integer("hidden_size"),
        heads=read.integer("num_attention_heads"),
        hidden=read.integer("intermediate_size"),
        activation=read.activation("hidden_act", "gelu"),
        eps=read.positive("layer_norm_eps", 1e-12),
        norm_first=False,
    )
    read.divides("num_attention_heads", shape.heads, "hidden_size", shape.width)
    layers = read.integer("num_hidden_layers", maximum=MAX_LAYERS)
    vocabulary = read.integer("vocab_size")
    positions = read.integer("max_position_embeddings")
    types = read.integer("type_vocab_size", 2)
    length = sequence_length(read, positions)
    inputs = read.names(
        "inputs", ["input_ids"], ["attention_mask", "token_type_ids"], ("input_ids", "attention_mask")
    )
    labels = read.labels()
    read.finish()
    with torch.device("meta"):
        module = Bert(
            TextEmbeddings(vocabulary, positions, types, shape.width, shape.eps),
            shape,
            layers,
            output,
            labels,
        )
    names = {
        "embeddings.word_embeddings.weight": ("embeddings.words.weight",),
        "embeddings.position_embeddings.weight": ("embeddings.positions.weight",),
        "embeddings.token_type_embeddings.weight": ("embeddings.types.weight",),
        **linear_names("embeddings.LayerNorm", "embeddings.norm"),
    }
    for index in range(layers):
        names |= layer_names("encoder.layer", index, _LAYER)
    if module.pooler is not None:
        names |= linear_names("pooler.dense", "pooler")
    if module.classifier is not None:
        names |= linear_names("classifier", "classifier")
    return Architecture(module, names, text_inputs(inputs, length), _HEADS if kind == "BertModel" else ())
