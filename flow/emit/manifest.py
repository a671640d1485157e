"""What `manifest.json` may say: checked once when a build is opened, so that nobody downstream has to doubt it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec

from flow.boards import NOMINAL
from flow.engine import Engine
from flow.errors import FlowError, raise_all

FORMAT = 1
IMAGE = "weights/image.bin"
ARRAYS = "weights/arrays.safetensors"
REQUIRED = ("graph.json", "reference.json", "report.json", IMAGE, ARRAYS)
"""Files that every build has, whatever its board."""

Count = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
Channel = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Model(msgspec.Struct, forbid_unknown_fields=True):
    """The file that was lowered."""

    name: str
    sha256: Sha256


class PortRecord(msgspec.Struct, forbid_unknown_fields=True):
    """`flow.engine.Port` as JSON."""

    name: str
    physical: Annotated[list[Channel], msgspec.Meta(min_length=1)]
    depth: Count
    planes: Annotated[int, msgspec.Meta(ge=1, le=2)]
    signed: bool
    single_token: bool


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """The whole document; `engine` is checked by `Engine.from_json`."""

    format: int
    flow: str
    model: Model
    board: str
    options: dict[str, Any]
    engine: dict[str, Count | list[str]]
    engine_hash: str
    tokens: Count
    steps: Annotated[list[str], msgspec.Meta(min_length=1)]
    inputs: list[PortRecord]
    outputs: Annotated[list[PortRecord], msgspec.Meta(min_length=1)]
    files: dict[str, Sha256]
    level: str = NOMINAL
    """Of the board's clock and voltage."""
    templates: dict[str, Sha256] = msgspec.field(default_factory=dict)
    """Templates and headers that were not flow's own, by name."""


def read_manifest(content: bytes, where: str) -> dict[str, Any]:
    """The manifest as plain data. `where` names it in messages.

    Raises:
        FlowError: damaged, of another format, or lists everything in it that cannot be.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FlowError(
            f"{where}: found damaged JSON; expected what `flow lower` wrote; lower again"
        ) from error
    found = data.get("format") if isinstance(data, dict) else None
    if type(found) is not int or found != FORMAT:
        shown = f"build format {found!r}" if found is not None else "no build format"
        raise FlowError(f"{where}: found {shown}; expected {FORMAT}; lower again with this version of flow")
    try:
        manifest = msgspec.convert(data, Manifest)
        engine = Engine.from_json(data["engine"])
    except (msgspec.ValidationError, TypeError, FlowError) as error:
        raise FlowError(
            f"{where}: found damage ({error}); expected what `flow lower` wrote; lower again"
        ) from error
    raise_all(
        FlowError,
        f"{where}: found damage; expected what `flow lower` wrote; lower again",
        _faults(manifest, engine),
    )
    plain: dict[str, Any] = data
    return plain


def _faults(manifest: Manifest, engine: Engine) -> Iterator[str]:
    """What the types alone do not exclude."""
    if manifest.engine_hash != f"{engine.hash:016x}":
        yield f"engine_hash: found {manifest.engine_hash!r}; expected {engine.hash:016x}, the hash of `engine`"
    if manifest.tokens > engine.sequence:
        yield f"tokens: found {manifest.tokens}; expected at most {engine.sequence}, the engine's sequence"
    if len(manifest.steps) > engine.steps:
        yield f"steps: found {len(manifest.steps)}; expected at most {engine.steps}, the engine's steps"
    for port in (*manifest.inputs, *manifest.outputs):
        channels = port.depth * engine.banks
        if max(port.physical) >= channels or len(set(port.physical)) != len(port.physical):
            yield f"port {port.name!r}: found a channel twice or beyond {channels - 1}; expected each once"
    for name in manifest.files:
        if not _plain(name):
            yield f"files: found the name {name!r}; expected a path inside the build"
    for name in REQUIRED:
        if name not in manifest.files:
            yield f"files: found no {name}; expected it"


def _plain(name: str) -> bool:
    """Whether a name is a path that stays inside its folder on every system."""
    return re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*", name) is not None and ".." not in PurePosixPath(name).parts
