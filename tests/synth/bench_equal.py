"""A module and its netlist side by side under random stimulus: every output equal in every cycle."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

CASE = json.loads(Path("case.json").read_text())


def apart(drawn: dict[str, int]) -> dict[str, int]:
    """Stimulus that a module gives a meaning to: what reads while a word is written reads another word."""
    for other in dict.fromkeys(other for *_, others in CASE["apart"] for other in others):
        written = {
            drawn[address] for write, address, others in CASE["apart"] if other in others and drawn[write]
        }
        while drawn[other] in written:
            drawn[other] = (drawn[other] + 1) % (1 << CASE["inputs"][other])
    return drawn


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def equal(dut: Any) -> None:
    """Random words on every input, some cycles all zeros or all ones; a reset in the midst where there is one."""
    rng = random.Random(CASE["seed"])
    Clock(dut.clk_i, 10, unit="ns").start()
    differed: set[int] = set()
    stale = False
    checked = 0
    for cycle in range(CASE["cycles"]):
        await RisingEdge(dut.clk_i)
        kind = rng.choices(("random", "zeros", "ones"), (8, 1, 1))[0]
        drawn = {
            name: {"random": rng.getrandbits(bits), "zeros": 0, "ones": (1 << bits) - 1}[kind]
            for name, bits in CASE["inputs"].items()
        }
        drawn = apart(drawn)
        if "rst_ni" in drawn:
            drawn["rst_ni"] = int(cycle >= 5 and not 300 < cycle < 305)
        for name, value in drawn.items():
            getattr(dut, name).value = value
        await Timer(8, unit="ns")
        if not stale:
            assert int(dut.equal_o.value) == 1, f"found the netlist to differ in cycle {cycle}"
            checked += 1
        # What was read while something was written has no meaning, until the next read.
        if any(drawn[name] for name in CASE["skip_after"]):
            stale = True
        elif drawn.get("re_i", 1):
            stale = False
        differed.add(int(dut.seen_o.value))
    assert checked > CASE["cycles"] / 10, f"found {checked} cycles with a meaning; expected more"
    assert len(differed) > 10, "found outputs that hardly change; expected another stimulus"
