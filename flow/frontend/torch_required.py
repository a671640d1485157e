"""Says whether torch is there, without making anybody import it: lowering a quantized `.pt2` never needs it."""

from __future__ import annotations

import importlib
import re

from flow.errors import ToolError

MINIMUM = (2, 10)
"""From here on `torch.load(weights_only=True)` is trusted with files from strangers."""


def require_torch(purpose: str) -> None:
    """Check for torch >= 2.10.

    Raises:
        ToolError: it is missing or older; `purpose` says what needs it.
    """
    expected = f"torch {MINIMUM[0]}.{MINIMUM[1]} or newer"
    try:
        version = str(importlib.import_module("torch").__version__)
    except ImportError as error:
        raise ToolError(
            f"{purpose}: found no torch; expected {expected}; pip install 'flow-hls[train]'"
        ) from error
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < MINIMUM:
        raise ToolError(
            f"{purpose}: found torch {version}; expected {expected}; pip install 'flow-hls[train]'"
        )
