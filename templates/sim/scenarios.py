"""Tests of the engine under cocotb on the build's own frames. Add yours here, or in a file beside it.

`pytest` or `make` in this folder runs them; `make WAVES=1` also writes waveforms.
"""

from __future__ import annotations

from typing import Any

import cocotb
import pytest
from bench import Bench, StuckError
from cocotb.triggers import RisingEdge
from flow_driver import EngineError


async def ready(dut: Any, seed: int, **stalls: float) -> Bench:
    """A bench after reset with the build's program loaded."""
    bench = Bench(dut, seed=seed)
    bench.stalls(**stalls)
    await bench.reset()
    await bench.load(bench.image)
    return bench


@cocotb.test()
async def frames_at_full_speed(dut: Any) -> None:
    """Several frames in one RUN, nothing in the way."""
    bench = await ready(dut, 1)
    order = [*range(len(bench.frames)), *reversed(range(len(bench.frames)))]
    assert await bench.run([bench.frames[i] for i in order]) == [bench.expected[i] for i in order]


@cocotb.test()
async def frames_under_stalls(dut: Any) -> None:
    """Idle inputs, backpressure and a slow memory, each alone and all together."""
    bench = await ready(dut, 9)
    all_together = {"idle": 0.4, "backpressure": 0.4, "memory": 0.3, "latency": 20}
    for stalls in ({"idle": 0.5}, {"backpressure": 0.5}, {"memory": 0.5, "latency": 60}, all_together):
        bench.stalls(**stalls)
        assert await bench.run(bench.frames) == bench.expected


@cocotb.test()
async def one_run_after_the_other(dut: Any) -> None:
    """Frames in RUNs of their own, the program loaded once."""
    bench = await ready(dut, 2)
    for frame, expected in zip(bench.frames, bench.expected, strict=True):
        assert await bench.run([frame]) == [expected]


@cocotb.test()
async def data_before_start(dut: Any) -> None:
    """The first beats wait at the input until the engine starts."""
    bench = await ready(dut, 3)
    taken = bench.counts()["in"]
    bench.send(bench.frames[:1])
    await bench.cycles(300)
    assert bench.counts()["in"] == taken, "the engine took input before it was started"
    bench.source.clear()
    await bench.reset()
    await bench.load(bench.image)
    assert await bench.run(bench.frames, before=300) == bench.expected


@cocotb.test()
async def start_before_data(dut: Any) -> None:
    """The engine waits for its first beat, then for one in the middle of a frame."""
    bench = await ready(dut, 4)
    counts = bench.counts()
    await bench.carry_out(bench.protocol.start("RUN", 1))
    await bench.cycles(500)
    bench.send(bench.frames[:1])
    bench.source.pause = True
    await bench.cycles(500)
    bench.source.pause = False
    info = await bench.guard(bench.carry_out(bench.protocol.finish()))
    bench.protocol.check(info, "RUN")
    assert await bench.collect(bench.frames[:1], counts) == bench.expected[:1]


@cocotb.test()
async def reset_in_mid_frame(dut: Any) -> None:
    """A reset at any time, then the same frames again."""
    bench = await ready(dut, 5, idle=0.3, memory=0.2)
    for cycles in (3, 40, 400, 4000):
        await bench.carry_out(bench.protocol.start("RUN", len(bench.frames)))
        bench.send(bench.frames)
        await bench.cycles(cycles)
        await bench.reset()
        await bench.carry_out(bench.protocol.start("RUN", 1))
        info = await bench.guard(bench.carry_out(bench.protocol.finish()))
        assert bench.protocol.status(info) == "NOT_LOADED", "a reset forgets the program"
        await bench.load(bench.image)
        assert await bench.run(bench.frames) == bench.expected


@cocotb.test()
async def program_for_another_engine(dut: Any) -> None:
    """LOAD says so, RUN then refuses, and the right program still runs."""
    bench = await ready(dut, 6)
    other = bytearray(bench.image)
    other[8] ^= 1
    for image, status in ((bytes(other), "WRONG_ENGINE"), (b"\0" * 64, "BAD_MAGIC")):
        with pytest.raises(EngineError) as caught:
            await bench.load(image, 0x7_0000_0000)
        assert bench.protocol.status(caught.value.info) == status
        await bench.carry_out(bench.protocol.start("RUN", 1))
        assert bench.protocol.status(await bench.carry_out(bench.protocol.finish())) == "NOT_LOADED"
    await bench.load(bench.image)
    assert await bench.run(bench.frames) == bench.expected


@cocotb.test()
async def identity_and_interrupt(dut: Any) -> None:
    """IDENTIFY names the engine; the end of a command raises the interrupt until it is acknowledged."""
    bench = await ready(dut, 7)
    for register in ("gie", "ier"):
        await bench.carry_out(bench.protocol.write(register, 1))
    assert int(dut.interrupt.value) == 0
    start = cocotb.start_soon(bench.carry_out(bench.protocol.start("IDENTIFY")))
    await RisingEdge(dut.interrupt)
    await start
    info = await bench.carry_out(bench.protocol.finish())
    found = f"{info['hash_high']:08x}{info['hash_low']:08x}"
    assert found == bench.protocol.description["engine_hash"]
    assert int(dut.interrupt.value) == 1
    await bench.carry_out(bench.protocol.write("isr", 1))
    await bench.cycles(2)
    assert int(dut.interrupt.value) == 0


@cocotb.test()
async def missing_beat_names_the_port(dut: Any) -> None:
    """Half a frame, or a sink that takes nothing: the watchdog names the port."""
    bench = await ready(dut, 8)
    bench.patience = 2000
    beat = bench.protocol.description["engine"]["stream_bytes"]
    await bench.carry_out(bench.protocol.start("RUN", 1))
    bench.send([bench.frames[0][:-beat]])
    await stuck(bench, "stream_in: found TREADY and no beat")
    await bench.reset()
    await bench.load(bench.image)
    bench.sink.pause = True
    await bench.carry_out(bench.protocol.start("RUN", 1))
    bench.send(bench.frames[:1])
    await stuck(bench, "stream_out: found TVALID and no TREADY")


async def stuck(bench: Bench, port: str) -> None:
    """Demand that the watchdog stops the run and names a port."""
    with pytest.raises(StuckError, match=port):
        await bench.guard(bench.carry_out(bench.protocol.finish()))
