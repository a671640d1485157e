"""One run of the kernel and what is expected of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flow.engine import Status


@dataclass(frozen=True)
class Case:
    """One run: LOAD `image`, RUN `stream`. `output` is None where only the status counts."""

    name: str
    image: bytes
    stream: bytes
    status: Status
    output: bytes | None
    failed_step: int | None = None
    mask: bytes = b""
    """Bits of `output` that the golden model gives: the kernel sends what it likes in channels of padding."""
    frames: tuple[int, ...] = ()
    """Bytes of each frame of `stream`, where each is to be sent by itself: one beat too many then waits for ever."""

    @cached_property
    def digest(self) -> str:
        """Names the run by its whole content."""
        parts = (
            self.image,
            self.stream,
            self.output or b"-",
            self.mask,
            f"{self.status} {self.failed_step}".encode(),
        )
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def accepts(self, found: bytes) -> bool:
        """Whether an output is the expected one."""
        if self.output is None or not self.mask:
            return self.output in (None, found)
        if len(found) != len(self.output):
            return False
        bits, expected, mask = (np.frombuffer(data, np.uint8) for data in (found, self.output, self.mask))
        return bool((bits & mask == expected & mask).all())
