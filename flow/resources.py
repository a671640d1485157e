"""Where files lie that belong to neither a model nor a build: the package's own folders, and the user's cache.

The build copies `templates/`, `hls/` and `boards/` to `flow/_assets/` in the wheel; a checkout, and so an editable
install, has them beside the package. No other module knows this.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_dir

from flow.errors import FlowError

AssetKind = Literal["templates", "hls", "boards"]

_PACKAGE = Path(__file__).resolve().parent


def asset_dir(kind: AssetKind, package: Path = _PACKAGE) -> Path:
    """Return the absolute path of the folder `kind` that belongs to the package at `package`.

    Raises:
        FlowError: neither the wheel's place nor the checkout's holds the folder.
    """
    candidates = (package / "_assets" / kind, package.parent / kind)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    found = " and ".join(str(path) for path in candidates)
    raise FlowError(
        f"{kind}: no such folder at {found}; expected it inside the package or beside it in a checkout; "
        "install flow-hls again"
    )


def cache_dir() -> Path:
    """`FLOW_CACHE_DIR`, or the user's cache folder of flow: compiled simulations and locks, all of it expendable."""
    return Path(os.environ.get("FLOW_CACHE_DIR") or user_cache_dir("flow")).absolute()


def check_place(path: Path, option: str) -> None:
    """Refuse, before any work, a place that no file can be written to; `option` names it on the command line.

    Raises:
        FlowError: it is a directory, or stands in none that is there and writable.
    """
    folder = path.absolute().parent
    if path.is_dir():
        found = "a directory"
    elif not folder.is_dir():
        found = f"no directory {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        found = f"a directory {folder} that you cannot write to"
    else:
        return
    raise FlowError(f"{path}: found {found}; expected a writable place; choose another with {option}")
