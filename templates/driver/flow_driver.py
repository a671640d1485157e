"""Loads a program into the engine and runs frames: the register sequence, once, for boards and for simulation.

`Protocol` states the sequence without touching hardware: its methods yield register accesses and are told what a read
gave. `Accelerator` carries them out on a board, through PYNQ (`PynqDevice`) or XRT (`XrtDevice`); the bench in ../sim
carries out the same ones on the simulated AXI4-Lite port. The standard library is all that this file needs.

    accelerator = Accelerator(PynqDevice("flow.bit"), Protocol.of(Path("build")))
    accelerator.load(Path("build/weights/image.bin").read_bytes())
    output = accelerator.run(frame, output_bytes)
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from typing import Protocol as Interface

_START, _DONE = 1, 2
WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Write:
    """Write a 32-bit register."""

    offset: int
    value: int


@dataclass(frozen=True)
class Read:
    """Read a 32-bit register."""

    offset: int


@dataclass(frozen=True)
class Wait:
    """Let some time pass: the engine is not done."""


Access = Write | Read | Wait
Result = TypeVar("Result")
Sequence = Generator[Access, int, Result]
Info = Mapping[str, int]
"""The information block by word."""


class EngineError(RuntimeError):
    """The engine answered a command with a status other than OK; `info` is its whole answer."""

    def __init__(self, message: str, info: Info) -> None:
        super().__init__(message)
        self.info = info


@dataclass(frozen=True)
class Protocol:
    """Commands as sequences of register accesses. `description` is the content of a build's driver/engine.json."""

    description: Mapping[str, Any]

    @staticmethod
    def of(build: Path) -> Protocol:
        """The protocol of a build's engine."""
        return Protocol(json.loads((build / "driver" / "engine.json").read_bytes()))

    def write(self, register: str, value: int, words: int = 1) -> Sequence[None]:
        """Write a register of one or two words, low word first."""
        for word in range(words):
            yield Write(self.description["registers"][register] + 4 * word, value >> (32 * word) & WORD)

    def start(self, command: str, frames: int = 0) -> Sequence[None]:
        """Start a command; `finish` waits for its end. Frames of RUN travel in between."""
        yield from self.write("command", self.description["commands"][command])
        yield from self.write("frames", frames)
        yield from self.write("ap_ctrl", _START)

    def finish(self) -> Sequence[dict[str, int]]:
        """Wait until the engine is done and read the information block."""
        while not (yield Read(self.description["registers"]["ap_ctrl"])) & _DONE:
            yield Wait()
        first = self.description["registers"]["info"]
        info: dict[str, int] = {}
        for index, name in enumerate(self.description["info"]):
            info[name] = yield Read(first + 4 * index)
        return info

    def status(self, info: Info) -> str:
        """The name of the information block's status."""
        names: dict[int, str] = {number: name for name, number in self.description["statuses"].items()}
        return names.get(info["status"], f"number {info['status']}")

    def check(self, info: Info, command: str) -> Info:
        """Demand status OK.

        Raises:
            EngineError: another status.
        """
        if info["status"] != self.description["statuses"]["OK"]:
            where = f" at step {info['failed_step']}" if info["failed_step"] != WORD else ""
            raise EngineError(
                f"{self.description['top']}: found status {self.status(info)}{where} after {command}; expected OK; "
                "load a program that was lowered for this engine, and reset the engine after a failed RUN",
                info,
            )
        return info

    def identify(self) -> Sequence[Info]:
        """What engine it is."""
        yield from self.start("IDENTIFY")
        return self.check((yield from self.finish()), "IDENTIFY")

    def load(self, address: int) -> Sequence[Info]:
        """Load the program whose image lies at an address of the memory; it has to stay there."""
        yield from self.write("memory", address, words=2)
        yield from self.start("LOAD")
        return self.check((yield from self.finish()), "LOAD")

    def padded(self, image: bytes) -> bytes:
        """An image as it should lie in memory: whole pages, because bursts may end beyond its last beat."""
        page = self.description["page_bytes"]
        return image.ljust(-(-len(image) // page) * page, b"\0")


class Device(Interface):
    """What carries out accesses: registers, memory, and the two streams."""

    def read(self, offset: int) -> int:
        """A register."""

    def write(self, offset: int, value: int) -> None:
        """Set a register."""

    def place(self, image: bytes) -> int:
        """Put bytes into memory that the engine reads, on a 4096-byte page, and return their address."""

    def send(self, frame: bytes) -> None:
        """Begin to send an input frame."""

    def receive(self, size: int) -> bytes:
        """The next `size` bytes of the output stream; `send` goes on meanwhile."""


class Accelerator:
    """An engine on a board."""

    def __init__(self, device: Device, protocol: Protocol) -> None:
        self.device, self.protocol = device, protocol

    def carry_out(self, sequence: Sequence[Result]) -> Result:
        """Carry out a sequence of accesses and return its result."""
        answer = 0
        try:
            access = next(sequence)
            while True:
                if isinstance(access, Write):
                    self.device.write(access.offset, access.value)
                elif isinstance(access, Read):
                    answer = self.device.read(access.offset)
                else:
                    time.sleep(0)
                access = sequence.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result

    def load(self, image: bytes) -> Info:
        """Place an image in memory and load it; returns the information block.

        Raises:
            EngineError: the engine refuses it.
        """
        return self.carry_out(self.protocol.load(self.device.place(self.protocol.padded(image))))

    def run(self, frame: bytes, output_bytes: int) -> bytes:
        """One frame: input stream bytes to output stream bytes.

        Raises:
            EngineError: the engine refuses it; it has to be reset and loaded again.
        """
        self.carry_out(self.protocol.start("RUN", 1))
        self.device.send(frame)
        output = self.device.receive(output_bytes)
        self.protocol.check(self.carry_out(self.protocol.finish()), "RUN")
        return output


class PynqDevice:
    """A Zynq board under PYNQ: the engine, and an AXI DMA on its two streams. Not yet run on a board."""

    def __init__(self, bitstream: str, engine: str = "flow_engine_0", dma: str = "axi_dma_0") -> None:
        import pynq

        self._pynq = pynq
        overlay = pynq.Overlay(bitstream)
        self._registers = getattr(overlay, engine).mmio
        self._dma = getattr(overlay, dma)
        self._image: Any = None
        self._sent: Any = None

    def read(self, offset: int) -> int:
        """See `Device`."""
        return int(self._registers.read(offset))

    def write(self, offset: int, value: int) -> None:
        """See `Device`."""
        self._registers.write(offset, value)

    def place(self, image: bytes) -> int:
        """See `Device`."""
        self._image = self._pynq.allocate(len(image), dtype="u1")
        self._image[:] = bytearray(image)
        self._image.flush()
        return int(self._image.physical_address)

    def send(self, frame: bytes) -> None:
        """See `Device`."""
        self._sent = self._pynq.allocate(len(frame), dtype="u1")
        self._sent[:] = bytearray(frame)
        self._dma.sendchannel.transfer(self._sent)

    def receive(self, size: int) -> bytes:
        """See `Device`."""
        buffer = self._pynq.allocate(size, dtype="u1")
        self._dma.recvchannel.transfer(buffer)
        self._dma.sendchannel.wait()
        self._dma.recvchannel.wait()
        return bytes(buffer)


class XrtDevice:
    """An Alveo card under XRT: registers and memory. Not yet run on a card.

    The streams end at data movers or network kernels of the design; a subclass drives those in `send` and `receive`.
    """

    def __init__(self, xclbin: str, engine: str = "flow_engine", index: int = 0, bank: int = 0) -> None:
        import pyxrt

        self._pyxrt = pyxrt
        self._device = pyxrt.device(index)
        uuid = self._device.load_xclbin(pyxrt.xclbin(xclbin))
        self._engine = pyxrt.ip(self._device, uuid, engine)
        self._bank = bank
        self._image: Any = None

    def read(self, offset: int) -> int:
        """See `Device`."""
        return int(self._engine.read_register(offset))

    def write(self, offset: int, value: int) -> None:
        """See `Device`."""
        self._engine.write_register(offset, value)

    def place(self, image: bytes) -> int:
        """See `Device`."""
        xrt = self._pyxrt
        self._image = xrt.bo(self._device, len(image), xrt.bo.flags.normal, self._bank)
        self._image.write(image, 0)
        self._image.sync(xrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE, len(image), 0)
        return int(self._image.address())

    def send(self, frame: bytes) -> None:
        """See the class."""
        raise NotImplementedError(
            "XrtDevice: found no data mover; expected a subclass that drives the design's"
        )

    def receive(self, size: int) -> bytes:
        """See the class."""
        raise NotImplementedError(
            "XrtDevice: found no data mover; expected a subclass that drives the design's"
        )
