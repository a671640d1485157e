"""Small torch models of every shape that transformers come in, and archives rewritten by hand."""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the quantized_decomposed operators
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

S, C, HEADS = 6, 20, 5


class Encoder(nn.Module):
    """`nn.TransformerEncoder` behind one argument."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(C, HEADS, 28, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)  # type: ignore[no-any-return]


class Padded(Encoder):
    """The same with a padding mask, which torch converts with an in-place operator."""

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:  # type: ignore[override]
        return self.encoder(x, src_key_padding_mask=padding)  # type: ignore[no-any-return]


class Causal(Encoder):
    """The same with a causal mask of floats."""

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.encoder(x, mask=mask, is_causal=True)  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Attention spelled out, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(C, C) for _ in range(3))

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], HEADS, C // HEADS).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = self.split(self.query(x)) @ self.split(self.key(x)).transpose(-1, -2)
        weights = F.dropout(F.softmax(scores / math.sqrt(C // HEADS) + mask, dim=-1), 0.1, self.training)
        return (weights @ self.split(self.value(x))).permute(0, 2, 1, 3).contiguous().view(x.shape)


class BertLayer(nn.Module):
    """Post-norm, erf GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = SelfAttention()
        self.output, self.up, self.down = nn.Linear(C, C), nn.Linear(C, 28), nn.Linear(28, C)
        self.norm1, self.norm2 = nn.LayerNorm(C, eps=1e-12), nn.LayerNorm(C, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.output(self.attention(x, mask)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))  # type: ignore[no-any-return]


class Bert(nn.Module):
    """Token ids to a normalised sentence embedding: masks, positions, pooling, `F.normalize`; a dict of results."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = (
            nn.Embedding(50, C, padding_idx=0),
            nn.Embedding(9, C),
            nn.Embedding(2, C),
        )
        self.norm = nn.LayerNorm(C, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer() for _ in range(2))
        self.pooler = nn.Linear(C, C)
        self.register_buffer("position_ids", torch.arange(9).expand((1, -1)), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        positions = self.position_ids[:, : input_ids.shape[1]]  # type: ignore[index]
        kinds = torch.zeros(input_ids.shape, dtype=torch.long)
        x = self.norm(self.words(input_ids) + self.kinds(kinds) + self.places(positions))
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
        for layer in self.layers:
            x = layer(x, mask)
        weights = attention_mask.unsqueeze(-1).expand(x.size()).float()
        mean = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return {
            "last_hidden_state": x,
            "pooler_output": torch.tanh(self.pooler(x[:, 0])),
            "embedding": F.normalize(mean, p=2, dim=1),
        }


class Vit(nn.Module):
    """Patches by a strided convolution, class token, SDPA from one fused projection, a tuple of results."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, C, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, C)), nn.Parameter(torch.randn(1, 5, C))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(C), nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.output = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C)
        self.mlp = nn.Sequential(nn.Linear(C, 28), nn.GELU(approximate="tanh"), nn.Linear(28, C))
        self.head = nn.Linear(C, 10)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch(pixel_values).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.places
        n, s, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, s, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.output(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, s, C))
        x = self.norm3(x + self.mlp(self.norm2(x)))
        return self.head(x[:, 0]), x


class Gpt(nn.Module):
    """A GPT-2 block: addmm, split, a boolean triangle, the tanh GELU spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(30, C), nn.LayerNorm(C)
        self.weight, self.bias = nn.Parameter(torch.randn(C, 3 * C) / 4), nn.Parameter(torch.randn(3 * C))
        self.register_buffer("triangle", torch.tril(torch.ones(9, 9, dtype=torch.bool)).view(1, 1, 9, 9))

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.table(input_ids)
        n, s, _ = x.shape
        flat = torch.addmm(self.bias, self.norm(x).view(-1, C), self.weight)
        q, k, v = (t.view(n, s, HEADS, -1).transpose(1, 2) for t in torch.split(flat.view(n, s, 3 * C), C, 2))
        scores = torch.matmul(q, k.transpose(-1, -2)) * 0.5
        scores = torch.where(self.triangle[:, :, :s, :s], scores, torch.finfo(scores.dtype).min)  # type: ignore[index]
        y: Tensor = torch.matmul(F.softmax(scores, -1), v).transpose(1, 2).reshape(n, s, C)
        x = x + y
        y = x + 0.044715 * torch.pow(x, 3.0)
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * y))  # type: ignore[no-any-return]


class Einsum(nn.Module):
    """Attention as two einsums, inside `torch.no_grad()`, which exports as a region."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.inner(x)
        scores = torch.einsum("bqc,bkc->bqk", x, y).softmax(-1)
        return torch.einsum("bqk,bkc->bqc", scores, y) + x


class Storage(nn.Module):
    """Tensors as awkward as they are stored: every element type, views of one storage, broadcasts, tied weights."""

    def __init__(self) -> None:
        super().__init__()
        base = torch.arange(24.0).view(4, 6)
        tensors = {
            "transposed": base.t(),
            "part": base[1:3, ::2],
            "broadcast": torch.arange(3.0).expand(2, 3),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
            "float16": torch.randn(3).half(),
            "bfloat16": torch.randn(3).bfloat16(),
            "float64": torch.randn(3, dtype=torch.float64),
            "bool": torch.tensor([True, False, True]),
            "uint8": torch.tensor([0, 200, 255], dtype=torch.uint8),
            "int8": torch.tensor([-128, 0, 127], dtype=torch.int8),
            "int16": torch.tensor([-32768, 0, 32767], dtype=torch.int16),
            "int32": torch.tensor([-(2**31), 0, 2**31 - 1], dtype=torch.int32),
            "int64": torch.tensor([-(2**62), 0, 2**62]),
        }
        for name, value in tensors.items():
            self.register_buffer(f"stored_{name}", value)
        self.first, self.second = nn.Linear(C, C), nn.Linear(C, C, bias=False)
        self.second.weight = self.first.weight
        self.unused = nn.Linear(C, 1000)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        stored = {name: buffer.clone() for name, buffer in self.named_buffers()}
        return {"tied": self.second(self.first(x)), "literal": x * torch.tensor([2.0]), **stored}


class InPlace(nn.Module):
    """In-place operators that are harmless: nobody reads another view afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        alias = y.detach()
        y += x
        y.mul_(torch.tensor([0.5], dtype=torch.float64)).relu_()
        mask = y > 0
        mask |= x > 0
        y.masked_fill_(mask, 0.25)
        return y + alias + mask  # type: ignore[no-any-return]


class Quantized(nn.Module):
    """What PT2E writes: per-tensor activations, per-channel weights, int16 residual, an unreferenced float weight."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(C, C)
        scales = self.linear.weight.detach().abs().amax(1).double() / 127
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", torch.zeros(C, dtype=torch.int64))
        codes = (self.linear.weight.detach() / scales[:, None]).round().to(torch.int8)
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        weight = ops.dequantize_per_channel(self.codes, self.scales, self.zeros, 0, -127, 127, torch.int8)
        q = ops.quantize_per_tensor(x, 0.031, 3, -128, 127, torch.int8)
        x = ops.dequantize_per_tensor(q, 0.031, 3, -128, 127, torch.int8)
        y = F.linear(x, weight, self.linear.bias) + x
        q = ops.quantize_per_tensor(y, torch.tensor(1e-4), torch.tensor(0), -32767, 32767, torch.int16)
        return ops.dequantize_per_tensor(q, torch.tensor(1e-4), torch.tensor(0), -32767, 32767, torch.int16)  # type: ignore[no-any-return]


class Nested(nn.Module):
    """Nested arguments and results, numbers among them, an argument that nobody reads."""

    def forward(self, d: dict[str, Any], n: int = 2, *, mask: Tensor | None = None) -> tuple[Any, ...]:
        del mask
        x, (y, z) = d["x"], d["pair"]
        return OrderedDict(sum=x + y, parts=[x * n, z]), None, n


@dataclass(frozen=True)
class Sample:
    """A model with an example of its arguments."""

    model: Callable[[], nn.Module]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def _sample(model: Callable[[], nn.Module], *args: Any, **kwargs: Any) -> Sample:
    return Sample(model, args, kwargs)


def _samples() -> dict[str, Sample]:
    generator = torch.Generator().manual_seed(1)

    def real(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    x, ids = real(1, S, C), torch.randint(1, 30, (1, S), generator=generator)
    padding = torch.tensor([[False] * (S - 2) + [True] * 2])
    return {
        "pre_norm": _sample(lambda: Encoder(batch_first=True, norm_first=True), x),
        "post_norm": _sample(lambda: Encoder(batch_first=True, activation="gelu"), x),
        "sequence_first": _sample(lambda: Encoder(norm_first=True, bias=False), x.transpose(0, 1)),
        "padded": _sample(lambda: Padded(batch_first=True), x, padding),
        "causal": _sample(lambda: Causal(batch_first=True, norm_first=True), x),
        "bert": _sample(Bert, input_ids=ids, attention_mask=1 - padding.long()),
        "vit": _sample(Vit, real(1, 3, 8, 8)),
        "gpt": _sample(Gpt, ids),
        "einsum": _sample(Einsum, x),
        "storage": _sample(Storage, x),
        "in_place": _sample(InPlace, x),
        "quantized": _sample(Quantized, x),
        "nested": _sample(Nested, {"x": x, "pair": [real(1, S, C), real(2)]}, 3, mask=real(1)),
        "attention": _sample(
            lambda: nn.MultiheadAttention(C, HEADS, batch_first=True), x, real(1, S, C), real(1, S, C)
        ),
    }


NAMES = tuple(_samples())


@dataclass(frozen=True)
class Exported:
    """A file, the model in it, and an example of its arguments."""

    path: Path
    model: nn.Module
    sample: Sample

    def run(self) -> Any:
        """What torch computes on the example."""
        with torch.no_grad():
            return self.model(*self.sample.args, **self.sample.kwargs)


def export(model: nn.Module, path: Path, *args: Any, **options: Any) -> Path:
    """Write a `.pt2` as users do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model, args, strict=False, **options), path)
    return path


class Zoo:
    """Models by name, exported on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._exported: dict[str, Exported] = {}
        self._samples = _samples()

    def __getitem__(self, name: str) -> Exported:
        if name not in self._exported:
            sample = self._samples[name]
            torch.manual_seed(0)
            model = sample.model().eval()
            path = export(model, self._folder / f"{name}.pt2", *sample.args, kwargs=dict(sample.kwargs))
            self._exported[name] = Exported(path, model, sample)
        return self._exported[name]


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(params=NAMES)
def exported(request: pytest.FixtureRequest, zoo: Zoo) -> Exported:
    return zoo[request.param]


class Rewritten:
    """Copies of an archive with members changed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model.pt2"

    def __call__(self, source: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
        """`edit` changes the members, named without their top folder."""
        with zipfile.ZipFile(source) as archive:
            members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        edit(members)
        with zipfile.ZipFile(self.path, "w") as archive:
            for name, data in members.items():
                archive.writestr(f"model/{name}", data)
        return self.path

    def json(self, source: Path, member: str, edit: Callable[[Any], None]) -> Path:
        """`edit` changes the one JSON member whose name ends so."""

        def apply(members: dict[str, bytes]) -> None:
            (name,) = (name for name in members if name.endswith(member))
            document = json.loads(members[name])
            edit(document)
            members[name] = json.dumps(document).encode()

        return self(source, apply)

    def program(self, source: Path, edit: Callable[[Any], None]) -> Path:
        """`edit` changes the program."""
        return self.json(source, "models/model.json", edit)


@pytest.fixture
def rewritten(tmp_path: Path) -> Rewritten:
    return Rewritten(tmp_path)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Exports a model under the name that messages then show."""

    def write(model: nn.Module, *args: Any, **options: Any) -> Path:
        return export(model.eval(), tmp_path / "model.pt2", *args, **options)

    return write


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of exactly these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()
