"""A laid-out program on the engine, step by step and row group by row group: when every step starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from flow.cost.machine.attention import AttentionModel, Heads
from flow.cost.machine.linear import LinearIssue, Sweep
from flow.cost.machine.loader import Loader
from flow.cost.machine.memory import FIFO, LATENCY_CYCLES, Reader
from flow.cost.machine.norm import NormModel
from flow.cost.machine.records import RecordShape, record_shapes
from flow.cost.machine.sequencer import LOADED, Dispatch, Front
from flow.cost.machine.streams import give_output, pool, take_constant, take_input
from flow.cost.machine.unit import SAID, End, Start
from flow.engine import STAGE_WORDS, Engine, Opcode, Record
from flow.formats import EncodedMatrix
from flow.ops.attention import TABLE_ENTRIES
from flow.ops.device import timing_of


@dataclass(frozen=True)
class Task:
    """A record of a program as the engine sees it.

    Attributes:
        record: opcode and words.
        tokens: of the longest sequence, 1 where it works on a single token.
        page: for each beat of the code page the cycles that the loader works on it.
        records: the weight stream of a linear step.
    """

    record: Record
    tokens: int
    page: tuple[int, ...] = ()
    records: tuple[RecordShape, ...] = ()

    @staticmethod
    def of(engine: Engine, record: Record, tokens: int, encoded: EncodedMatrix | None) -> Task:
        """The task of a laid-out record."""
        tokens = 1 if record.words["single_token"] else tokens
        if encoded is None:
            return Task(record, tokens)
        return Task(record, tokens, page_cycles(encoded, engine), tuple(record_shapes(encoded, engine)))

    def sweep(self, engine: Engine) -> Sweep:
        """What a linear step does for every row group."""
        return Sweep.of(engine, self.record.words, self.tokens)

    def preload(self, engine: Engine) -> int:
        """Cycles in which page, tables, constants of a norm or the exponential table are loaded."""
        opcode = self.record.opcode
        if opcode is Opcode.LINEAR:
            return sum(self.sections(engine))
        if opcode is Opcode.NORM:
            return sum(span[1] for span in self.spans(engine) if span is not None)
        return -(-2 * TABLE_ENTRIES // engine.beat_bytes) if opcode is Opcode.ATTENTION else 0

    def sections(self, engine: Engine) -> list[int]:
        """Cycles of each beat of page, table and parameters: a 64-bit word a cycle, or half of one."""
        words, beat = self.record.words, engine.beat_bytes // 8
        found = list(self.page)
        if bits := words.get("table_bits", 0):
            found += _beats(max(1, 1 << bits >> 2), beat)
        if words.get("stage"):
            found += _beats(STAGE_WORDS, 2 * beat)
        return found

    def spans(self, engine: Engine) -> list[tuple[int, int, bool] | None]:
        """What step_checker finds that the step reads."""
        words, opcode = self.record.words, self.record.opcode

        def span(offset: str, size: int) -> tuple[int, int, bool]:
            return words[offset], -(-size // engine.beat_bytes), False

        if opcode is Opcode.CONSTANT:
            size = words["tiles"] * words["depth"] * words["planes"] * engine.banks * engine.tokens
            return [span("data", size), None]
        if opcode is Opcode.LINEAR:
            extra = span("table", 2 << words["table_bits"]) if words.get("table_bits") else None
            if words.get("stage"):
                extra = span("stage_data", 4 * STAGE_WORDS)
            weights = span("weights", words["weight_beats"] * engine.beat_bytes)
            return [(words["page"], len(self.page), True), extra, weights]
        if opcode is Opcode.NORM:
            size = 8 * words["depth"] * engine.banks
            return [span("constants0", size), span("constants1", size) if words["outputs"] > 1 else None]
        if opcode is Opcode.ATTENTION:
            return [span("exp", 2 * TABLE_ENTRIES), None]
        return [None, None]


@dataclass(frozen=True)
class Timed:
    """One step of one frame: its start, the next one's, and what it waited for (cycles by cause)."""

    start: int
    cycles: int
    waits: dict[str, int]

    @property
    def bound(self) -> str:
        """The cause of most of its cycles."""
        return max(self.waits, key=lambda cause: self.waits[cause])


class Walk:
    """Frames of a program back to back, from the header of the first one's in cycle 0 on."""

    def __init__(
        self, engine: Engine, tasks: list[Task], pace: float = 1.0, latency: int = LATENCY_CYCLES
    ) -> None:
        self.engine, self.tasks, self.timing = engine, tasks, timing_of(engine)
        self.reader = Reader(engine.beat_bytes, latency, pace)
        self.dispatch = Dispatch()
        self.loader = Loader(self.timing, self.reader)
        self._table_free = 0
        self._norm = End(0, 0)
        self._issued: list[int] = []

    def frames(self, count: int, more: int = 0) -> list[list[Timed]]:
        """The steps of `count` frames. The last one ends with the command, or with the start of the first of `more`
        steps of another frame."""
        tasks = self.tasks * count + self.tasks[:more]
        self.front = Front(self.reader, [task.spans(self.engine) for task in tasks], len(self.tasks))
        for number, task in enumerate(tasks):
            self._step(number, task)
        self.dispatch.settle()
        starts = [*self.dispatch.starts, self.ended(len(self.dispatch.dones) - 1)]
        timed = iter(
            Timed(start, after - start, end.waits)
            for start, after, end in zip(starts, starts[1:], self.dispatch.ends, strict=False)
        )
        return [list(islice(timed, len(self.tasks))) for _ in range(count)]

    def ended(self, number: int) -> int:
        """When the command would end with a step: command_control sees that all is idle a cycle later."""
        return self.dispatch.dones[number] + 1

    def _step(self, number: int, task: Task) -> None:
        opcode, dispatch, front = task.record.opcode, self.dispatch, self.front
        sections = task.sections(self.engine)
        tables = opcode is Opcode.LINEAR and len(sections) > len(task.page)
        accepted = dispatch.accept(front.offered(number), tables)
        front.taken(accepted)
        if opcode is Opcode.LINEAR:
            end = self._linear(task, accepted)
        elif opcode is Opcode.CONSTANT:
            start = dispatch.start(accepted, opcode)
            end = take_constant(self.timing, start, _lines(task, self.engine), self.reader)
            dispatch.load_free = end.done + SAID + 1
        else:
            loaded = self._load(task, accepted + 1) if opcode in LOADED else 0
            end = self._unit(task, replace(dispatch.start(accepted, opcode), loaded=loaded))
        dispatch.ended(end)
        if opcode is Opcode.INPUT:
            front.read_input(number // len(self.tasks), end.done)

    def _load(self, task: Task, start: int) -> int:
        """The cycle from which constants of a norm, or the exponential table, stand: taken a beat a cycle.

        A norm's wait until those before are not used any more; the table's beats wait in a queue, and are written
        an entry a cycle when the table before is free (norm_constants.v, exp_loader.v).
        """
        beats = sum(span[1] for span in task.spans(self.engine) if span is not None)
        norm = task.record.opcode is Opcode.NORM
        first = cycle = max(start + 1, self._norm.written if norm else 0)
        for beat in range(beats):
            cycle = self.reader.take(cycle) + 1
            if beat == 0:
                first = cycle - 1
        self.dispatch.load_free = cycle + 1
        return cycle if norm else max(first + FIFO, self._table_free) + TABLE_ENTRIES

    def _unit(self, task: Task, start: Start) -> End:
        words, engine, timing = task.record.words, self.engine, self.timing
        tiles = engine.tiles(task.tokens)
        opcode = task.record.opcode
        if opcode is Opcode.INPUT:
            return take_input(timing, start, _lines(task, engine))
        if opcode is Opcode.OUTPUT:
            return give_output(timing, start, _lines(task, engine), tiles)
        if opcode is Opcode.POOL:
            mean = bool(words["mean"])
            return pool(timing, start, words["depth"], tiles if mean else 1, mean, 1 + (words["bits"] > 8))
        if opcode is Opcode.NORM:
            planes = sum(1 + (words[f"bits{i}"] > 8) for i in range(words["outputs"]))
            end = NormModel(timing, start, words["depth"], tiles, planes).run()
            self._norm = end
            return end
        heads = Heads(
            task.tokens,
            words["heads"],
            words["pitch"],
            1 + (words["exp_bits"] > 8),
            bool(words["causal"]),
            words["depth"],
        )
        model = AttentionModel(timing, start, heads)
        end = model.run()
        self._table_free = model.released
        return end

    def _linear(self, task: Task, accepted: int) -> End:
        loader, records = self.loader, task.records
        held = self.reader.held
        loader.begin(accepted + 1, task.sections(self.engine))
        start = self.dispatch.start(accepted, Opcode.LINEAR)
        issue = LinearIssue(self.timing, start, task.sweep(self.engine), self._issued, loader.ring.freed_all)
        for record in records[: issue.sweep.groups]:
            before = loader.taken[-1] if loader.taken else 0
            loader.taken.append(issue.put(loader.record(record), record.cycles, before))
        held = self.reader.held - held
        loader.drain(sum(record.beats for record in records[issue.sweep.groups :]))
        self.dispatch.load_free = loader.end() + 1
        end = issue.end()
        # What the array waits for is the loader's doing as far as it let beats wait, and the memory's beyond that.
        loading = min(end.waits["weights"], held)
        memory = end.waits["weights"] - loading
        return replace(end, waits={**end.waits, "weights": loading, "memory bandwidth": memory})


def page_cycles(encoded: EncodedMatrix, engine: Engine) -> tuple[int, ...]:
    """For each beat of a code page the cycles that loader_front.v works on it: a 64-bit word a cycle, two for the
    header, and for an entry where some have more than eight members."""
    shapes = encoded.page.shapes
    entry = 2 if any(shape.take > 8 and shape.entries for shape in shapes) else 1
    cycles = [2] + [1] * len(shapes) + [entry] * sum(shape.entries for shape in shapes)
    words = engine.beat_bytes // 8
    return tuple(sum(cycles[at : at + words]) for at in range(0, len(cycles), words))


def _beats(cycles: int, each: int) -> list[int]:
    """Cycles of every beat where `each` of them go to one."""
    return [min(each, cycles - at) for at in range(0, cycles, each)]


def _lines(task: Task, engine: Engine) -> int:
    """Lines of the tensor that a step moves."""
    words = task.record.words
    tiles = words["tiles"] if task.record.opcode is Opcode.CONSTANT else engine.tiles(task.tokens)
    return tiles * words["planes"] * words["depth"]
