"""Configuration + tensors to a module, and files to a graph."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flow.errors import FlowError
from flow.frontend.architectures.bert import bert
from flow.frontend.architectures.distilbert import distilbert
from flow.frontend.architectures.family import Family
from flow.frontend.architectures.torch_encoder import torch_encoder
from flow.frontend.architectures.vit import deit, vit
from flow.frontend.architectures.weights import canonical, load, read_safetensors, read_state_dict
from flow.frontend.pt2 import read_pt2
from flow.frontend.torch_export import export_module
from flow.ir import Graph

FAMILIES: dict[str, Family] = {
    "bert": bert,
    "deit": deit,
    "distilbert": distilbert,
    "torch_encoder": torch_encoder,
    "vit": vit,
}
"""Families by `model_type`."""

MAX_CONFIG_BYTES = 16 << 20
"""A configuration that names 20,000 labels has about one mebibyte."""


def build(path: str | Path, config_path: str | Path, kind: Literal["state_dict", "safetensors"]) -> Graph:
    """See `flow.frontend.architectures.build`."""
    config = read_config(config_path)
    _family(config, str(config_path))(config, str(config_path), ())  # its faults come before a long read
    tensors = read_safetensors(path) if kind == "safetensors" else read_state_dict(path)
    module = build_module(config, tensors, str(path), str(config_path))
    program = export_module(module, example_inputs(config, str(config_path)))
    with tempfile.TemporaryDirectory(prefix="flow-") as directory:
        archive = Path(directory) / "model.pt2"
        torch.export.save(program, archive)
        return read_pt2(archive)


def build_module(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str, config_where: str
) -> nn.Module:
    """See `flow.frontend.architectures.build_module`."""
    family = _family(config, config_where)
    named = canonical(tensors, _prefix(str(config["model_type"]), tensors))
    return load(family(config, config_where, named), named, where)


def example_inputs(config: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """See `flow.frontend.architectures.example_inputs`."""
    return _family(config, where)(config, where, ()).example_inputs()


def read_config(path: str | Path) -> dict[str, Any]:
    """The JSON object of a `config.json`.

    Raises:
        FlowError: the file is unreadable, too big, or no JSON object.
    """
    try:
        size = Path(path).stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise FlowError(
                f"{path}: found {size} bytes; expected a configuration of at most {MAX_CONFIG_BYTES}"
            )
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FlowError(
            f"{path}: found {error.strerror or error}; expected a readable config.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise FlowError(f"{path}: found no JSON ({error}); expected a config.json") from error
    if not isinstance(config, dict):
        raise FlowError(f"{path}: found a JSON {type(config).__name__}; expected an object")
    return config


def _family(config: Mapping[str, Any], where: str) -> Family:
    found = config.get("model_type")
    if isinstance(found, str) and found in FAMILIES:
        return FAMILIES[found]
    shown = f"model_type {found!r}" if "model_type" in config else "no model_type"
    raise FlowError(
        f"{where}: found {shown}; expected one of {', '.join(FAMILIES)}; "
        "export other models with torch.export.export(model, example, strict=False) and torch.export.save"
    )


def _prefix(model_type: str, names: Iterable[str]) -> str:
    """What stands before the encoder's tensors: `bert.` in a model with a head, `encoder.` where a module held it."""
    if model_type != "torch_encoder":
        return f"{model_type}."
    before = {match[1] for name in names if (match := re.match(r"(.*?)layers\.\d+\.", name))}
    return before.pop() if len(before) == 1 else ""
