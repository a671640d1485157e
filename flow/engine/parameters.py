"""What is fixed when an engine is synthesised."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from flow.errors import FitError, FlowError, raise_all

PROGRAM_VERSION = 1
"""Version of the program format; part of every engine's hash."""
STAGES = ("add", "attention", "norm", "pool", "table")
"""Stages that an engine may have compiled in; `linear`, `input`, `constant` and `output` are always there."""

OUTSIDE_BIT = 16
"""Bit of the first plug-in stage in `feature_bits`."""
_OUTSIDE: dict[str, None] = {}


def register_stage(name: str) -> None:
    """Let engines have a stage that a plug-in brings.

    Raises:
        FlowError: the name is no plain lower-case word, or a stage of flow's own.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in STAGES:
        raise FlowError(
            f"stage {name!r}: found a name that cannot be used; expected lower-case letters, digits and _, and none of "
            f"{', '.join(STAGES)}; rename it"
        )
    _OUTSIDE[name] = None


def outside_stages() -> tuple[str, ...]:
    """Stages that plug-ins have registered, in sorted order."""
    return tuple(sorted(_OUTSIDE))


@dataclass(frozen=True)
class Engine:
    """Everything that is fixed at synthesis. Equal engines run each other's programs; `hash` names them.

    Units: `operand_depth`, `store_depth`, `values_depth` in words per bank; `depth` in words per bank of one
    tensor (the widest input is `depth * banks` channels); `row_cycles` is the largest G*K of a row group;
    `sequence` in tokens.
    """

    tokens: int
    banks: int
    rows: int
    norm_lanes: int
    heads: int
    beat_bytes: int = 64
    stream_bytes: int = 16
    features: tuple[str, ...] = STAGES
    sequence: int = 128
    operand_depth: int = 1024
    store_depth: int = 1024
    values_depth: int = 1024
    depth: int = 64
    row_cycles: int = 64
    steps: int = 256
    table_bits: int = 8

    def __post_init__(self) -> None:
        faults = [
            f"{name} = {value}: expected a power of two"
            for name, value in (
                (n, getattr(self, n))
                for n in ("tokens", "banks", "rows", "norm_lanes", "heads", "beat_bytes", "stream_bytes")
            )
            if value < 1 or value & (value - 1)
        ]
        faults += [
            f"{f.name} = {getattr(self, f.name)}: expected at least 1"
            for f in fields(self)
            if f.type == "int" and getattr(self, f.name) < 1
        ]
        if self.tokens % self.rows:
            faults.append(f"rows = {self.rows}: expected a divisor of tokens = {self.tokens}")
        if self.rows > self.banks:
            faults.append(f"rows = {self.rows}: expected at most banks = {self.banks}")
        if self.heads > self.banks:
            faults.append(f"heads = {self.heads}: expected at most banks = {self.banks}")
        if not 4 <= self.stream_bytes <= 64:  # a frame's length needs 4 bytes, TKEEP has at most 64 bits
            faults.append(f"stream_bytes = {self.stream_bytes}: expected 4, 8, 16, 32 or 64")
        if not 8 <= self.beat_bytes <= 128:
            faults.append(f"beat_bytes = {self.beat_bytes}: expected 8, 16, 32, 64 or 128")
        if not 8 <= self.table_bits <= 12:
            faults.append(f"table_bits = {self.table_bits}: expected 8 to 12")
        faults += [
            f"features: found {f!r}; expected some of {', '.join((*STAGES, *outside_stages()))}; is a plug-in missing?"
            for f in self.features
            if f not in STAGES and f not in _OUTSIDE
        ]
        raise_all(
            FlowError, f"engine {self.tokens}x{self.banks}x{self.rows}: found {len(faults)} faults", faults
        )

    @property
    def multipliers(self) -> int:
        """T*B*P: int8 products per cycle."""
        return self.tokens * self.banks * self.rows

    @property
    def burst_beats(self) -> int:
        """Beats of the longest burst from memory: a page of 4096 bytes, or a quarter of the reader's queue."""
        return min(4096 // self.beat_bytes, 128)

    @property
    def hash(self) -> int:
        """64 bits that name the engine and the version of the program format."""
        text = json.dumps([PROGRAM_VERSION, asdict(self)], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    @property
    def feature_bits(self) -> int:
        """Bit i set: stage `STAGES[i]` is compiled in; bit 16 + i: stage i + 1 of `outside`."""
        own = sum(1 << i for i, stage in enumerate(STAGES) if stage in self.features)
        return own | sum(1 << (OUTSIDE_BIT + i) for i in range(len(self.outside)))

    @property
    def outside(self) -> tuple[str, ...]:
        """Stages of plug-ins in sorted order: a linear step's word `stage` counts them from 1."""
        return tuple(sorted(set(self.features) - set(STAGES)))

    @property
    def column_entries(self) -> int:
        """Entries that the weight loader holds for a bank's column list.

        Groups that are not full repeat a column, so that a list may be longer than a bank is deep.
        """
        return 4 * self.depth + 16

    def tiles(self, tokens: int) -> int:
        """Token tiles of T that cover `tokens`."""
        return -(-tokens // self.tokens)

    def words(self, channels: int) -> int:
        """Words per bank and token tile that `channels` physical channels take: ceil(channels / B)."""
        return -(-channels // self.banks)

    def head_pitch(self, width: int) -> int:
        """Physical channels between heads of `width` d: the next power of two (at least P) where d < B, else
        the next multiple of B."""
        if width >= self.banks:
            return self.words(width) * self.banks
        return max(1 << (width - 1).bit_length(), self.rows)

    def heads_abreast(self, pitch: int) -> int:
        """Heads that attention computes side by side: min(H, B/pitch), at least 1."""
        return max(1, min(self.heads, self.banks // pitch))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; `from_json` reads it back."""
        return {**asdict(self), "features": list(self.features)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Engine:
        """The engine of a manifest.

        Raises:
            FlowError: a field is unknown, missing or out of range.
        """
        names = {f.name for f in fields(Engine)}
        if set(data) != names:
            raise FlowError(
                f"engine: found fields {sorted(set(data) ^ names)} unknown or missing; expected {sorted(names)}"
            )
        return Engine(**{**data, "features": tuple(data["features"])})


def require(what: str, needed: int, available: int, name: str, unit: str = "") -> None:
    """Refuse what an engine cannot hold, by the name of the capacity.

    Raises:
        FitError: `needed` exceeds `available`.
    """
    if needed > available:
        raise FitError(
            f"{what}: found {needed}{unit} needed; expected at most {available}{unit} (engine capacity {name!r}), "
            f"{needed - available} too many; use a larger engine, board or --set engine.{name}={needed}"
        )
