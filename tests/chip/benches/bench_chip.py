"""A chip through its two wires: what docs/chip.md promises, with a host that behaves and with one that does not."""

from __future__ import annotations

import random
import struct
from binascii import crc_hqx
from typing import Any

import cocotb
import pytest
from chip_bench import ChipBench
from flow_driver import Accelerator, EngineError
from flow_uart import (
    MOST_WORDS,
    PING,
    READ_MEMORY,
    RECEIVE,
    SEND,
    WRITE_MEMORY,
    WRITE_REGISTER,
    UartDevice,
    UartError,
)


def request(opcode: int, address: int, count: int, payload: bytes = b"") -> bytes:
    """A request's bytes."""
    body = struct.pack("<BHI", opcode, count, address) + payload
    return b"\xf1" + body + struct.pack("<H", crc_hqx(body, 0xFFFF))


def loaded(bench: ChipBench) -> Accelerator:
    """The driver, with the chip's own program loaded."""
    accelerator = bench.accelerator()
    accelerator.carry_out(accelerator.protocol.load(0))
    return accelerator


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def frames(dut: Any) -> None:
    """Sample frames of the build, one after the other, equal golden's answers; the preset image needs no loading."""
    bench = ChipBench(dut)
    await bench.reset()

    def work() -> None:
        accelerator = loaded(bench)
        device = accelerator.device
        assert isinstance(device, UartDevice)
        assert device.image_bytes == bench.description["image_bytes"]
        size = len(bench.image)
        for at in (0, size // 2 // 4 * 4, size - 256):
            assert device.read_memory(at, 256) == bench.image[at : at + 256], f"image at {at}"
        outputs = [accelerator.run(f, len(e)) for f, e in zip(bench.frames, bench.expected, strict=True)]
        assert outputs == bench.expected
        assert len(outputs) >= 2

    await bench.host(work)


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def another_image(dut: Any) -> None:
    """Without its header there is no program; written again over the UART there is."""
    bench = ChipBench(dut)
    await bench.reset()

    def work() -> None:
        accelerator = bench.accelerator()
        device = accelerator.device
        assert isinstance(device, UartDevice)
        device.write_memory(0, bytes(64))
        assert device.read_memory(0, 128) == bytes(64) + bench.image[64:128]
        with pytest.raises(EngineError, match="BAD_MAGIC"):
            accelerator.carry_out(accelerator.protocol.load(0))
        device.write_memory(0, bench.image[: 4 * MOST_WORDS + 64])
        accelerator.carry_out(accelerator.protocol.load(0))
        assert accelerator.run(bench.frames[0], len(bench.expected[0])) == bench.expected[0]

    await bench.host(work)


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def a_bad_line(dut: Any) -> None:
    """Bytes that are lost, doubled or damaged: requests are repeated until they come through, and frames stay right."""
    bench = ChipBench(dut)
    await bench.reset()
    rng = random.Random(1)
    met = {"lost": 0, "doubled": 0, "damaged": 0}

    def spoil(byte: int) -> bytes:
        kind = rng.choices(("", *met), (997, 1, 1, 1))[0]
        if not kind:
            return bytes([byte])
        met[kind] += 1
        return {
            "lost": b"",
            "doubled": bytes([byte, byte]),
            "damaged": bytes([byte ^ 1 << rng.randrange(8)]),
        }[kind]

    def work() -> None:
        accelerator = loaded(bench)
        bench.line.spoil = spoil
        for _ in range(3):
            for frame, expected in zip(bench.frames, bench.expected, strict=True):
                assert accelerator.run(frame, len(expected)) == expected
        assert min(met.values()) >= 1, met

    await bench.host(work)


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def garbage(dut: Any) -> None:
    """Garbage, half requests and counts beyond the buffer, then silence: the next request is answered."""
    bench = ChipBench(dut)
    await bench.reset()
    rng = random.Random(2)
    idle = round(bench.description["idle_s"] * bench.description["clock_mhz"] * 1e6)
    ping = request(PING, 0, 0)
    damaged = bytearray(request(WRITE_MEMORY, 0, 2, b"12345678"))
    damaged[-1] ^= 0x80
    noises = [
        bytes(rng.randrange(256) for _ in range(40)),
        ping[:5],
        request(SEND, 0, 4, bytes(16))[:14],
        request(WRITE_MEMORY, 0, MOST_WORDS + 1),
        b"\xf1" * 7,
    ]
    for noise in noises:
        await bench.line.send(noise)
        await bench.cycles(idle + 200)
        await bench.line.take(4096)
        await bench.line.send(ping)
        answer = await bench.line.take(8 + 20 + 2)
        assert answer[:2] == b"\xf2\x00", f"found {answer.hex()} after {noise.hex()}"
        assert answer[-2:] == struct.pack("<H", crc_hqx(answer[1:-2], 0xFFFF))
    await bench.line.send(bytes(damaged))
    assert (await bench.line.take(10))[1] == 0x41, "found no BAD_CHECKSUM"
    await bench.line.send(request(READ_MEMORY, 0, 2))
    assert (await bench.line.take(18))[8:16] == bench.image[:8], "found a damaged request carried out"


@cocotb.test(timeout_time=60, timeout_unit="ms")
async def refusals(dut: Any) -> None:
    """Requests that cannot be carried out, each by its status; a request that comes twice does no harm."""
    bench = ChipBench(dut)
    await bench.reset()
    size = bench.description["image_bytes"]
    cases = [
        (0x7F, 0, 0, b"", 2),
        (READ_MEMORY, size, 1, b"", 3),
        (READ_MEMORY, 2, 1, b"", 3),
        (READ_MEMORY, size - 4, 2, b"", 3),
        (READ_MEMORY, 0, MOST_WORDS + 1, b"", 4),
        (WRITE_REGISTER, 0x200, 1, bytes(4), 3),
        (SEND, 8, 2, bytes(8), 3),
        (SEND, 0, 1, bytes(4), 4),
        (RECEIVE, 4, 1, b"", 3),
    ]
    for opcode, address, count, payload, status in cases:
        await bench.line.send(request(opcode, address, count, payload))
        answer = await bench.line.take(10)
        assert answer[1] & 0x3F == status, f"{opcode:#x} at {address}: found {answer.hex()}"
        assert answer[2:4] == b"\0\0"

    def work() -> None:
        accelerator = loaded(bench)
        device = accelerator.device
        accelerator.carry_out(accelerator.protocol.start("RUN", 1))
        frame, expected = bench.frames[0], bench.expected[0]
        words = len(frame) // 4
        asked = [device._ask(SEND, 0, words, frame) for _ in range(2)]  # type: ignore[attr-defined]
        assert [where for where, _ in asked] == [words, words]
        first = device._ask(RECEIVE, 0, 2)[1]  # type: ignore[attr-defined]
        while len(first) < 2:
            first = device._ask(RECEIVE, 0, 2)[1]  # type: ignore[attr-defined]
        again = device._ask(RECEIVE, 0, 2)[1]  # type: ignore[attr-defined]
        assert first == again == struct.unpack("<2I", expected[:8])
        assert device.receive(len(expected)) == expected

    await bench.host(work)
    with pytest.raises(UartError, match="found 0 bytes of output; expected 4"):
        await bench.host(lambda: bench.accelerator().device.receive(4))
