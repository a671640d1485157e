"""The sequencer: step_front.v, which asks for data ahead, and step_dispatch.v, which starts steps in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from flow.cost.machine.memory import Reader
from flow.cost.machine.unit import End, Start
from flow.engine import Opcode

CHECKED = 32
"""step_front: from a record's first word to its first span: 16 words and a gap, and the 15 cycles of step_checker."""
ARRAY = (Opcode.LINEAR, Opcode.ATTENTION)
FOLLOWED = (Opcode.LINEAR, Opcode.ATTENTION, Opcode.NORM)
"""Steps that others may follow tile by tile, and that may follow others."""
LOADED = (*ARRAY, Opcode.NORM, Opcode.CONSTANT)
NEVER = 1 << 60


@dataclass
class Front:
    """Reads records and asks for their data; one record ahead of the steps that wait."""

    reader: Reader
    _read: int = 1
    """The cycle in which the next record's first word is read; the header of a frame is taken in cycle 0."""

    def ask(self, spans: list[tuple[int, int, bool]]) -> None:
        """Read and check the next record, and ask for its data: spans (offset, beats, is a page)."""
        for i, (offset, beats, probe) in enumerate(spans):
            self.reader.ask(self._read + CHECKED + i, offset, beats, probe)

    def offered(self) -> int:
        """The cycle from which that record is offered."""
        return self.reader.asked() + 1

    def accepted(self, cycle: int, ends_frame: bool) -> None:
        """The record was taken; the next one, or the next frame's header, comes."""
        self._read = cycle + (3 if ends_frame else 1)


@dataclass
class Dispatch:
    """When steps are accepted, loaded and started."""

    load_free: int = 0
    """From when another step may be accepted for loading."""
    starts: list[int] = field(default_factory=list)
    opcodes: list[Opcode] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    dones: list[int] = field(default_factory=list)
    """From when each step counts as written."""
    parity: list[int] = field(default_factory=list)
    """Indices of array steps, in order."""

    def accept(self, offered: int, opcode: Opcode) -> int:
        """A record is accepted: nothing loads, at most one step waits, and the parity of an array step is free."""
        index = len(self.starts)
        cycle = max(offered, self.load_free)
        if index >= 2:
            cycle = max(cycle, self.starts[index - 2])
        if opcode in ARRAY and len(self.parity) >= 2:
            cycle = max(cycle, self._released(self.parity[-2]))
        return cycle

    def _released(self, index: int) -> int:
        """From when the parity of an array step is free: it was done when the next one started, or later."""
        done = self.dones[index]
        if index + 1 < len(self.starts):
            return max(done + 1, self.starts[index + 1])
        return NEVER

    def start(self, accepted: int, opcode: Opcode, loaded: int) -> Start:
        """A step starts behind the one before it, which has read everything, or is done where it cannot be followed."""
        index = len(self.starts)
        cycle = max(accepted + 1, loaded)
        if index >= 1:
            before = self.opcodes[index - 1]
            follows = (
                before in FOLLOWED
                and opcode in FOLLOWED
                and (before is not opcode or opcode is Opcode.LINEAR)
            )
            end = self.ends[index - 1]
            cycle = max(cycle, self.starts[index - 1] + 1, end.issued if follows else self.dones[index - 1])
        if index >= 2:
            cycle = max(cycle, self.dones[index - 2] + 1)
        return self._started(cycle, opcode)

    def _started(self, decided: int, opcode: Opcode) -> Start:
        index, cycle = len(self.starts), decided + 1
        self.starts.append(cycle)
        self.opcodes.append(opcode)
        if opcode in ARRAY:
            self.parity.append(index)
        if not index:
            return Start(cycle, (), cycle)
        end, done = self.ends[index - 1], self.dones[index - 1]
        if end.drain and decided < end.done:
            # The array's drain begins anew in every cycle in which attention is the step at hand and not done.
            done = self.dones[index - 1] = max(end.done, decided + 1 + end.drain)
        whole = cycle if done <= decided else done + 1
        return Start(cycle, end.tiles, whole, end.busy, end.writes)

    def ended(self, end: End) -> None:
        """What has become of the step that was started last."""
        self.ends.append(end)
        self.dones.append(end.done + end.drain)
