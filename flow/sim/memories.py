"""The engine's memories as bytes, and the tensors in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.engine import Engine, Space
from flow.errors import FlowError
from flow.ir import Array

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Memories:
    """A dump: operand0, operand1, store `[line][bank][token]`, then values `[line][bank][row]`."""

    engine: Engine
    data: bytes

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            FlowError: the dump is not this engine's.
        """
        size = sum(self._bytes(space) for space in Space)
        if len(self.data) != size:
            raise FlowError(f"memory dump: found {len(self.data)} bytes; expected {size}")

    def _lines(self, space: Space) -> int:
        e = self.engine
        return {Space.STORE: e.store_depth, Space.VALUES: e.values_depth}.get(space, e.operand_depth)

    def _lanes(self, space: Space) -> int:
        return self.engine.rows if space is Space.VALUES else self.engine.tokens

    def _bytes(self, space: Space) -> int:
        return self._lines(space) * self.engine.banks * self._lanes(space)

    def words(self, space: Space) -> Bytes:
        """One memory as `[line, bank, lane]`."""
        start = sum(self._bytes(other) for other in Space if other < space)
        flat = np.frombuffer(self.data, np.uint8, self._bytes(space), start)
        return flat.reshape(self._lines(space), self.engine.banks, self._lanes(space))

    def read_tensor(
        self,
        space: Space,
        base: int,
        depth: int,
        planes: int,
        tokens: int,
        physical: Array,
        *,
        signed: bool = True,
    ) -> Array:
        """Integers [tokens, C] of a tensor; `physical[c]` is the physical channel of channel c."""
        e = self.engine
        tiles = e.tiles(tokens)
        lines = self.words(space)[base : base + tiles * planes * depth]
        parts = lines.reshape(tiles, planes, depth, e.banks, e.tokens).transpose(1, 0, 4, 2, 3)
        values = parts.reshape(planes, tiles * e.tokens, depth * e.banks)[
            :, :tokens, np.asarray(physical)
        ].astype(np.int64)
        joined: Array = values[0] if planes == 1 else values[0] | values[1] << 8
        sign = 1 << (8 * planes - 1)
        return (joined ^ sign) - sign if signed else joined

    def read_values(self, base: int, tokens: int, heads: int, pitch: int, physical: Array) -> Array:
        """Integers [tokens, C] of the values memory, where key s of head h lies in bank (h % abreast)*W + s % W."""
        e = self.engine
        abreast = e.heads_abreast(pitch)
        width, rounds, chunks = e.banks // abreast, -(-heads // abreast), pitch // e.rows
        channel = np.asarray(physical)
        head, inside = channel // pitch, channel % pitch
        key = np.arange(tokens)[:, None]
        line = base + ((key // width) * rounds + head // abreast) * chunks + inside // e.rows
        bank = (head % abreast) * width + key % width
        values: Array = self.words(Space.VALUES)[line, bank, inside % e.rows].astype(np.int8).astype(np.int64)
        return values
