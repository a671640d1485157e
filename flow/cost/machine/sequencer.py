"""The sequencer: step_front.v, which asks for data ahead, and step_dispatch.v, which starts steps in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flow.cost.machine.memory import FIFO, Reader, Span
from flow.cost.machine.unit import SAID, End, Start
from flow.engine import Opcode

CHECKED = 58
"""step_front: from a record's first word to its first span: 16 words and a gap, and the 41 cycles of step_checker,
which waits 11 for the words, takes 6 for each of four regions, and 4 for spans and their ends."""
DECIDED = 2
"""step_dispatch: from the cycle in which a step may start to the pulse, registers `go_q` and `start_q`."""
QUEUED_STEPS = 4
"""Steps in the memory of step_queue.v; another one stands in front of it."""
HEADER = 2
"""step_front: from a frame's last record to the next one's header, states Offer and Frame."""
LENGTH = 2
"""step_front: from a header to the frame's first record; whether its length is one is a state of its own."""
ARRAY = (Opcode.LINEAR, Opcode.ATTENTION)
FOLLOWED = (Opcode.LINEAR, Opcode.ATTENTION, Opcode.NORM)
"""Steps that others may follow tile by tile, and that may follow others."""
LOADED = (*ARRAY, Opcode.NORM, Opcode.CONSTANT)
NEVER = 1 << 60


Spans = Sequence[tuple[int, int, bool] | None]
"""What a step reads of the image: offset, beats, whether it is a code page; none where it has no such span."""


class Front:
    """step_front.v and step_queue.v: records are read and checked, and their data asked for, as far ahead as
    there is room for spans and steps. The first frame's header is taken in cycle 0."""

    def __init__(self, reader: Reader, records: Sequence[Spans], frame: int) -> None:
        self._reader, self._records, self._frame = reader, records, frame
        self._record = self._span = 0
        self._now = LENGTH + CHECKED
        """The cycle of the state at hand: of a span, or of the offer to the queue."""
        self._pushed: list[int] = []
        self._taken: list[int] = []
        self._inputs: dict[int, int] = {}
        reader.asks = self._advance
        self._advance()

    def offered(self, record: int) -> int:
        """The cycle from which the dispatcher may take a record, those before it having been taken."""
        while len(self._pushed) <= record:
            self._reader.advance()
        return self._offered(record)

    def _offered(self, record: int) -> int:
        # Two cycles through the queue's memory; the one behind stands there a cycle after the one before was taken.
        return max(self._pushed[record] + FIFO, self._taken[record - 1] + 1 if record else 0)

    def taken(self, cycle: int) -> None:
        """The dispatcher takes the next record."""
        self._taken.append(cycle)
        self._advance()

    def read_input(self, frame: int, done: int) -> None:
        """An input of a frame is read: where it is the last one, the next header may be taken."""
        self._inputs[frame] = done + SAID + 1

    def _advance(self) -> None:
        """Go on as far as can be told."""
        while self._record < len(self._records):
            spans = self._records[self._record]
            if self._span < len(spans):
                span = spans[self._span]
                if span is not None:
                    room = self._reader.room(len(self._reader.spans))
                    if room is None:
                        return
                    self._now = max(self._now, room)
                    self._reader.spans.append(Span(self._now, *span))
                self._now += 1
                self._span += 1
            elif not self._push():
                return

    def _push(self) -> bool:
        """The record goes to the queue, if it can be told when; the next one's words are read."""
        record = self._record
        if record >= QUEUED_STEPS:
            if len(self._taken) < record - QUEUED_STEPS:
                return False
            self._now = max(self._now, self._offered(record - QUEUED_STEPS))
        following = self._now + 1
        if (record + 1) % self._frame == 0 and record + 1 < len(self._records):
            inputs = self._inputs.get(record // self._frame)
            if inputs is None:
                return False
            following = max(self._now + HEADER, inputs) + LENGTH
        self._pushed.append(self._now)
        self._record, self._span, self._now = record + 1, 0, following + CHECKED
        return True


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

    def accept(self, offered: int, tables: bool) -> int:
        """A record is accepted: nothing loads, at most one step waits, and the parity of tables is free."""
        index = len(self.starts)
        cycle = max(offered, self.load_free)
        if index >= 2:
            cycle = max(cycle, self.starts[index - 2])
        if tables and len(self.parity) >= 2:
            cycle = max(cycle, self._released(self.parity[-2]))
        return cycle

    def _released(self, index: int) -> int:
        """From when the parity of an array step is free: it was done when the next one started, or later."""
        done = self.dones[index]
        if index + 1 < len(self.starts):
            return max(done + 1, self.starts[index + 1])
        return NEVER

    def start(self, accepted: int, opcode: Opcode) -> Start:
        """A step starts behind the one before it, which has read everything, or is done where it cannot be followed."""
        index = len(self.starts)
        cycle = accepted + 1
        if index >= 1:
            before = self.opcodes[index - 1]
            follows = (
                before in FOLLOWED
                and opcode in FOLLOWED
                and (before is not opcode or opcode is Opcode.LINEAR)
            )
            end = self.ends[index - 1]
            if not follows or opcode is not Opcode.LINEAR:
                self._settle(index - 1)
            behind = end.issued + SAID if follows else self.dones[index - 1]
            # What a unit says counts from the cycle after its start.
            cycle = max(cycle, self.starts[index - 1] + 1 + SAID, behind)
        if index >= 2:
            self._settle(index - 2)
            cycle = max(cycle, self.dones[index - 2] + 1)
        return self._started(cycle, opcode)

    def _started(self, decided: int, opcode: Opcode) -> Start:
        index, cycle = len(self.starts), decided + DECIDED
        self.starts.append(cycle)
        self.opcodes.append(opcode)
        if opcode in ARRAY:
            self.parity.append(index)
        if not index:
            return Start(cycle, whole=cycle)
        end, done = self.ends[index - 1], self.dones[index - 1]
        going = cycle - 1
        if end.drain and going < end.done:
            # The array's drain begins anew in every cycle in which attention is the step at hand and not done.
            done = self.dones[index - 1] = max(end.done + SAID, going + 1 + end.drain)
        whole = cycle if done <= going else done + 1
        late = end.late if done == NEVER else None
        return Start(cycle, 0, end.tiles, whole, end.busy, end.writes, late)

    def settle(self) -> None:
        """Nothing follows."""
        self._settle(len(self.ends) - 1)

    def _settle(self, index: int) -> None:
        """Nothing holds a step's writes up any more."""
        self.dones[index] = min(self.dones[index], self.ends[index].written + SAID + self.ends[index].drain)

    def ended(self, end: End) -> None:
        """What has become of the step that was started last."""
        self.ends.append(end)
        self.dones.append(NEVER if end.late is not None else end.done + SAID + end.drain)
