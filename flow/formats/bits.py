"""Fixed-width fields in a bit stream, least significant bit first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pack_bits(values: npt.NDArray[np.integer], width: int) -> bytes:
    """The values as `width`-bit two's-complement fields, LSB first, zero bits up to the next byte."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if width == 0 or flat.size == 0:
        return b""
    if width == 8:
        return flat.astype(np.uint8).tobytes()
    if width == 4:
        nibbles = flat.astype(np.uint8) & 15
        low, high = nibbles[0::2], nibbles[1::2]
        packed = low.copy()
        packed[: high.size] |= high << 4
        return packed.tobytes()
    planes = (flat[:, None] >> np.arange(width)) & 1
    return np.packbits(planes.astype(np.uint8), bitorder="little").tobytes()


def unpack_bits(data: bytes | memoryview, width: int, count: int) -> npt.NDArray[np.int64]:
    """`count` unsigned fields of `width` bits from the front of `data`, which must be long enough."""
    if width == 0 or count == 0:
        return np.zeros(count, dtype=np.int64)
    raw = np.frombuffer(data, dtype=np.uint8, count=-(-width * count // 8))
    if width == 8:
        return raw.astype(np.int64)
    bits = np.unpackbits(raw, bitorder="little", count=width * count)
    return bits.reshape(count, width).astype(np.int64) @ (np.int64(1) << np.arange(width, dtype=np.int64))
