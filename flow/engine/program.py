"""A program in memory: its image, and the tensors that travel in and out as stream beats."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flow.engine.parameters import Engine
from flow.engine.records import HEADER_BYTES, RECORD_BYTES, Record, pack_header
from flow.errors import FlowError


@dataclass(frozen=True)
class Port:
    """A device input or output: how its tensor travels as stream beats.

    `physical[c]` is the physical channel of logical channel c; `depth` words per bank and tile; `planes`
    bytes per element; `single_token` tensors have one token whatever the sequence length. Quantised type:
    `bits`, `signed`.
    """

    name: str
    physical: tuple[int, ...]
    depth: int
    planes: int
    signed: bool
    single_token: bool

    def frame_bytes(self, engine: Engine, length: int) -> int:
        """Bytes of this tensor in a frame of `length` tokens, padded to whole stream beats."""
        words = engine.tiles(1 if self.single_token else length) * self.planes * self.depth * engine.banks
        return -(-words * engine.tokens // engine.stream_bytes) * engine.stream_bytes

    def pack(self, engine: Engine, tensor: npt.NDArray[Any], length: int) -> bytes:
        """[tokens, C] integers to the stream bytes `[tile][plane][depth][bank][token]`; tokens >= length are
        sent as 0."""
        count = 1 if self.single_token else length
        tiles = engine.tiles(count)
        padded = np.zeros((tiles * engine.tokens, self.depth * engine.banks), np.int64)
        padded[:count, list(self.physical)] = tensor[:count]
        planes = np.stack([(padded >> (8 * p)) & 0xFF for p in range(self.planes)]).astype(np.uint8)
        words = planes.reshape(self.planes, tiles, engine.tokens, self.depth, engine.banks).transpose(
            1, 0, 3, 4, 2
        )
        return words.tobytes().ljust(self.frame_bytes(engine, length), b"\0")

    def unpack(self, engine: Engine, data: bytes, length: int, tokens: int) -> npt.NDArray[np.int64]:
        """Stream bytes back to [tokens, C] integers; tokens that no tile covers are 0."""
        count = 1 if self.single_token else length
        tiles = engine.tiles(count)
        size = tiles * self.planes * self.depth * engine.banks * engine.tokens
        words = np.frombuffer(data[:size], np.uint8).reshape(
            tiles, self.planes, self.depth, engine.banks, engine.tokens
        )
        planes = (
            words.transpose(1, 0, 4, 2, 3)
            .reshape(self.planes, tiles * engine.tokens, self.depth * engine.banks)
            .astype(np.int64)
        )
        value = sum((planes[p] << (8 * p) for p in range(self.planes)), np.zeros_like(planes[0]))
        if self.signed:
            sign = 1 << (8 * self.planes - 1)
            value = (value ^ sign) - sign
        out = np.zeros((tokens, len(self.physical)), np.int64)
        rows = min(tokens, len(value))
        out[:rows] = value[:rows, list(self.physical)]
        return out


@dataclass(frozen=True)
class Program:
    """What an engine runs: records and the memory image that holds them, and the tensors that go in and out.

    `image` = 64-byte header, records packed from byte 64, then data blocks on beat boundaries. `steps[i]`
    names record i.
    """

    engine: Engine
    records: tuple[Record, ...]
    image: bytes
    steps: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tokens: int
    """Static sequence length S of the model (1 .. engine.sequence)."""

    def frame(self, tensors: Mapping[str, npt.NDArray[Any]], length: int) -> bytes:
        """One input frame: a header beat whose first u32 is `length`, then every input tensor in order."""
        header = struct.pack("<I", length).ljust(self.engine.stream_bytes, b"\0")
        return header + b"".join(port.pack(self.engine, tensors[port.name], length) for port in self.inputs)

    def blank_frame(self) -> bytes:
        """An input frame of full length whose tensors are 0."""
        header = struct.pack("<I", self.tokens).ljust(self.engine.stream_bytes, b"\0")
        return header + b"".join(bytes(port.frame_bytes(self.engine, self.tokens)) for port in self.inputs)

    def read_frame(self, data: bytes, length: int) -> dict[str, npt.NDArray[np.int64]]:
        """Output tensors by name from one output frame (no header)."""
        result, offset = {}, 0
        for port in self.outputs:
            size = port.frame_bytes(self.engine, length)
            tokens = 1 if port.single_token else self.tokens
            result[port.name] = port.unpack(self.engine, data[offset : offset + size], length, tokens)
            offset += size
        return result

    def output_bytes(self, length: int) -> int:
        """Bytes of one output frame."""
        return sum(port.frame_bytes(self.engine, length) for port in self.outputs)


class ImageBuilder:
    """Lays data blocks into a memory image on beat boundaries; equal blocks are stored once."""

    def __init__(self, engine: Engine, steps: int) -> None:
        self._engine = engine
        self._steps = steps
        first = HEADER_BYTES + steps * RECORD_BYTES
        self._next = -(-first // engine.beat_bytes)
        self._blocks: list[bytes] = []
        self._known: dict[bytes, int] = {}

    def place(self, data: bytes) -> int:
        """Append a block (or find its equal) and return its offset in beats."""
        beat = self._engine.beat_bytes
        padded = data.ljust(-(-len(data) // beat) * beat, b"\0")
        key = hashlib.sha256(padded).digest()
        if key not in self._known:
            self._known[key] = self._next
            self._blocks.append(padded)
            self._next += len(padded) // beat
        return self._known[key]

    def finish(self, records: Sequence[Record]) -> bytes:
        """The whole image. The number of records must be the one promised.

        Raises:
            FlowError: another number of records.
        """
        if len(records) != self._steps:
            raise FlowError(f"image: found {len(records)} records; expected {self._steps}")
        beat = self._engine.beat_bytes
        head = pack_header(self._engine, len(records), HEADER_BYTES, self._next) + b"".join(
            r.pack() for r in records
        )
        return head.ljust(-(-len(head) // beat) * beat, b"\0") + b"".join(self._blocks)
