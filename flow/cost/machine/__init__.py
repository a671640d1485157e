"""The Verilog engine as a recurrence over row groups, line pairs and bursts: when every step of a program starts.

Each module follows the Verilog modules that it names, and is exact where they are: a step's estimate is off where the
model leaves something out, which `tools/bench/cycles.py` measures.
"""

from flow.cost.machine.memory import LATENCY_CYCLES, ON_CHIP_CYCLES
from flow.cost.machine.walk import Task, Walk

__all__ = ["LATENCY_CYCLES", "ON_CHIP_CYCLES", "Task", "Walk"]
