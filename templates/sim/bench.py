"""The engine under cocotb: streams, registers, memory, a watchdog. Import `Bench` to write tests of your own.

    @cocotb.test()
    async def my_test(dut):
        bench = Bench(dut, seed=1)
        bench.stalls(idle=0.3, backpressure=0.3, memory=0.2)
        await bench.reset()
        await bench.load(bench.image)
        assert await bench.run(bench.frames) == bench.expected

Drivers of the streams and registers are cocotbext-axi's; the sequence of register accesses is ../driver/flow_driver.py,
the one that runs on boards.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import warnings
from collections.abc import Coroutine, Iterator
from collections.abc import Sequence as List
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import First, RisingEdge, Timer
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamSink, AxiStreamSource
from flow_driver import Info, Protocol, Read, Sequence, Write

BUILD = Path(os.environ.get("FLOW_BUILD", Path(__file__).resolve().parent.parent))
PERIOD_NS = 10
POLL_CYCLES, POLL_SHARE = 50, 32
"""Cycles between two looks at the engine: at least so many, and one for so many that it has taken by then. A look takes
longer than many cycles."""
Result = TypeVar("Result")


class StuckError(AssertionError):
    """No port moved for too long; the message names the one that the engine waits for."""


class BeatSink(AxiStreamSink):  # type: ignore[misc]  # cocotbext.axi has no types
    """Takes a beat as one number: a look at a signal takes as long for a byte as for a beat.

    Its frames are bytes, every one of which counts (flow_bench.sv demands it).
    """

    def __init__(self, bus: Any, clock: Any, reset: Any) -> None:
        self.beat_bytes = len(bus.tdata) // 8
        del bus.tkeep
        super().__init__(bus, clock, reset, False, byte_lanes=1)

    def recv_nowait(self, compact: bool = True) -> Any:
        """The next frame."""
        frame = super().recv_nowait(compact)
        frame.tdata = b"".join(number.to_bytes(self.beat_bytes, "little") for number in frame.tdata)
        return frame


class Bench:
    """Everything around an engine, with `dut` the module flow_bench.

    Attributes:
        image: the build's program.
        patience: cycles without a beat on any port after which the watchdog gives up.
    """

    def __init__(self, dut: Any, *, seed: int = 0, patience: int = 20_000) -> None:
        self.dut = dut
        self.random = random.Random(seed)
        self.patience = patience
        self.protocol = Protocol.of(BUILD)
        self.image = (BUILD / "weights" / "image.bin").read_bytes()
        # cocotbext-axi tells every frame, and cocotb that cocotbext-axi calls a method by its old name.
        for name in ("stream_in", "stream_out", "s_axi_control"):
            logging.getLogger(f"cocotb.{dut._name}.{name}").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"cocotbext\.axi\.")
        clock, reset = dut.ap_clk, dut.ap_rst_n
        reset.value = 0
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "stream_in"), clock, reset, False)
        self.sink = BeatSink(AxiStreamBus.from_prefix(dut, "stream_out"), clock, reset)
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_control"), clock, reset, False)
        dut.memory_reload.value = 0
        dut.memory_seed.value = self.random.getrandbits(32)
        self.stalls()
        Clock(clock, PERIOD_NS, unit="ns").start()

    @cached_property
    def frames(self) -> list[bytes]:
        """The build's sample frames."""
        return self._cut("input")

    @cached_property
    def expected(self) -> list[bytes]:
        """The golden model's answers to them."""
        return self._cut("expected", "output")

    def _cut(self, file: str, kind: str = "input") -> list[bytes]:
        sizes = json.loads((BUILD / "sim" / "frames.json").read_bytes())
        return cut((BUILD / "sim" / f"{file}.bin").read_bytes(), sizes[f"{kind}_bytes"])

    def stalls(
        self, *, idle: float = 0, backpressure: float = 0, memory: float = 0, latency: float = 8
    ) -> None:
        """Probabilities that a cycle lets no beat through: into the engine, out of it, and out of the memory."""
        self.source.set_pause_generator(self._pauses(idle) if idle else None)
        self.source.pause = False
        self.sink.set_pause_generator(self._pauses(backpressure) if backpressure else None)
        self.sink.pause = False
        self.dut.memory_stall.value = min(255, round(256 * memory))
        self.dut.memory_latency.value = round(latency)

    def _pauses(self, probability: float) -> Iterator[bool]:
        """Runs of pauses and of beats: single cycles and longer ones."""
        while True:
            pause = self.random.random() < probability
            yield from itertools.repeat(pause, self.random.choice((1, 1, 1, 2, 5)))

    async def cycles(self, count: int) -> None:
        """Let cycles pass."""
        await Timer(count * PERIOD_NS, unit="ns")

    async def reset(self) -> None:
        """Reset everything and drop what the streams hold."""
        self.dut.ap_rst_n.value = 0
        self.source.clear()
        self.sink.clear()
        await self.cycles(5)
        await RisingEdge(self.dut.ap_clk)
        self.dut.ap_rst_n.value = 1
        await self.cycles(2)

    async def carry_out(self, sequence: Sequence[Result]) -> Result:
        """Carry out a register sequence of the driver."""
        answer, waited = 0, 0
        try:
            access = next(sequence)
            while True:
                if isinstance(access, Write):
                    await self.registers.write_dword(access.offset, access.value)
                elif isinstance(access, Read):
                    answer = await self.registers.read_dword(access.offset)
                else:
                    pause = max(POLL_CYCLES, waited // POLL_SHARE)
                    await self.cycles(pause)
                    waited += pause
                access = sequence.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def place(self, image: bytes, address: int) -> None:
        """Put an image into the memory, at an address on a page."""
        beat = self.protocol.description["engine"]["beat_bytes"]
        data = self.protocol.padded(image)
        words = [data[at : at + beat][::-1] for at in range(0, len(data), beat)]
        Path("memory.bin").write_bytes(b"".join([(address // beat).to_bytes(8, "big"), *words]))
        self.dut.memory_reload.value = 1 - int(self.dut.memory_reload.value)
        await self.cycles(3)

    async def load(self, image: bytes, address: int = 0x12_3456_7000) -> Info:
        """Place an image and load it; raises EngineError where the engine refuses it."""
        await self.place(image, address)
        return await self.guard(self.carry_out(self.protocol.load(address)))

    async def run(self, frames: List[bytes], *, before: int = 0) -> list[bytes]:
        """Run frames back to back and return what came out.

        Checks that the engine reports as many frames, took and gave whole beats and left nothing behind. With `before`
        the first frame waits at the input that many cycles before the engine starts.
        """
        counts = self.counts()
        if before:
            self.send(frames)
            await self.cycles(before)
        await self.carry_out(self.protocol.start("RUN", len(frames)))
        if not before:
            self.send(frames)
        info = await self.guard(self.carry_out(self.protocol.finish()))
        self.protocol.check(info, "RUN")
        assert info["frames_done"] == len(frames), (
            f"found {info['frames_done']} frames done; expected {len(frames)}"
        )
        return await self.collect(frames, counts)

    def send(self, frames: List[bytes]) -> None:
        """Put frames into the source's queue."""
        for frame in frames:
            self.source.send_nowait(frame)

    async def collect(self, frames: List[bytes], counts: dict[str, int]) -> list[bytes]:
        """Output frames since `counts`, one for each input frame, and nothing beside them."""
        await self.cycles(4)
        beat = self.protocol.description["engine"]["stream_bytes"]
        outputs = [self.sink.recv_nowait().tdata for _ in range(self.sink.count())]
        now = {name: count - counts[name] for name, count in self.counts().items()}
        sent, received = sum(map(len, frames)) // beat, sum(map(len, outputs)) // beat
        assert len(outputs) == len(frames), f"stream_out: found {len(outputs)} frames; expected {len(frames)}"
        assert now["in"] == sent, f"stream_in: found {now['in']} beats taken; expected {sent}"
        assert now["out"] == received, f"stream_out: found {now['out']} beats; expected {received}"
        assert now["refused"] == 0, (
            f"m_axi_gmem: found {now['refused']} reads outside the image; expected none"
        )
        assert self.source.idle(), "stream_in: found beats that the engine did not take; expected none"
        assert self.sink.idle(), "stream_out: found a frame without TLAST; expected whole frames"
        return outputs

    def counts(self) -> dict[str, int]:
        """Beats since reset: `in`, `out`, `frames` (TLAST), `bursts`, `beats`, `refused`, and `cycles`."""
        names = ("in", "out", "frames", "bursts", "beats", "refused", "cycles")
        return {name: int(getattr(self.dut, f"count_{name}").value) for name in names}

    async def guard(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for `work` as long as beats move somewhere.

        Raises:
            StuckError: nothing moved for `patience` cycles.
        """
        task = cocotb.start_soon(work)
        before = self.counts()
        while not task.done():
            await First(task.complete, Timer(self.patience * PERIOD_NS, unit="ns"))
            now = self.counts()
            if not task.done() and all(
                now[name] == before[name] for name in ("in", "out", "bursts", "beats")
            ):
                task.cancel()
                raise StuckError(self.diagnosis(now))
            before = now
        result: Result = task.result()
        return result

    def diagnosis(self, counts: dict[str, int]) -> str:
        """Which port stands still, and what it waits for."""
        dut = self.dut
        waits = {
            f"stream_in: found TREADY and no beat after {counts['in']}; expected one more": (
                dut.stream_in_TREADY,
                dut.stream_in_TVALID,
            ),
            f"stream_out: found TVALID and no TREADY after {counts['out']} beats; expected it taken": (
                dut.stream_out_TVALID,
                dut.stream_out_TREADY,
            ),
            f"m_axi_gmem: found ARVALID and no ARREADY after {counts['bursts']} bursts; expected it taken": (
                dut.m_axi_gmem_ARVALID,
                dut.m_axi_gmem_ARREADY,
            ),
            f"m_axi_gmem: found RREADY and no beat after {counts['beats']}; expected one more": (
                dut.m_axi_gmem_RREADY,
                dut.m_axi_gmem_RVALID,
            ),
        }
        found = [
            what for what, (waiting, answer) in waits.items() if int(waiting.value) and not int(answer.value)
        ]
        where = "; ".join(found) or "no port waits: found the engine idle or at work; expected it to end"
        return f"stuck for {self.patience} cycles: {where}"


def cut(data: bytes, sizes: List[int]) -> list[bytes]:
    """Pieces of the given sizes, which have to make up the whole."""
    ends = list(itertools.accumulate(sizes, initial=0))
    assert ends[-1] == len(data), f"found {len(data)} bytes; expected {ends[-1]}"
    return [data[a:b] for a, b in itertools.pairwise(ends)]
