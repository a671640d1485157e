"""INPUT, CONSTANT, OUTPUT and POOL: tensor_reader.v, tensor_writer.v and pool_unit.v."""

from __future__ import annotations

from flow.cost.machine.memory import Reader
from flow.cost.machine.unit import End, Start
from flow.engine.timing import Timing


def pieces(timing: Timing, lines: int, beat_bytes: int) -> int:
    """Beats of a tensor, or its lines where a beat holds several: one a cycle (tensor_split.v)."""
    line = timing.engine.banks * timing.engine.tokens
    return max(lines, -(-lines * line // beat_bytes))


def take_input(timing: Timing, start: Start, lines: int) -> End:
    """A tensor from the input stream, whose beats wait: taken from the cycle after the start on, each written in the
    cycle behind it."""
    done = start.cycle + pieces(timing, lines, timing.engine.stream_bytes) + 2
    return End(done, done, (), {"stream": done - start.cycle})


def take_constant(timing: Timing, start: Start, lines: int, reader: Reader) -> End:
    """A tensor from the image: its beats are taken while the step runs."""
    engine = timing.engine
    line = engine.banks * engine.tokens
    beats = -(-lines * line // engine.beat_bytes)
    each = max(1, engine.beat_bytes // line)
    first = earliest = start.cycle + 1
    left = lines
    for _ in range(beats):
        earliest = reader.take(earliest)
        left -= each
        # A beat of several lines is given line by line.
        earliest += max(1, each if left >= 0 else each + left)
    done = earliest + 1
    return End(done, done, (), {"memory bandwidth": done - first})


WRITER_LATENCY = 6
"""tensor_writer: from a read to its beat on the stream: memory 2, chosen piece, beat, queue 2."""


def give_output(timing: Timing, start: Start, lines: int, tiles: int) -> End:
    """A tensor to the output stream: a read a cycle but for a tile's first, and the way of the last one's beat."""
    reads = pieces(timing, lines, timing.engine.stream_bytes)
    # A new tile is known a cycle late (`tile_ready_q`).
    issued = start.cycle + 1 + reads + tiles
    # Its place is free in the cycle after it was sent, and the unit idle in the one behind that.
    return End(issued, issued - 1 + WRITER_LATENCY + 2, (), {"stream": reads})


RUN = 3
"""pool_unit: from its start to the reader's, registers `waiting_q`, `seen_q` and `enough_q`."""
KNOWN = 1
"""line_reader: whether a line may be read comes from a register (`tile_ok_q`)."""
SCALE_LATENCY = 7
"""pool_unit: ScaleLatency."""
DIVISION = 17
"""pool_unit: cycles of floor(2^16 / length)."""


def pool(timing: Timing, start: Start, depth: int, tiles: int, mean: bool, planes: int) -> End:
    """Line by line over all tiles; the sums of a line leave one a cycle while the next one is added up."""
    engine = timing.engine
    parts = engine.banks // min(engine.norm_lanes, engine.banks)
    free = start.cycle + RUN + 1
    want = free + KNOWN
    if mean:
        free += DIVISION
    left: list[int] = []
    for line in range(depth):
        if line >= 2:
            # Two lines lie in the memory of the sums; one has left in the cycle before `left`.
            want = max(want, left[line - 2] + 1 + KNOWN)
        for _ in range(tiles):
            high = want + 1
            want = high + max(2, parts - 1)
        last = high + 2 + parts - 1
        # x, the tokens that count, their sum, and the line is counted.
        begin = max(last + 4, free)
        left.append(begin + engine.banks)
        written = begin + engine.banks + SCALE_LATENCY + planes
        free = written + 1
    reading = depth * tiles * max(3, parts)
    waits = {"norm lanes" if parts >= 3 else "ports": reading, "post lanes": written - start.cycle - reading}
    return End(written + 1, written + 1, (), waits)
