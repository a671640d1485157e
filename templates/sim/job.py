"""What `flow sim` runs in Verilator: the frames of job.json, under its stalls; writes output.bin and result.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
from bench import Bench, cut


@cocotb.test()
async def job(dut: Any) -> None:
    """Run the job's frames, several a RUN: as many as `batches` says, or a random number."""
    given = json.loads(Path("job.json").read_bytes())
    bench = Bench(dut, seed=given["seed"], patience=given["patience"])
    bench.stalls(**given["stalls"])
    await bench.reset()
    await bench.load(bench.image)
    frames = cut(Path("input.bin").read_bytes(), given["input_bytes"])
    outputs: list[bytes] = []
    batches = iter(given["batches"] or [])
    with Path("output.bin").open("wb") as file:
        while len(outputs) < len(frames):
            drawn = (bench.random.randint(1, 4), bench.random.choice((0, 0, 200)))
            count, before = drawn if given["batches"] is None else (next(batches), 0)
            results = await bench.run(frames[len(outputs) : len(outputs) + count], before=before)
            file.write(b"".join(results))
            outputs += results
    result = {"output_bytes": [len(output) for output in outputs], "counts": bench.counts()}
    Path("result.json").write_text(json.dumps(result))
