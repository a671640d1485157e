"""DistilBERT: BERT without token types and pooler (Sanh et al., arXiv:1910.01108).

`DistilBertModel` has one output, chosen by the key `output`: `last_hidden_state` [1, S, C] (the default) or
`mean_pooling` [1, C]. `DistilBertForSequenceClassification` has `logits` [1, labels] = W relu(W_p h_0 + b_p) + b.
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
    "DistilBertModel": ("last_hidden_state", "mean_pooling"),
    "DistilBertForSequenceClassification": ("logits",),
}

EPSILON = 1e-12
"""Fixed by the family: its configurations have no key for it."""

_HEADS = (
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "qa_outputs.",
    "pre_classifier.",
    "classifier.",
)

_LAYER = (
    ("attention.q_lin", "self_attn.query", True),
    ("attention.k_lin", "self_attn.key", True),
    ("attention.v_lin", "self_attn.value", True),
    ("attention.out_lin", "self_attn.out_proj", True),
    ("sa_layer_norm", "norm1", True),
    ("ffn.lin1", "linear1", True),
    ("ffn.lin2", "linear2", True),
    ("output_layer_norm", "norm2", True),
)


class DistilBert(nn.Module):
    """The encoder with the head that `output` asks for."""

    def __init__(
        self, embeddings: TextEmbeddings, shape: EncoderShape, layers: int, output: str, labels: int
    ) -> None:
        super().__init__()
        self.output = output
        self.embeddings = embeddings
        self.encoder = Encoder(shape, layers)
        self.pre_classifier = nn.Linear(shape.width, shape.width) if output == "logits" else None
        self.classifier = nn.Linear(shape.width, labels) if output == "logits" else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        x = self.encoder(self.embeddings(input_ids, None), attention_mask)
        if self.output == "mean_pooling":
            x = mean_over_tokens(x, attention_mask)
        if self.pre_classifier is not None and self.classifier is not None:
            x = self.classifier(torch.relu(self.pre_classifier(x.select(1, 0))))
        return {self.output: x}


def distilbert(config: Mapping[str, Any], where: str, tensors: Collection[str]) -> Architecture:
    """Build from a Hugging Face DistilBERT configuration.

    Raises:
        FlowError: the configuration has faults; all are listed.
    """
    read = ConfigReader(config, where)
    kind = read.architecture(
        OUTPUTS,
        "DistilBertForSequenceClassification" if "classifier.weight" in tensors else "DistilBertModel",
    )
    output = read.choice("output", OUTPUTS[kind], OUTPUTS[kind][0])
    shape = EncoderShape(
        width=read.integer("dim"),
        heads=read.integer("n_heads"),
        hidden=read.integer("hidden_dim"),
        activation=read.activation("activation", "gelu"),
        eps=EPSILON,
        norm_first=False,
    )
    read.divides("n_heads", shape.heads, "dim", shape.width)
    layers = read.integer("n_layers", maximum=MAX_LAYERS)
    vocabulary = read.integer("vocab_size")
    positions = read.integer("max_position_embeddings")
    length = sequence_length(read, positions)
    inputs = read.names("inputs", ["input_ids"], ["attention_mask"], ("input_ids", "attention_mask"))
    labels = read.labels()
    read.finish()
    with torch.device("meta"):
        module = DistilBert(
            TextEmbeddings(vocabulary, positions, 0, shape.width, shape.eps), shape, layers, output, labels
        )
    names = {
        "embeddings.word_embeddings.weight": ("embeddings.words.weight",),
        "embeddings.position_embeddings.weight": ("embeddings.positions.weight",),
        **linear_names("embeddings.LayerNorm", "embeddings.norm"),
    }
    for index in range(layers):
        names |= layer_names("transformer.layer", index, _LAYER)
    if output == "logits":
        names |= linear_names("pre_classifier", "pre_classifier") | linear_names("classifier", "classifier")
    return Architecture(
        module, names, text_inputs(inputs, length), _HEADS if kind == "DistilBertModel" else ()
    )
