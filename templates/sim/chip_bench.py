"""A chip under cocotb, through its pins alone: clock, button, and the two wires of its UART.

The driver that runs on a desk (../driver/flow_uart.py) runs here in a thread of its own, on a port whose bytes travel
bit by bit. Import `ChipBench` to write tests of your own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cocotb
from bench import cut
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, First, Timer
from flow_driver import Accelerator, Protocol
from flow_uart import UartDevice

BUILD = Path(os.environ.get("FLOW_BUILD", Path(__file__).resolve().parent.parent))
PERIOD_NS = 12
"""Of the clock inside: the model of the loop passes the pin's clock on."""
Result = TypeVar("Result")


class Line:
    """The host's end of the UART: a port for `UartDevice`, usable from a thread that cocotb bridges.

    Attributes:
        spoil: called with each byte that the host sends, returns the bytes that arrive.
        patience_ns: how long `read` waits for a byte.
    """

    def __init__(self, dut: Any, bit_ns: int) -> None:
        self._dut, self._bit_ns = dut, bit_ns
        self._received: Queue[int] = Queue()
        self.spoil: Callable[[int], bytes] = lambda byte: bytes([byte])
        self.patience_ns = 4_000 * PERIOD_NS
        dut.ftdi_txd.value = 1

    def start(self) -> None:
        """Listen to the chip."""
        cocotb.start_soon(self._listen())

    async def _listen(self) -> None:
        pin = self._dut.ftdi_rxd
        while True:
            await FallingEdge(pin)
            await Timer(self._bit_ns * 3 // 2, unit="ns")
            byte = 0
            for bit in range(8):
                byte |= int(pin.value) << bit
                await Timer(self._bit_ns, unit="ns")
            assert int(pin.value) == 1, "ftdi_rxd: found no stop bit; expected one"
            self._received.put_nowait(byte)

    async def send(self, data: bytes) -> None:
        """Bytes to the chip."""
        for byte in data:
            for arriving in self.spoil(byte):
                for level in (0, *((arriving >> bit) & 1 for bit in range(8)), 1):
                    self._dut.ftdi_txd.value = level
                    await Timer(self._bit_ns, unit="ns")

    async def take(self, size: int) -> bytes:
        """Up to `size` bytes of the chip; fewer after `patience_ns` without one."""
        data = bytearray()
        while len(data) < size:
            if self._received.empty():
                got = cocotb.start_soon(self._received.get())
                await First(got.complete, Timer(self.patience_ns, unit="ns"))
                if not got.done():
                    got.cancel()
                    break
                data.append(got.result())
            else:
                data.append(self._received.get_nowait())
        return bytes(data)

    @resume
    async def write(self, data: bytes) -> None:
        """`send`, from a thread."""
        await self.send(data)

    @resume
    async def read(self, size: int) -> bytes:
        """`take`, from a thread."""
        return await self.take(size)


class ChipBench:
    """A chip, `dut`, with a host at its UART.

    Attributes:
        line: the host's end.
        description: the build's chip.json.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.description = json.loads((BUILD / "chip" / "chip.json").read_bytes())
        cycles = round(self.description["clock_mhz"] * 1e6 / self.description["baud"])
        self.line = Line(dut, cycles * PERIOD_NS)
        Clock(dut.clk_25mhz, PERIOD_NS, unit="ns").start()
        dut.btn_n.value = 1

    @property
    def frames(self) -> list[bytes]:
        """The build's sample frames."""
        return self._cut("input", "input")

    @property
    def expected(self) -> list[bytes]:
        """The golden model's answers to them."""
        return self._cut("expected", "output")

    @property
    def image(self) -> bytes:
        """The build's program."""
        return (BUILD / "weights" / "image.bin").read_bytes()

    def _cut(self, file: str, kind: str) -> list[bytes]:
        sizes = json.loads((BUILD / "sim" / "frames.json").read_bytes())
        return cut((BUILD / "sim" / f"{file}.bin").read_bytes(), sizes[f"{kind}_bytes"])

    async def reset(self) -> None:
        """Press the button for a while."""
        self.dut.btn_n.value = 0
        await self.cycles(40)
        self.dut.btn_n.value = 1
        self.line.start()
        await self.cycles(100)

    async def cycles(self, count: int) -> None:
        """Let cycles pass."""
        await Timer(count * PERIOD_NS, unit="ns")

    async def host(self, work: Callable[[], Result]) -> Result:
        """Run blocking host software in a thread."""
        result: Result = await bridge(work)()
        return result

    @resume
    async def _pass(self, cycles: int) -> None:
        await self.cycles(cycles)

    def accelerator(self) -> Accelerator:
        """The driver on this line; to be called from a thread."""
        idle = round(self.description["idle_s"] * self.description["clock_mhz"] * 1e6)
        device = UartDevice(
            self.line, idle_s=1.0, sleep=lambda seconds: self._pass(round(seconds * (idle + 100)))
        )
        return Accelerator(device, Protocol.of(BUILD))
