"""A cocotb test that runs the cases of cases.json on a kernel beside a clock and says how each ended.

Runs inside the simulator, beside the bench of a build. Each line of results.jsonl is written before the next case
begins, so that a kernel that takes the simulator with it is known by the case it died in.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import cocotb
from bench import Bench, StuckError, cut
from cocotb.triggers import SimTimeoutError, with_timeout
from flow_driver import EngineError, Info

PERIOD_NS, COMMAND_CYCLES = 10, 60_000
Answer = dict[str, Any]


@cocotb.test()
async def cases(dut: Any) -> None:
    """Every case in order, until one ends in a way that leaves the engine in no known state."""
    given = json.loads(Path("cases.json").read_bytes())
    bench = Bench(dut, seed=given["seed"], patience=given["patience"])
    bench.stalls(**given["stalls"])
    with Path("results.jsonl").open("w") as file:
        for number, sizes in enumerate(given["cases"]):
            await bench.reset()
            image, stream = (Path(f"{number}.{kind}").read_bytes() for kind in ("image", "input"))
            answer = await case(bench, image, cut(stream, sizes))
            Path(f"{number}.output").write_bytes(answer.pop("output"))
            file.write(json.dumps(answer) + "\n")
            file.flush()
            if answer["how"]:
                break


async def case(bench: Bench, image: bytes, parts: list[bytes]) -> Answer:
    """LOAD, then a RUN for each frame until the stream is used up or the engine reports an error; each part of the
    stream waits until the one before it was taken."""
    output = bytearray()
    how = ""
    info: Info = {}
    try:
        info = await limited(bench.load(image))
        width = bench.protocol.description["engine"]["stream_bytes"]
        ends = [end // width for end in accumulate(map(len, parts))]
        while (taken := bench.counts()["in"]) < ends[-1]:
            if bench.source.idle():
                bench.send([parts[bisect_right(ends, taken)]])
            await bench.carry_out(bench.protocol.start("RUN", 1))
            info = await limited(bench.guard(bench.carry_out(bench.protocol.finish())))
            bench.protocol.check(info, "RUN")
            how = await collect(bench, output)
            if how:
                break
        how = how or await forgotten(bench, image)
        if bench.counts()["refused"]:
            how = "memory"
    except EngineError as error:
        info = error.info
    except StuckError:
        how = "watchdog"
    except SimTimeoutError:
        how = "timeout"
    return {"how": how, "info": info, "output": bytes(output)}


async def forgotten(bench: Bench, image: bytes) -> str:
    """What is wrong after a LOAD that fails: it must leave no program behind, neither the last one nor a part."""
    try:
        await limited(bench.load(b"\0" * 4 + image[4:]))
    except EngineError as error:
        await bench.carry_out(bench.protocol.start("RUN", 1))
        info = await limited(bench.guard(bench.carry_out(bench.protocol.finish())))
        clean = bench.protocol.status(info) == "NOT_LOADED" and info["steps_loaded"] == 0
        return "" if clean and error.info["steps_loaded"] == 0 else "still loaded"
    return "loaded"


async def limited(work: Any) -> Any:
    """What a command gives, within far more cycles than any of these takes."""
    return await with_timeout(work, COMMAND_CYCLES * PERIOD_NS, "ns")


async def collect(bench: Bench, output: bytearray) -> str:
    """Take the output frame; what is wrong with it."""
    await bench.cycles(4)
    frames = [bytes(bench.sink.recv_nowait().tdata) for _ in range(bench.sink.count())]
    output += b"".join(frames)
    return "TLAST" if len(frames) > 1 or not bench.sink.idle() else ""
