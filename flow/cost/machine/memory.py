"""The AXI4 read master and the memory behind it: when each beat of the image can be taken.

After `memory_reader.v` and a memory that answers in order, a fixed number of cycles after an address, with a beat every
`pace` cycles. Bursts are worked out as beats are asked for: whether there is room for a burst depends on when earlier
beats were taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

LATENCY_CYCLES = 100
"""From a burst's address to its first beat, of the memory that estimates suppose."""
ON_CHIP_CYCLES = 7
"""The same of the image in block RAM: the address, five stages and a queue (chip_image.v)."""
FIFO_BEATS = 512
"""Beats that `memory_reader` holds (FifoLog2)."""
PAGE_BYTES = 4096
"""No burst crosses a page of the address space."""
MOST_BURST = FIFO_BEATS // 4
QUEUED_SPANS = 8
"""Spans that wait in the reader (memory_reader.v: Queue)."""
OUTSTANDING = 3
"""Bursts that wait in the memory (`axi_memory.sv`: Outstanding - 1)."""
ANSWER = 1
"""From the cycle in which a beat may come to the one in which it stands at the port: a register."""
FIFO = 2
"""Cycles through an empty `fifo.v`."""
SLICE = 1
"""Cycles through `stream_slice.v` behind it."""
SPAN = 4
"""memory_reader: from the begin of a span to its first burst, states Bound, Split, Length and Issue."""
BURST = 2
"""memory_reader: from a burst to the next one, states Length and Issue."""


@dataclass
class Span:
    """Beats that a step reads, from beat `offset` of the image on, asked for in cycle `push`; a code page is looked
    at ahead (`probe`)."""

    push: int
    offset: int
    beats: int
    probe: bool
    known: int = 0
    begun: int = 0


@dataclass
class Reader:
    """Spans in order as one stream of beats. Beats are counted from the first span's first.

    `asks` gets more spans where it can be told when they are asked for; it is called whenever one has begun.
    """

    beat_bytes: int
    latency: int = LATENCY_CYCLES
    pace: float = 1.0
    asks: Callable[[], None] = lambda: None
    spans: list[Span] = field(default_factory=list)
    pops: list[int] = field(default_factory=list)
    """Cycles in which beats were taken, in order."""
    held: int = 0
    """Cycles that beats waited at the front of the queue: whoever takes them was slower than they came."""
    _there: list[int] = field(default_factory=list)
    """From when each beat that was asked for might be taken, as long as those before it are gone."""
    _probed: int = 0
    _head: int = 0
    _idle: int = 0
    """The cycle from which the next span may begin, or the next burst be asked for."""
    _accepted: int = 0
    """The cycle in which the last address was taken."""
    _ends: list[int] = field(default_factory=list)
    """The cycle in which the last beat of each burst stands at the port."""
    _clock: float = 0.0
    _offset: int = 0
    _left: int = 0

    def room(self, span: int) -> int | None:
        """The cycle from which a span finds a place in the queue; none while that cannot be told."""
        if span < QUEUED_SPANS:
            return 0
        return self.spans[span - QUEUED_SPANS].begun + 1 if span - QUEUED_SPANS < self._head else None

    def first(self, beat: int) -> int:
        """The cycle from which a beat may be taken, as long as those before it are gone."""
        there = self._there
        while len(there) <= beat:
            self.advance()
        return there[beat]

    def take(self, earliest: int) -> int:
        """Take the next beat in cycle `earliest` or as soon as it is there; returns the cycle."""
        pops, there = self.pops, self._there
        beat = len(pops)
        while len(there) <= beat:
            self.advance()
        soonest = there[beat]
        if beat and pops[-1] >= soonest:
            soonest = pops[-1] + 1
        cycle = soonest
        if earliest > soonest:
            cycle = earliest
            self.held += earliest - soonest
        pops.append(cycle)
        return cycle

    def _probes(self, before: int | None) -> None:
        """Look at pages: those that come before a cycle on the address channel, or up to the next span's own."""
        while self._probed < len(self.spans):
            index = self._probed
            if before is None and index > self._head:
                return
            span = self.spans[index]
            cycle = max(span.push + 1, self.spans[index - 1].known if index else 0)
            if span.probe:
                cycle = max(cycle, self._accepted)
                if before is not None and cycle > before:
                    return
                span.known = ceil(self._burst(cycle, 1)) + 1
            else:
                span.known = cycle + 1
            self._probed += 1

    def advance(self) -> None:
        """Begin the next span, or ask the memory for the next burst of the one at hand.

        After a span's begin come the reader's states Bound, Split, Length and Issue, after every burst Length
        again, and after the last one Idle.
        """
        if not self._left:
            span = self.spans[self._head]
            self._probes(None)
            span.begun = max(span.known, self._idle)
            self._head += 1
            self._idle = span.begun + SPAN
            self._offset, self._left = span.offset, span.beats
            self.asks()
            return
        page = PAGE_BYTES // self.beat_bytes
        size = min(self._left, MOST_BURST, page - self._offset % page)
        cycle = max(self._idle, self._accepted)
        freed = len(self._there) + size - FIFO_BEATS - 1
        if freed >= 0:
            cycle = max(cycle, self._left_fifo(freed) + 1)
        self._probes(cycle)
        cycle = max(cycle, self._accepted)
        since = self._burst(cycle, size) + FIFO + SLICE
        self._there += [ceil(since + beat * self.pace) for beat in range(size)]
        self._idle = cycle + BURST
        self._offset, self._left = self._offset + size, self._left - size

    def _left_fifo(self, beat: int) -> int:
        """When a beat left the queue of the reader: into `stream_slice.v`, which holds two."""
        return max(self._there[beat] - SLICE, self.pops[beat - 2] + 1 if beat >= 2 else 0)

    def _burst(self, cycle: int, beats: int) -> float:
        """Put an address of `beats` beats out in a cycle; returns when the first one stands at the port."""
        self._accepted = cycle + 1
        if len(self._ends) >= OUTSTANDING:
            self._accepted = max(self._accepted, self._ends[-OUTSTANDING] + 1)
        first = max(self._clock, self._accepted + self.latency + ANSWER)
        self._clock = first + beats * self.pace
        self._ends.append(ceil(first + (beats - 1) * self.pace))
        return first
