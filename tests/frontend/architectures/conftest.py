"""Hand-made checkpoints with the published tensor names, and the arithmetic they stand for, spelled out in torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

WIDTH, HEADS, HIDDEN, LAYERS, TOKENS = 60, 5, 84, 2, 7
EPS = 0.05
"""Large, so that a lost or wrong epsilon shows."""

IMAGE, PATCH, PATCHES = (6, 8), (3, 2), 8

Tensors = dict[str, Tensor]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "gelu_pytorch_tanh": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "relu": lambda x: x.clamp(min=0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: 1 - 2 / (torch.exp(2 * x) + 1),
}


class Draw:
    """Seeded weights by name."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.tensors: Tensors = {}

    def add(self, name: str, *shape: int) -> None:
        self.tensors[name] = torch.randn(*shape, generator=self.generator) * 0.3

    def linear(self, name: str, outputs: int, inputs: int, bias: bool = True) -> None:
        self.add(f"{name}.weight", outputs, inputs)
        if bias:
            self.add(f"{name}.bias", outputs)

    def norm(self, name: str, leaves: tuple[str, str] = ("weight", "bias")) -> None:
        self.add(f"{name}.{leaves[0]}", WIDTH)
        self.tensors[f"{name}.{leaves[0]}"] += 1
        self.add(f"{name}.{leaves[1]}", WIDTH)


class Zoo:
    """Configurations, tensors, inputs and files of small models."""

    WIDTH, HEADS, HIDDEN, LAYERS, TOKENS = WIDTH, HEADS, HIDDEN, LAYERS, TOKENS
    EPS = EPS

    @staticmethod
    def without(tensors: Tensors, *starts: str) -> Tensors:
        return {name: tensor for name, tensor in tensors.items() if not name.startswith(starts)}

    @staticmethod
    def bert_config(**changes: Any) -> dict[str, Any]:
        return {
            "model_type": "bert",
            "architectures": ["BertModel"],
            "hidden_size": WIDTH,
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "intermediate_size": HIDDEN,
            "hidden_act": "gelu",
            "layer_norm_eps": EPS,
            "max_position_embeddings": 9,
            "vocab_size": 37,
            "type_vocab_size": 3,
            "sequence_length": TOKENS,
        } | changes

    @staticmethod
    def bert_tensors(prefix: str = "", leaves: tuple[str, str] = ("weight", "bias")) -> Tensors:
        draw = Draw()
        draw.add(f"{prefix}embeddings.word_embeddings.weight", 37, WIDTH)
        draw.add(f"{prefix}embeddings.position_embeddings.weight", 9, WIDTH)
        draw.add(f"{prefix}embeddings.token_type_embeddings.weight", 3, WIDTH)
        draw.norm(f"{prefix}embeddings.LayerNorm", leaves)
        for i in range(LAYERS):
            layer = f"{prefix}encoder.layer.{i}"
            for part in ("query", "key", "value"):
                draw.linear(f"{layer}.attention.self.{part}", WIDTH, WIDTH)
            draw.linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
            draw.norm(f"{layer}.attention.output.LayerNorm", leaves)
            draw.linear(f"{layer}.intermediate.dense", HIDDEN, WIDTH)
            draw.linear(f"{layer}.output.dense", WIDTH, HIDDEN)
            draw.norm(f"{layer}.output.LayerNorm", leaves)
        draw.linear(f"{prefix}pooler.dense", WIDTH, WIDTH)
        draw.linear("classifier", 4, WIDTH)
        return draw.tensors

    @staticmethod
    def text(length: int = TOKENS, vocabulary: int = 37) -> dict[str, Tensor]:
        ids = torch.randint(vocabulary, (1, TOKENS), generator=torch.Generator().manual_seed(3))
        return {"input_ids": ids, "attention_mask": (torch.arange(TOKENS)[None] < length).long()}

    @staticmethod
    def distilbert_config(**changes: Any) -> dict[str, Any]:
        return {
            "model_type": "distilbert",
            "architectures": ["DistilBertForSequenceClassification"],
            "dim": WIDTH,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "hidden_dim": HIDDEN,
            "activation": "gelu",
            "max_position_embeddings": 9,
            "vocab_size": 37,
            "num_labels": 4,
            "sequence_length": TOKENS,
        } | changes

    @staticmethod
    def distilbert_tensors() -> Tensors:
        draw = Draw(1)
        draw.add("distilbert.embeddings.word_embeddings.weight", 37, WIDTH)
        draw.add("distilbert.embeddings.position_embeddings.weight", 9, WIDTH)
        draw.norm("distilbert.embeddings.LayerNorm")
        for i in range(LAYERS):
            layer = f"distilbert.transformer.layer.{i}"
            for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
                draw.linear(f"{layer}.attention.{part}", WIDTH, WIDTH)
            draw.norm(f"{layer}.sa_layer_norm")
            draw.linear(f"{layer}.ffn.lin1", HIDDEN, WIDTH)
            draw.linear(f"{layer}.ffn.lin2", WIDTH, HIDDEN)
            draw.norm(f"{layer}.output_layer_norm")
        draw.linear("pre_classifier", WIDTH, WIDTH)
        draw.linear("classifier", 4, WIDTH)
        return draw.tensors

    @staticmethod
    def vit_config(**changes: Any) -> dict[str, Any]:
        return {
            "model_type": "vit",
            "hidden_size": WIDTH,
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "intermediate_size": HIDDEN,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": EPS,
            "image_size": list(IMAGE),
            "patch_size": list(PATCH),
            "num_channels": 2,
            "num_labels": 4,
        } | changes

    @staticmethod
    def vit_tensors(
        prefix: str = "vit.", extra: int = 1, biased: bool = True, heads: tuple[str, ...] = ("classifier",)
    ) -> Tensors:
        draw = Draw(2)
        draw.add(f"{prefix}embeddings.cls_token", 1, 1, WIDTH)
        if extra == 2:
            draw.add(f"{prefix}embeddings.distillation_token", 1, 1, WIDTH)
        draw.add(f"{prefix}embeddings.position_embeddings", 1, PATCHES + extra, WIDTH)
        draw.add(f"{prefix}embeddings.patch_embeddings.projection.weight", WIDTH, 2, *PATCH)
        draw.add(f"{prefix}embeddings.patch_embeddings.projection.bias", WIDTH)
        for i in range(LAYERS):
            layer = f"{prefix}encoder.layer.{i}"
            for part in ("query", "key", "value"):
                draw.linear(f"{layer}.attention.attention.{part}", WIDTH, WIDTH, biased)
            draw.linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
            draw.norm(f"{layer}.layernorm_before")
            draw.norm(f"{layer}.layernorm_after")
            draw.linear(f"{layer}.intermediate.dense", HIDDEN, WIDTH)
            draw.linear(f"{layer}.output.dense", WIDTH, HIDDEN)
        draw.norm(f"{prefix}layernorm")
        draw.linear(f"{prefix}pooler.dense", WIDTH, WIDTH)
        for head in heads:
            draw.linear(head, 4, WIDTH)
        return draw.tensors

    @staticmethod
    def pixels() -> Tensor:
        return torch.randn(1, 2, *IMAGE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    @staticmethod
    def encoder_config(**changes: Any) -> dict[str, Any]:
        return {
            "model_type": "torch_encoder",
            "d_model": WIDTH,
            "nhead": HEADS,
            "num_layers": LAYERS,
            "dim_feedforward": HIDDEN,
            "layer_norm_eps": EPS,
            "sequence_length": TOKENS,
        } | changes

    @staticmethod
    def torch_encoder(
        norm_first: bool, bias: bool, final_norm: bool, activation: str
    ) -> nn.TransformerEncoder:
        torch.manual_seed(7)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, 0.0, activation, EPS, batch_first=True, norm_first=norm_first, bias=bias
        )
        norm = nn.LayerNorm(WIDTH, EPS, bias=bias) if final_norm else None
        encoder = nn.TransformerEncoder(layer, LAYERS, norm, enable_nested_tensor=False).eval()
        for parameter in encoder.parameters():  # the layers start as copies of one, with zero biases
            nn.init.normal_(parameter, 0.2, 0.3)
        return encoder

    @staticmethod
    def write(directory: Path, config: dict[str, Any], tensors: Tensors, how: str) -> tuple[Path, Path]:
        """(checkpoint, config.json) in one of three containers."""
        directory.mkdir(exist_ok=True)
        path = directory / "model.bin"
        if how == "safetensors":
            safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
        else:
            torch.save(tensors, path, _use_new_zipfile_serialization=how == "zip")
        (directory / "config.json").write_text(json.dumps(config))
        return path, directory / "config.json"


class Reference:
    """What the families compute, in float64 and as literally as torch allows."""

    DOUBLE = 1e-11
    """Bound on float64 results of order 1: two summation orders of at most 84 terms, some 20 operators deep, differ by
    less than 84 * 20 * 2^-53 * (condition, <= 50)."""

    SINGLE = 1e-4
    """The same in float32: 84 * 20 * 2^-24 at worst; typical is 1e-6."""

    ACTIVATIONS = ACTIVATIONS

    @staticmethod
    def close(found: Tensor, expected: Tensor, tolerance: float = 1e-11) -> bool:
        assert found.shape == expected.shape
        assert float(expected.detach().abs().max()) > 0.1
        return bool((found - expected).abs().max() <= tolerance)

    @staticmethod
    def layer(
        tensors: Tensors,
        names: dict[str, str],
        activation: Callable[[Tensor], Tensor],
        norm_first: bool,
        biased: bool = True,
    ) -> nn.TransformerEncoderLayer:
        """Torch's own encoder layer in float64, filled from checkpoint tensors by part."""
        layer = nn.TransformerEncoderLayer(
            WIDTH,
            HEADS,
            HIDDEN,
            0.0,
            activation,
            EPS,
            batch_first=True,
            norm_first=norm_first,
            dtype=torch.float64,
        )
        state = {}
        for leaf in ("weight", "bias"):
            for part, name in names.items():
                value = tensors.get(f"{name}.{leaf}", torch.zeros(WIDTH))
                state[f"{part}.{leaf}"] = value.double()
            packed = [state.pop(f"{part}.{leaf}") for part in ("query", "key", "value")]
            state[f"self_attn.in_proj_{leaf}"] = torch.cat(packed)
        assert biased or float(state["self_attn.in_proj_bias"].abs().sum()) == 0
        layer.load_state_dict(state)
        return layer.eval()

    @staticmethod
    def _bert_names(i: int) -> dict[str, str]:
        layer = f"encoder.layer.{i}"
        return {
            "query": f"{layer}.attention.self.query",
            "key": f"{layer}.attention.self.key",
            "value": f"{layer}.attention.self.value",
            "self_attn.out_proj": f"{layer}.attention.output.dense",
            "norm1": f"{layer}.attention.output.LayerNorm",
            "linear1": f"{layer}.intermediate.dense",
            "linear2": f"{layer}.output.dense",
            "norm2": f"{layer}.output.LayerNorm",
        }

    @staticmethod
    def norm(x: Tensor, tensors: Tensors, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        y = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + EPS)
        return y * tensors[f"{name}.weight"].double() + tensors[f"{name}.bias"].double()

    @staticmethod
    def linear(x: Tensor, tensors: Tensors, name: str) -> Tensor:
        return x @ tensors[f"{name}.weight"].double().T + tensors[f"{name}.bias"].double()

    @staticmethod
    def attention(x: Tensor, tensors: Tensors, names: list[str], length: int) -> Tensor:
        """Attention head by head, in the most literal way."""
        q, k, v = (Reference.linear(x, tensors, name) for name in names[:3])
        depth = WIDTH // HEADS
        heads = []
        for h in range(HEADS):
            part = slice(h * depth, (h + 1) * depth)
            scores = q[..., part] @ k[..., part].transpose(-1, -2) / depth**0.5
            scores[..., length:] = -torch.inf
            heads.append(torch.softmax(scores, -1) @ v[..., part])
        return Reference.linear(torch.cat(heads, -1), tensors, names[3])

    @staticmethod
    def bert(tensors: Tensors, ids: Tensor, length: int, types: Tensor, activation: str = "gelu") -> Tensor:
        table = {key: value.double() for key, value in tensors.items()}
        x = torch.stack(
            [
                table["embeddings.word_embeddings.weight"][ids[0, s]]
                + table["embeddings.position_embeddings.weight"][s]
                + table["embeddings.token_type_embeddings.weight"][types[0, s]]
                for s in range(TOKENS)
            ]
        )[None]
        x = Reference.norm(x, tensors, "embeddings.LayerNorm")
        padding = torch.arange(TOKENS)[None] >= length
        for i in range(LAYERS):
            layer = Reference.layer(
                tensors, Reference._bert_names(i), ACTIVATIONS[activation], norm_first=False
            )
            x = layer(x, src_key_padding_mask=padding)
        return x

    @staticmethod
    def vit(tensors: Tensors, pixels: Tensor, extra: int = 1) -> Tensor:
        """Patches cut out one by one, then torch's own pre-norm layers and the final norm."""
        table = {key: value.double() for key, value in tensors.items()}
        kernel = table["embeddings.patch_embeddings.projection.weight"].reshape(WIDTH, -1)
        rows = [table["embeddings.cls_token"][0, 0]]
        if extra == 2:
            rows.append(table["embeddings.distillation_token"][0, 0])
        for top in range(0, IMAGE[0], PATCH[0]):
            for left in range(0, IMAGE[1], PATCH[1]):
                patch = pixels[0, :, top : top + PATCH[0], left : left + PATCH[1]].reshape(-1)
                rows.append(kernel @ patch + table["embeddings.patch_embeddings.projection.bias"])
        x = torch.stack(rows)[None] + table["embeddings.position_embeddings"]
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            names = {
                "query": f"{layer}.attention.attention.query",
                "key": f"{layer}.attention.attention.key",
                "value": f"{layer}.attention.attention.value",
                "self_attn.out_proj": f"{layer}.attention.output.dense",
                "norm1": f"{layer}.layernorm_before",
                "linear1": f"{layer}.intermediate.dense",
                "linear2": f"{layer}.output.dense",
                "norm2": f"{layer}.layernorm_after",
            }
            x = Reference.layer(tensors, names, ACTIVATIONS["gelu_pytorch_tanh"], norm_first=True)(x)
        return Reference.norm(x, tensors, "layernorm")


@pytest.fixture
def zoo() -> type[Zoo]:
    """Small models."""
    return Zoo


@pytest.fixture
def reference() -> type[Reference]:
    """Their definitions."""
    return Reference
