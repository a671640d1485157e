"""Files to graphs: content sniffing, the `.pt2` reader, state dictionaries; and the way back."""

from __future__ import annotations

from pathlib import Path

from flow.errors import FlowError
from flow.frontend.pt2 import read_pt2
from flow.frontend.sniff import Kind, sniff
from flow.ir import Graph

__all__ = ["Kind", "load", "read_pt2", "sniff"]


def load(path: str | Path, config: str | Path | None = None) -> Graph:
    """A model file as a level-0 graph; its kind is decided by content.

    `config` is the HF-style `config.json` that says which architecture the weights of a state_dict or safetensors
    file belong to. Only that way imports torch.

    Raises:
        FlowError: the file or the configuration is missing, damaged, hostile or of a refused kind.
        UnsupportedError: lists everything in the model that no accelerator can be made from.
    """
    path = Path(path)
    kind = sniff(path)
    if kind is Kind.PT2:
        if config is not None:
            raise FlowError(
                f"{path}: found a .pt2 archive, which holds its architecture; expected no --config; leave it out"
            )
        return read_pt2(path)
    if config is None:
        raise FlowError(
            f"{path}: found {kind.value}, which holds weights and no architecture; expected a .pt2 archive, or "
            "--config config.json beside it; name the model's configuration with --config"
        )
    from flow.frontend import architectures  # imports torch, which reading a .pt2 never does

    return architectures.build(
        path, Path(config), "safetensors" if kind is Kind.SAFETENSORS else "state_dict"
    )
