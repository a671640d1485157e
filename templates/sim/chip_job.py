"""What flow runs on a chip in Verilator: the build's sample frames through its UART, on the image it was built with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
from chip_bench import ChipBench


@cocotb.test()
async def frames(dut: Any) -> None:
    """LOAD, then RUN for each of the first frames; writes output.bin, expected.bin and result.json."""
    bench = ChipBench(dut)
    count = json.loads(Path("job.json").read_bytes())["frames"]
    await bench.reset()

    def work() -> tuple[list[bytes], list[int]]:
        accelerator = bench.accelerator()
        accelerator.carry_out(accelerator.protocol.load(0))
        outputs, cycles = [], []
        for frame, expected in zip(bench.frames[:count], bench.expected, strict=False):
            # The frame waits at the input and the answer at the output: cycles are the engine's, not the UART's.
            accelerator.device.send(frame)
            accelerator.carry_out(accelerator.protocol.start("RUN", 1))
            info = accelerator.protocol.check(accelerator.carry_out(accelerator.protocol.finish()), "RUN")
            outputs.append(accelerator.device.receive(len(expected)))
            cycles.append(info["cycles_low"])
        return outputs, cycles

    outputs, cycles = await bench.host(work)
    assert len(outputs) == count, f"found {len(outputs)} frames; expected {count}"
    Path("output.bin").write_bytes(b"".join(outputs))
    Path("expected.bin").write_bytes(b"".join(bench.expected[:count]))
    Path("result.json").write_text(json.dumps({"cycles": cycles}))
