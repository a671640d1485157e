"""Where files lie that belong to neither a model nor a build: the package's own folders, and the user's cache.

The build copies `templates/`, `hls/` and `boards/` to `flow/_assets/` in the wheel; a checkout, and so an editable
install, has them beside the package. No other module knows this.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
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


def name_in_cache(place: Path) -> str:
    """The name, 32 hex digits, of what the cache keeps about a place; one for all ways that lead to it by links."""
    resolved = place.absolute().parent.resolve() / place.name
    return hashlib.sha256(os.fsencode(resolved)).hexdigest()[:32]


@contextlib.contextmanager
def alone_at(place: Path, seconds: float, busy: str) -> Iterator[None]:
    """Hold a place's lock, for which it waits so long; where another run still holds it, `busy` is the message.

    Its file lies in the user's cache and stays there: were it unlinked, two runs could each hold a lock of that name.

    Raises:
        FlowError: another run holds it, or the cache is not writable.
    """
    locks = cache_dir() / "locks"
    lock = FileLock(locks / f"{name_in_cache(place)}.lock")
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise FlowError(busy) from error
    except OSError as error:
        raise FlowError(
            f"{locks}: found {error.strerror or error}; expected a writable cache; set FLOW_CACHE_DIR to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


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
