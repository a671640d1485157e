"""Checkpoint files to named tensors, and named tensors into a module: strictly, with every fault in one message."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from flow.errors import FlowError, raise_all
from flow.frontend.architectures.family import Architecture

SHOWN = 20
"""Faults of one kind that a message spells out."""

_NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts commonly put the state_dict of a checkpoint."""

_LEGACY = (
    (re.compile(r"(LayerNorm|layer_norm)\.gamma$"), r"\1.weight"),
    (re.compile(r"(LayerNorm|layer_norm)\.beta$"), r"\1.bias"),
)

_INDEX_BUFFERS = re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)$")
"""Saved by some versions of Hugging Face's models; they hold 0, 1, 2, … and zeros, which the modules here imply."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a `torch.save` file, zip or legacy, through the restricted unpickler.

    Raises:
        FlowError: the file is unreadable, or holds anything but tensors by name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about pickle protocols of files that it then refuses or reads well
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FlowError(f"{path}: found {error.strerror or error}; expected a readable file") from error
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise FlowError(
            f"{path}: found a file that torch.load(weights_only=True) refuses; expected a state_dict of plain tensors; "
            "write one with torch.save(model.state_dict(), path)"
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return _named_tensors(content, path)


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file.

    Raises:
        FlowError: the file is unreadable or broken.
    """
    try:
        with Path(path).open("rb"):  # for its plain errors; safetensors maps the file itself
            return dict(safetensors.torch.load_file(path, device="cpu"))
    except OSError as error:
        raise FlowError(f"{path}: found {error.strerror or error}; expected a readable file") from error
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise FlowError(
            f"{path}: found a broken safetensors file ({error}); expected a whole one; download or write it again"
        ) from error


def _named_tensors(content: Any, path: str | Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        found = "an empty dictionary" if isinstance(content, Mapping) else type(content).__name__
        raise FlowError(f"{path}: found {found}; expected a state_dict: tensors by name")
    other = [
        f"{name}: found {type(v).__name__}; expected a tensor"
        for name, v in content.items()
        if not isinstance(v, Tensor)
    ]
    raise_all(FlowError, f"{path}: found entries that are no tensors; expected a state_dict", _cut(other))
    return {str(name): value.detach() for name, value in content.items()}


def canonical(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors by the names that families use.

    Strips wrappers that every name carries (`module.`, `_orig_mod.`) and the family's prefix (`bert.`), renames gamma
    and beta of old checkpoints, drops index buffers, and multiplies `weight_orig` by `weight_mask`
    (torch.nn.utils.prune).

    Raises:
        FlowError: two tensors have one name then.
    """
    found: dict[str, str] = {}
    faults: list[str] = []
    result: dict[str, Tensor] = {}
    for original, tensor in _fold_masks(_unwrap(tensors)).items():
        name = original.removeprefix(prefix)
        for pattern, replacement in _LEGACY:
            name = pattern.sub(replacement, name)
        if _INDEX_BUFFERS.search(name):
            continue
        if name in result:
            faults.append(f"{found[name]} and {original}: found two tensors for {name}; expected one")
        found[name] = original
        result[name] = tensor
    raise_all(FlowError, "checkpoint: found tensors that share a name; expected one of each", _cut(faults))
    return result


def _unwrap(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    for wrapper in ("module.", "_orig_mod."):
        if tensors and all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return tensors


def _fold_masks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    pruned = {name.removesuffix("_orig") for name in tensors if name.endswith("_orig")}
    pruned = {
        name
        for name in pruned
        if f"{name}_mask" in tensors and tensors[f"{name}_mask"].shape == tensors[f"{name}_orig"].shape
    }
    folded = {name: tensors[f"{name}_orig"] * tensors[f"{name}_mask"] for name in pruned}
    halves = {f"{name}_{half}" for name in pruned for half in ("orig", "mask")}
    return {name: tensor for name, tensor in tensors.items() if name not in halves} | folded


def load(architecture: Architecture, tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """Fill the architecture's module with canonical tensors as float32, strictly.

    Raises:
        FlowError: lists missing, unexpected, mis-shaped, non-float and non-finite tensors.
    """
    slots = architecture.module.state_dict()
    missing = [
        f"{name}: found nothing; expected {_size(_expected(slots, architecture.names[name]))}"
        for name in architecture.names
        if name not in tensors
    ]
    unexpected: list[str] = []
    unfit: list[str] = []
    state: dict[str, Tensor] = {}
    for name, tensor in sorted(tensors.items()):
        if name not in architecture.names:
            if not name.startswith(architecture.unused):
                unexpected.append(f"{name}: found {_size(tensor.shape)}; expected no such tensor")
            continue
        fault = _misfit(tensor, _expected(slots, architecture.names[name]))
        if fault:
            unfit.append(f"{name}: {fault}")
        else:
            parts = architecture.names[name]
            state |= dict(zip(parts, _parts(tensor, len(parts)), strict=True))
    raise_all(
        FlowError,
        f"{where}: found tensors that do not fit the configuration; expected exactly those it describes",
        [*_cut(missing), *_cut(unexpected), *_cut(unfit)],
    )
    architecture.module.load_state_dict(state, strict=True, assign=True)
    return architecture.module.eval()


def _expected(slots: Mapping[str, Tensor], parts: tuple[str, ...]) -> tuple[int, ...]:
    first = slots[parts[0]].shape
    return (sum(slots[part].shape[0] for part in parts), *first[1:])


def _misfit(tensor: Tensor, shape: tuple[int, ...]) -> str:
    if tuple(tensor.shape) != shape:
        return f"found {_size(tensor.shape)}; expected {_size(shape)}"
    if not tensor.dtype.is_floating_point or tensor.is_sparse or tensor.is_quantized:
        return f"found {tensor.dtype} ({tensor.layout}); expected dense floating point"
    if not bool(torch.isfinite(tensor).all()):
        return "found NaN or infinity; expected finite weights"
    return ""


def _parts(tensor: Tensor, count: int) -> list[Tensor]:
    """Equal parts along axis 0, float32, each in its own storage (a shared one would be exported once per part)."""
    return [part.to(torch.float32, copy=True).contiguous() for part in tensor.tensor_split(count)]


def _size(shape: Iterable[int]) -> str:
    return "[" + ", ".join(str(d) for d in shape) + "]"


def _cut(faults: list[str]) -> list[str]:
    return (
        faults
        if len(faults) <= SHOWN
        else [*faults[:SHOWN], f"… and {len(faults) - SHOWN} more of this kind"]
    )
