"""The torch modules of random transformers, each choice of a `Spec` spelled as somebody spells it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from torch import Tensor, nn

from tests.transformers.specs import PATCH, Spec

VOCABULARY, CLASSES, CHANNELS = 50, 7, 3


def gelu_spelled(x: Tensor) -> Tensor:
    """As in the first BERT."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tanh_spelled(x: Tensor) -> Tensor:
    """As in GPT-2."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def gelu_tanh(x: Tensor) -> Tensor:
    """Torch's own approximation."""
    return F.gelu(x, approximate="tanh")


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "gelu": F.gelu, "gelu_tanh": gelu_tanh, "gelu_spelled": gelu_spelled,
    "gelu_tanh_spelled": gelu_tanh_spelled, "silu": F.silu, "tanh": torch.tanh,
}  # fmt: skip


class SpelledRms(nn.Module):
    """RMSNorm as in Llama."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Conv1d(nn.Module):
    """GPT-2's linear layer: the weight is stored transposed."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=bias)

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], self.weight.shape[1])


def make_norm(spec: Spec) -> nn.Module:
    if spec.norm == "rms":
        return nn.RMSNorm(spec.width, eps=spec.eps)
    if spec.norm == "rms_spelled":
        return SpelledRms(spec.width, spec.eps)
    return nn.LayerNorm(
        spec.width, eps=spec.eps, bias=spec.bias, elementwise_affine=spec.norm != "layer_bare"
    )


class Masks(nn.Module):
    """Attention's mask in each of its spellings; `hidden` is the same as torch's modules want it."""

    lower: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("lower", torch.tril(torch.ones(spec.tokens, spec.tokens, dtype=torch.bool)))

    def seen(self, attention_mask: Tensor | None) -> Tensor | None:
        """True where a key is seen, broadcast to [1, h, S, S]."""
        seen = None if attention_mask is None else attention_mask[:, None, None, :] != 0
        if self.spec.causal:
            seen = self.lower[None, None] if seen is None else seen & self.lower[None, None]
        return seen

    def forward(self, attention_mask: Tensor | None) -> Tensor | None:
        """The mask for the spec's form: bool, or additive with -inf or the lowest float."""
        form = self.spec.mask_form
        if form == "bool" or (self.spec.mask == "none"):
            return self.seen(attention_mask)
        low = -math.inf if form == "infinite" else torch.finfo(torch.float32).min
        if form == "lowest" and attention_mask is not None and not self.spec.causal:
            return (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * low  # as in BERT
        seen = self.seen(attention_mask)
        assert seen is not None
        return torch.zeros(seen.shape).masked_fill(~seen, low)


class Attention(nn.Module):
    """Self-attention in every spelling but torch's modules'."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec, width = spec, spec.width
        make = Conv1d if spec.packing == "conv1d" else nn.Linear
        if spec.packing == "separate":
            self.query, self.key, self.value = (nn.Linear(width, width, bias=spec.bias) for _ in range(3))
        else:
            self.packed = make(width, 3 * width, bias=spec.bias)
        self.output = make(width, width, bias=spec.bias)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v as [1, h, S, d]."""
        batch, tokens, width = x.shape
        heads = self.spec.heads
        if self.spec.packing == "unbound":
            packed = self.packed(x).reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            q, k, v = packed.unbind(0)
            return q, k, v
        if self.spec.packing == "separate":
            parts = [self.query(x), self.key(x), self.value(x)]
        else:
            parts = list(self.packed(x).split(width, dim=2))
        q, k, v = (part.view(batch, tokens, heads, width // heads).transpose(1, 2) for part in parts)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        spec, scale = self.spec, 1.0 / math.sqrt(q.shape[-1])
        if spec.attention == "sdpa":
            if spec.mask == "causal" and spec.mask_form == "bool":
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        if spec.attention == "scaled_query":
            scores = torch.matmul(q * scale, k.transpose(-1, -2))
        elif spec.attention == "scaled_scores":
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        else:
            scores = (q * math.sqrt(scale)) @ (k * math.sqrt(scale)).transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        return scores.softmax(dim=-1) @ v

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        context = self.attend(*self.project(x), mask)
        return torch.as_tensor(self.output(context.transpose(1, 2).reshape(x.shape)))


class TorchAttention(nn.Module):
    """`nn.MultiheadAttention`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.inner = nn.MultiheadAttention(spec.width, spec.heads, bias=spec.bias, batch_first=True)
        self.masks = Masks(spec)

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        hidden = None if attention_mask is None else attention_mask == 0
        later = ~self.masks.lower if self.spec.causal else None
        result, _ = self.inner(x, x, x, key_padding_mask=hidden, attn_mask=later, need_weights=False)
        return torch.as_tensor(result)


class Block(nn.Module):
    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.attention = TorchAttention(spec) if spec.attention == "module" else Attention(spec)
        self.norm1, self.norm2 = make_norm(spec), make_norm(spec)
        make = Conv1d if spec.packing == "conv1d" else nn.Linear
        self.up = make(spec.width, spec.hidden, bias=spec.bias)
        self.down = make(spec.hidden, spec.width, bias=spec.bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        function = FUNCTIONS[self.spec.activation]
        if self.spec.pre_norm:
            x = x + self.attention(self.norm1(x), mask)
            return x + torch.as_tensor(self.down(function(self.up(self.norm2(x)))))
        x = self.norm1(x + self.attention(x, mask))
        return torch.as_tensor(self.norm2(x + self.down(function(self.up(x)))))


class Blocks(nn.Module):
    """The encoder of blocks of our own."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.masks = Masks(spec)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.norm = make_norm(spec) if spec.final_norm else nn.Identity()

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        mask = attention_mask if self.spec.attention == "module" else self.masks(attention_mask)
        for block in self.blocks:
            x = block(x, mask)
        return torch.as_tensor(self.norm(x))


class TorchEncoder(nn.Module):
    """`nn.TransformerEncoder`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        layer = nn.TransformerEncoderLayer(
            spec.width, spec.heads, spec.hidden, activation=FUNCTIONS[spec.activation], layer_norm_eps=spec.eps,
            batch_first=True, norm_first=spec.pre_norm, bias=spec.bias,
        )  # fmt: skip
        norm = make_norm(spec) if spec.final_norm else None
        self.inner = nn.TransformerEncoder(layer, spec.layers, norm=norm, enable_nested_tensor=False)
        self.masks = Masks(spec)

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        hidden = None if attention_mask is None else attention_mask == 0
        later = ~self.masks.lower if self.spec.causal else None
        return torch.as_tensor(
            self.inner(x, mask=later, src_key_padding_mask=hidden, is_causal=self.spec.causal)
        )


class Encoder(nn.Module):
    """Encoder and head; a front end turns its input to [1, S, C] first."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = TorchEncoder(spec) if spec.attention == "encoder" else Blocks(spec)
        if spec.head in ("token_logits", "classifier", "pooler"):
            self.classifier = nn.Linear(spec.width, CLASSES, bias=spec.bias)
        if spec.head == "pooler":
            self.pooler = nn.Linear(spec.width, spec.width)

    def pooled(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        if self.spec.pool == "first":
            return x[:, 0]
        if attention_mask is None:
            return x.mean(dim=1)
        weight = attention_mask.unsqueeze(-1).to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1e-9)

    def encode(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        x = self.encoder(x, attention_mask)
        match self.spec.head:
            case "tokens":
                return x
            case "token_logits":
                return torch.as_tensor(self.classifier(x))
            case "pooled":
                return self.pooled(x, attention_mask)
            case "normalized":
                return F.normalize(self.pooled(x, attention_mask), dim=1)
            case "classifier":
                return torch.as_tensor(self.classifier(self.pooled(x, attention_mask)))
        return torch.as_tensor(self.classifier(torch.tanh(self.pooler(self.pooled(x, attention_mask)))))


class Rows(Encoder):
    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.encode(x, attention_mask)


class Ids(Encoder):
    position_ids: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.words = nn.Embedding(VOCABULARY, spec.width)
        self.positions = nn.Embedding(spec.tokens + 3, spec.width)
        self.register_buffer("position_ids", torch.arange(spec.tokens + 3)[None])
        self.norm = make_norm(spec) if spec.front == "ids_normed" else nn.Identity()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        positions = self.positions(self.position_ids[:, : input_ids.shape[1]])
        return self.encode(self.norm(self.words(input_ids) + positions), attention_mask)


class Image(Encoder):
    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.patches = nn.Conv2d(CHANNELS, spec.width, PATCH, stride=PATCH, bias=spec.bias)
        self.positions = nn.Parameter(torch.empty(1, spec.tokens, spec.width))
        if spec.front == "class_token":
            self.class_token = nn.Parameter(torch.empty(1, 1, spec.width))

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        if self.spec.front == "class_token":
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.encode(x + self.positions, None)
