"""A laid-out program on the engine, step by step and row group by row group: when every step starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flow.cost.machine.attention import AttentionModel, Heads
from flow.cost.machine.linear import LinearIssue, Sweep
from flow.cost.machine.loader import Loader
from flow.cost.machine.memory import LATENCY_CYCLES, Reader
from flow.cost.machine.norm import NormModel
from flow.cost.machine.records import RecordShape, record_shapes
from flow.cost.machine.sequencer import LOADED, Dispatch, Front
from flow.cost.machine.streams import give_output, pool, take_constant, take_input
from flow.cost.machine.unit import End, Start
from flow.engine import STAGE_WORDS, Engine, Opcode, Record
from flow.engine.timing import Timing
from flow.formats import EncodedMatrix

EXP_ENTRIES = 256
"""Of the exponential table, which is loaded an entry a cycle (exp_loader.v)."""


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
            return sum(beats for _, beats, _ in self.spans(engine))
        return EXP_ENTRIES if opcode is Opcode.ATTENTION else 0

    def sections(self, engine: Engine) -> list[int]:
        """Cycles of each beat of page, table and parameters: a 64-bit word a cycle, or half of one."""
        words, beat = self.record.words, engine.beat_bytes // 8
        found = list(self.page)
        if bits := words.get("table_bits", 0):
            found += _beats(max(1, 1 << bits >> 2), beat)
        if words.get("stage"):
            found += _beats(STAGE_WORDS, 2 * beat)
        return found

    def spans(self, engine: Engine) -> list[tuple[int, int, bool]]:
        """What step_checker finds that the step reads: offset, beats, and whether it is a code page."""
        words, opcode = self.record.words, self.record.opcode
        nothing = (0, 0, False)

        def beats(size: int) -> int:
            return -(-size // engine.beat_bytes)

        if opcode is Opcode.CONSTANT:
            size = words["tiles"] * words["depth"] * words["planes"] * engine.banks * engine.tokens
            return [(words["data"], beats(size), False), nothing]
        if opcode is Opcode.LINEAR:
            extra = nothing
            if words.get("table_bits"):
                extra = (words["table"], beats(2 << words["table_bits"]), False)
            if words.get("stage"):
                extra = (words["stage_data"], beats(4 * STAGE_WORDS), False)
            return [
                (words["page"], len(self.page), True),
                extra,
                (words["weights"], words["weight_beats"], False),
            ]
        if opcode is Opcode.NORM:
            size = beats(8 * words["depth"] * engine.banks)
            return [
                (words[f"constants{i}"], size, False) if i < words["outputs"] else nothing for i in range(2)
            ]
        if opcode is Opcode.ATTENTION:
            return [(words["exp"], beats(512), False), nothing]
        return [nothing, nothing]


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
        self.engine, self.tasks, self.timing = engine, tasks, Timing(engine)
        self.reader = Reader(engine.beat_bytes, latency, pace)
        self.front, self.dispatch = Front(self.reader), Dispatch()
        self.loader = Loader(self.timing, self.reader)
        self._table_free = 0
        self._norm_free = 0

    def frames(self, count: int) -> list[list[Timed]]:
        """The steps of `count` frames; the last one's last step ends with the command."""
        order = self.tasks * count
        self.front.ask(order[0].spans(self.engine))
        for task, after in zip(order, [*order[1:], None], strict=True):
            self._step(task, after)
        # command_control sees that all is idle a cycle later.
        starts = [*self.dispatch.starts, self.dispatch.dones[-1] + 1]
        timed = iter(
            Timed(start, after - start, end.waits)
            for start, after, end in zip(starts, starts[1:], self.dispatch.ends, strict=False)
        )
        return [list(_take(timed, len(self.tasks))) for _ in range(count)]

    def _step(self, task: Task, after: Task | None) -> None:
        """One step. The data of the one behind it are asked for as soon as it is accepted: its bursts come between
        those of this one."""
        opcode, dispatch = task.record.opcode, self.dispatch
        accepted = dispatch.accept(self.front.offered(), opcode)
        self.front.accepted(accepted, task is self.tasks[-1])
        if after is not None:
            self.front.ask(after.spans(self.engine))
        if opcode is Opcode.LINEAR:
            end = self._linear(task, accepted)
        elif opcode is Opcode.CONSTANT:
            start = dispatch.start(accepted, opcode, 0)
            end = take_constant(self.timing, start, _lines(task, self.engine), self.reader)
            dispatch.load_free = end.done + 1
        else:
            loaded = 0
            if opcode in LOADED:
                loaded = self._load(task, accepted + 1)
                dispatch.load_free = loaded
            end = self._unit(task, dispatch.start(accepted, opcode, loaded))
        dispatch.ended(end)

    def _load(self, task: Task, start: int) -> int:
        """The cycle from which constants of a norm, or the exponential table, count as loaded.

        A beat a cycle, or an entry of the table a cycle; what is there is used until its step is done.
        """
        beats = sum(beats for _, beats, _ in task.spans(self.engine))
        each, free = 1, self._norm_free
        if task.record.opcode is Opcode.ATTENTION:
            each, free = self.engine.beat_bytes // 2, self._table_free
        cycle = max(start + 1, free)
        for _ in range(beats):
            first = max(cycle, self.reader.first(len(self.reader.pops)))
            self.reader.take(first + each - 1)
            cycle = first + each
        return cycle + 1

    def _unit(self, task: Task, start: Start) -> End:
        words, engine, timing = task.record.words, self.engine, self.timing
        tiles = engine.tiles(task.tokens)
        opcode = task.record.opcode
        if opcode is Opcode.INPUT:
            return take_input(timing, start, _lines(task, engine))
        if opcode is Opcode.OUTPUT:
            return give_output(timing, start, _lines(task, engine))
        if opcode is Opcode.POOL:
            mean = bool(words["mean"])
            return pool(timing, start, words["depth"], tiles if mean else 1, mean, 1 + (words["bits"] > 8))
        if opcode is Opcode.NORM:
            planes = sum(1 + (words[f"bits{i}"] > 8) for i in range(words["outputs"]))
            end = NormModel(timing, start, words["depth"], tiles, planes).run()
            self._norm_free = end.done
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
        loader.begin(accepted + 1, task.sections(self.engine))
        start = self.dispatch.start(accepted, Opcode.LINEAR, 0)
        issue = LinearIssue(self.timing, start, task.sweep(self.engine))
        for record in records[: issue.sweep.groups]:
            offered = loader.record(record)
            loader.taken.append(issue.take(offered, record.cycles))
            loader.ring.freed(*issue.freed)
        loader.drain(sum(record.beats for record in records[issue.sweep.groups :]))
        self.dispatch.load_free = loader.end() + 1
        return issue.end()


def page_cycles(encoded: EncodedMatrix, engine: Engine) -> tuple[int, ...]:
    """For each beat of a code page the cycles that loader_front.v works on it: a 64-bit word a cycle, two for an
    entry where some have more than eight members."""
    shapes = encoded.page.shapes
    entry = 2 if any(shape.take > 8 and shape.entries for shape in shapes) else 1
    cycles = [1] * (1 + len(shapes)) + [entry] * sum(shape.entries for shape in shapes)
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


def _take(items: Iterator[Timed], count: int) -> Iterator[Timed]:
    for _ in range(count):
        yield next(items)
