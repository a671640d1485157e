"""ViT (Dosovitskiy et al., arXiv:2010.11929) and DeiT (Touvron et al., arXiv:2012.12877): pre-norm, over image patches.

Tokens are the class token, for DeiT the distillation token, and the patches in row-major order. `ViTModel` and
`DeiTModel` have one output, chosen by the key `output`: `last_hidden_state` [1, S, C] after the final norm (the
default) or `pooler_output` [1, C] = tanh(W h_0 + b). The classifiers have `logits` [1, labels]; with a teacher they are
the mean of the heads on both tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flow.frontend.architectures.config import MAX_LAYERS, ConfigReader
from flow.frontend.architectures.family import Architecture
from flow.frontend.architectures.layers import Encoder, EncoderShape, layer_names, linear_names

_ENCODER = ("last_hidden_state", "pooler_output")
VIT_OUTPUTS = {"ViTModel": _ENCODER, "ViTForImageClassification": ("logits",)}
DEIT_OUTPUTS = {
    "DeiTModel": _ENCODER,
    "DeiTForImageClassification": ("logits",),
    "DeiTForImageClassificationWithTeacher": ("logits",),
}

_HEADS = ("pooler.", "classifier.", "cls_classifier.", "distillation_classifier.", "decoder.")


@dataclass(frozen=True)
class Patches:
    """How an image [1, channels, H, W] becomes tokens: `extra` learned ones, then patches of `patch` = (h, w)."""

    channels: int
    image: tuple[int, int]
    patch: tuple[int, int]
    extra: int

    @property
    def tokens(self) -> int:
        """Sequence length, extra tokens included."""
        return (self.image[0] // self.patch[0]) * (self.image[1] // self.patch[1]) + self.extra


class PatchEmbeddings(nn.Module):
    """[1, channels, H, W] to [1, S, C]: a convolution of stride = kernel, learned tokens in front, a position table."""

    def __init__(self, patches: Patches, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, width)) if patches.extra == 2 else None
        self.positions = nn.Parameter(torch.zeros(1, patches.tokens, width))
        self.projection = nn.Conv2d(patches.channels, width, kernel_size=patches.patch, stride=patches.patch)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.projection(pixels).flatten(2).transpose(1, 2)
        learned = (
            [self.cls_token] if self.distillation_token is None else [self.cls_token, self.distillation_token]
        )
        return torch.cat([*learned, x], dim=1) + self.positions


class VisionTransformer(nn.Module):
    """The encoder with the head that `output` asks for; `teacher` adds a head on the distillation token."""

    def __init__(
        self, patches: Patches, shape: EncoderShape, layers: int, output: str, labels: int, teacher: bool
    ) -> None:
        super().__init__()
        self.output = output
        self.embeddings = PatchEmbeddings(patches, shape.width)
        self.encoder = Encoder(shape, layers)
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps)
        self.pooler = nn.Linear(shape.width, shape.width) if output == "pooler_output" else None
        self.classifier = nn.Linear(shape.width, labels) if output == "logits" else None
        self.distillation_classifier = nn.Linear(shape.width, labels) if teacher else None

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        x = self.norm(self.encoder(self.embeddings(pixel_values)))
        if self.pooler is not None:
            return {self.output: torch.tanh(self.pooler(x.select(1, 0)))}
        if self.classifier is None:
            return {self.output: x}
        logits = self.classifier(x.select(1, 0))
        if self.distillation_classifier is not None:
            logits = (logits + self.distillation_classifier(x.select(1, 1))) / 2
        return {self.output: logits}


def vit(config: Mapping[str, Any], where: str, tensors: Collection[str]) -> Architecture:
    """Build from a Hugging Face ViT configuration.

    Raises:
        FlowError: the configuration has faults; all are listed.
    """
    return _build(
        config,
        where,
        VIT_OUTPUTS,
        "ViTForImageClassification" if "classifier.weight" in tensors else "ViTModel",
        1,
    )


def deit(config: Mapping[str, Any], where: str, tensors: Collection[str]) -> Architecture:
    """Build from a Hugging Face DeiT configuration.

    Raises:
        FlowError: the configuration has faults; all are listed.
    """
    heads = {
        "cls_classifier.weight": "DeiTForImageClassificationWithTeacher",
        "classifier.weight": "DeiTForImageClassification",
    }
    inferred = next((kind for name, kind in heads.items() if name in tensors), "DeiTModel")
    return _build(config, where, DEIT_OUTPUTS, inferred, 2)


def _build(
    config: Mapping[str, Any], where: str, outputs: Mapping[str, tuple[str, ...]], inferred: str, extra: int
) -> Architecture:
    read = ConfigReader(config, where)
    kind = read.architecture(outputs, inferred)
    output = read.choice("output", outputs[kind], outputs[kind][0])
    biased = read.flag("qkv_bias", True)
    shape = EncoderShape(
        width=read.integer("hidden_size"),
        heads=read.integer("num_attention_heads"),
        hidden=read.integer("intermediate_size"),
        activation=read.activation("hidden_act", "gelu"),
        eps=read.positive("layer_norm_eps", 1e-12),
        norm_first=True,
        attention_bias=biased,
    )
    read.divides("num_attention_heads", shape.heads, "hidden_size", shape.width)
    layers = read.integer("num_hidden_layers", maximum=MAX_LAYERS)
    patches = Patches(
        read.integer("num_channels", 3), read.pair("image_size"), read.pair("patch_size"), extra
    )
    for size, patch in zip(patches.image, patches.patch, strict=True):
        read.divides("patch_size", patch, "image_size", size)
    if output == "pooler_output":
        read.choice("pooler_act", ["tanh"], "tanh")
    labels = read.labels()
    read.finish()
    teacher = kind.endswith("WithTeacher")
    with torch.device("meta"):
        module = VisionTransformer(patches, shape, layers, output, labels, teacher)
    names = _names(module, layers, biased)
    inputs = {"pixel_values": torch.empty(1, patches.channels, *patches.image, device="meta")}
    unused = ("embeddings.mask_token", *(_HEADS if kind in ("ViTModel", "DeiTModel") else ()))
    return Architecture(module, names, inputs, unused)


def _names(module: VisionTransformer, layers: int, biased: bool) -> dict[str, tuple[str, ...]]:
    parts = (
        ("attention.attention.query", "self_attn.query", biased),
        ("attention.attention.key", "self_attn.key", biased),
        ("attention.attention.value", "self_attn.value", biased),
        ("attention.output.dense", "self_attn.out_proj", True),
        ("layernorm_before", "norm1", True),
        ("intermediate.dense", "linear1", True),
        ("output.dense", "linear2", True),
        ("layernorm_after", "norm2", True),
    )
    names = {
        "embeddings.cls_token": ("embeddings.cls_token",),
        "embeddings.position_embeddings": ("embeddings.positions",),
        **linear_names("embeddings.patch_embeddings.projection", "embeddings.projection"),
        **linear_names("layernorm", "norm"),
    }
    if module.embeddings.distillation_token is not None:
        names["embeddings.distillation_token"] = ("embeddings.distillation_token",)
    for index in range(layers):
        names |= layer_names("encoder.layer", index, parts)
    if module.pooler is not None:
        names |= linear_names("pooler.dense", "pooler")
    if module.classifier is not None:
        names |= linear_names(
            "classifier" if module.distillation_classifier is None else "cls_classifier", "classifier"
        )
    if module.distillation_classifier is not None:
        names |= linear_names("distillation_classifier", "distillation_classifier")
    return names
