"""Programs of a few steps on engines of odd shapes, run as compiled C++.

Tensors here are physical: integers [tokens, depth * B], the channel order that the memories have.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import pytest

from flow.engine import STAGES, Engine, ImageBuilder, Opcode, Port, Record, Space, Status
from flow.ir import Array
from flow.sim.kernel import Kernel, Outcome
from flow.sim.memories import Memories

ENGINES: Mapping[str, Engine] = {
    "one token": Engine(1, 4, 1, 2, 1, beat_bytes=8, stream_bytes=4, sequence=24, depth=8, row_cycles=24),
    "square": Engine(8, 8, 8, 4, 2, sequence=48, depth=8, row_cycles=24),
    "tall": Engine(16, 4, 2, 8, 4, beat_bytes=16, stream_bytes=8, sequence=70, depth=8, row_cycles=24),
    "wide": Engine(2, 32, 2, 4, 4, beat_bytes=32, stream_bytes=32, sequence=21, depth=6, row_cycles=24),
    "beats": Engine(4, 64, 4, 16, 2, beat_bytes=128, stream_bytes=64, sequence=30, depth=3, row_cycles=12),
    "heads": Engine(8, 16, 4, 32, 16, beat_bytes=64, stream_bytes=16, sequence=33, depth=8, table_bits=12),
}

Blob = bytes
Words = Mapping[str, int | Blob]


@cache
def kernel_of(engine: Engine) -> Kernel:
    return Kernel.of(engine)


@dataclass
class Result:
    """What a program did, tensors by output in order."""

    outcome: Outcome
    outputs: list[Array]
    memories: list[Memories]


@dataclass
class Bench:
    """A program under construction: steps whose words may be data blocks, and the frame that feeds them."""

    engine: Engine
    length: int
    steps: list[tuple[Opcode, Words]] = field(default_factory=list)
    frame: bytes = b""
    ports: list[Port] = field(default_factory=list)

    def port(self, depth: int, planes: int, signed: bool, single: bool = False) -> Port:
        return Port("tensor", tuple(range(depth * self.engine.banks)), depth, planes, signed, single)

    def step(self, opcode: Opcode, **words: int | Blob) -> None:
        self.steps.append((opcode, words))

    def input(
        self,
        tensor: Array,
        space: Space,
        base: int,
        *,
        planes: int = 1,
        signed: bool = True,
        single: bool = False,
    ) -> None:
        depth = tensor.shape[1] // self.engine.banks
        self.step(Opcode.INPUT, planes=planes, depth=depth, space=space, base=base, single_token=int(single))
        self.frame += self.port(depth, planes, signed, single).pack(self.engine, tensor, self.length)

    def output(
        self,
        space: Space,
        base: int,
        depth: int,
        *,
        planes: int = 1,
        signed: bool = True,
        single: bool = False,
    ) -> None:
        self.step(
            Opcode.OUTPUT,
            source_space=space,
            source_base=base,
            planes=planes,
            depth=depth,
            single_token=int(single),
        )
        self.ports.append(self.port(depth, planes, signed, single))

    def image(self) -> bytes:
        builder = ImageBuilder(self.engine, len(self.steps))
        records = []
        for opcode, words in self.steps:
            placed = {k: builder.place(v) if isinstance(v, bytes) else int(v) for k, v in words.items()}
            records.append(Record(opcode, placed))
        return builder.finish(records)

    def stream(self) -> bytes:
        return struct.pack("<I", self.length).ljust(self.engine.stream_bytes, b"\0") + self.frame

    def run(self, *, frames: int = 1) -> Result:
        """Run it traced and untraced; both must send the same bytes."""
        kernel = kernel_of(self.engine)
        traced, memories = kernel.trace(self.image(), self.stream())
        outcome = kernel.run(self.image(), self.stream() * frames)
        assert outcome.status is traced.status
        if outcome.status is Status.OK:
            assert outcome.info["frames_done"] == frames
            assert outcome.output == traced.output * frames
            assert len(memories) == len(self.steps)
        return Result(outcome, self._outputs(traced), memories)

    def _outputs(self, outcome: Outcome) -> list[Array]:
        if outcome.status is not Status.OK:
            return []
        found, at = [], 0
        for port in self.ports:
            size = port.frame_bytes(self.engine, self.length)
            tokens = 1 if port.single_token else self.engine.tiles(self.length) * self.engine.tokens
            tensor = port.unpack(self.engine, outcome.output[at : at + size], tokens, tokens)
            count = 1 if port.single_token else self.length
            assert not tensor[count:].any(), "tokens beyond the length are not sent as zeros"
            found.append(tensor[:count])
            at += size
        assert at == len(outcome.output), "the output stream holds more than the outputs"
        return found

    def check(self) -> list[Array]:
        """Outputs of a run that must end well."""
        result = self.run()
        assert result.outcome.status is Status.OK, (result.outcome.status, result.outcome.info["failed_step"])
        assert len(result.outputs) == len(self.ports) > 0
        return result.outputs


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine shape in turn."""
    found: Engine = ENGINES[request.param]
    return found


@pytest.fixture
def bench() -> Callable[[Engine, int], Bench]:
    """A new program on an engine for frames of some length."""
    return Bench


@pytest.fixture(scope="session")
def engines() -> Mapping[str, Engine]:
    """Engine shapes by name."""
    return ENGINES


@pytest.fixture(scope="session")
def bare() -> Engine:
    """An engine without optional stages."""
    assert STAGES
    return Engine(4, 8, 2, 2, 1, features=(), sequence=16, depth=4, row_cycles=8)
