"""What `flow sim --backend cosim` runs: the frames of job.json, under its stalls; writes output.bin and result.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
from bench import Bench, cut


@cocotb.test()
async def job(dut: Any) -> None:
    """Run the job's frames in bursts of several frames a RUN."""
    given = json.loads(Path("job.json").read_bytes())
    bench = Bench(dut, seed=given["seed"], patience=given["patience"])
    bench.stalls(**given["stalls"])
    await bench.reset()
    await bench.load(bench.image)
    frames = cut(Path("input.bin").read_bytes(), given["input_bytes"])
    outputs: list[bytes] = []
    with Path("output.bin").open("wb") as file:
        while len(outputs) < len(frames):
            batch = frames[len(outputs) : len(outputs) + bench.random.randint(1, 4)]
            results = await bench.run(batch, before=bench.random.choice((0, 0, 200)))
            file.write(b"".join(results))
            outputs += results
    result = {"output_bytes": [len(output) for output in outputs], "counts": bench.counts()}
    Path("result.json").write_text(json.dumps(result))
