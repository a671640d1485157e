"""The engine for a model on a board: the fastest that fits, and of those the smallest."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from flow.boards import Board
from flow.cost.cycles import beat_cycles, chained
from flow.cost.forms import MOST_BANKS, Row, StepForms
from flow.cost.image import image_bram18, shell_bram18
from flow.cost.model import ModelShape
from flow.cost.resources import (
    BRAM18_SHAPES,
    LUTRAM_WORDS,
    Usage,
    available,
    budget,
    engine_usage,
)
from flow.engine import Engine, Opcode, Space
from flow.errors import FitError, FlowError, near
from flow.ir import Graph

SLOWER = 1.1
"""Engines within 10 % of the fastest are equals; of these the one that takes the least of its scarcest
resource wins. Beyond the point where memory bandwidth or latency bounds a model, another doubling of the
array buys little more."""
MOST_STREAM_BYTES = 64
"""The kernel's stream words hold their keep bits in 64."""
MOST_TOKENS = 32
"""T beyond this is not tried: it saves weight bandwidth alone, while short sequences leave its lanes idle."""
LANES = ("tokens", "banks", "rows", "norm_lanes", "heads")
NAMES = {
    "dsp": "DSP",
    "lut": "LUT",
    "ff": "FF",
    "bram18": "block RAM of 18 Kibit",
    "uram": "UltraRAM",
}
BARRIERS = {**NAMES, "bram18": "block RAM", "image": "on-chip memory", "memory_mib": "memory"}
"""What lacks, in a word; without the unit that a count has."""


def fit(
    graph: Graph, board: Board, overrides: Mapping[str, int] | None = None, forms: StepForms | None = None
) -> Engine:
    """The engine on which the integer graph takes the fewest cycles within the board's resources.

    Tries powers of two for T, B, P, L and H with P <= T and P <= B, within `max_utilisation` of every
    resource of the board. Capacities are what the model needs, rounded up, so that other models fit too:
    `row_cycles` is at least `depth`, so a dense model of the same shape always does. `overrides` sets fields
    of `Engine` by name, with or without the prefix `engine.`; lanes that it names are not searched and
    capacities are taken as they are. `forms` of the same graph carry work over from other boards.

    The answer is that of trying them all: engines come in ascending order of cycles, by lower bounds first, and none
    is counted whose bound lies behind the engines that are still wanted.

    Raises:
        FlowError: an override names no field, or sets an impossible value.
        FitError: no engine fits; names what the engine that comes nearest lacks, and how much.
    """
    chosen = _checked(overrides or {})
    if forms is None or chosen.get("banks", 1) > forms.shape.most_banks:
        forms = StepForms.of(graph, max(MOST_BANKS, chosen.get("banks", 1)))
    return _Search(forms, board, chosen).run()


def barrier(forms: StepForms, board: Board, engine: Engine) -> str:
    """What keeps an engine of twice the multipliers away: of those that could be faster by more than a fit gives up for
    a smaller one, the resource that the nearest to fitting lacks. Empty where none could: none is faster than the
    memory gives it the image.
    """
    search = _Search(forms, board, {"norm_lanes": engine.norm_lanes, "heads": engine.heads})
    beat = beat_cycles(engine, board)
    least = forms.row(engine, beat).cycles / SLOWER
    larger = [
        array
        for array in search.arrays()
        if array.multipliers == 2 * engine.multipliers
        and forms.bound(array) < least
        and forms.shape.image_beats(array) * beat < least
    ]
    if not larger:
        return ""
    if not any(search.array_fits(array) for array in larger):
        return BARRIERS["dsp"]
    sized = [search.sized(array) for array in larger if search.array_fits(array)]
    nearest = min(sized, key=lambda found: engine_usage(found, board).share(search.limit))
    return " and ".join(BARRIERS[name] for name in search.missing(nearest))


def _checked(overrides: Mapping[str, int]) -> dict[str, int]:
    """Overrides by field name."""
    names = [f.name for f in fields(Engine) if f.name != "features"]
    checked: dict[str, int] = {}
    for key, value in overrides.items():
        name = key.removeprefix("engine.")
        if name not in names:
            raise FlowError(
                f"--set engine.{name}: unknown parameter; expected one of {', '.join(names)}{near(name, names)}"
            )
        checked[name] = value
    # Values that no search can mend are refused with the engine's own words.
    plain = Engine(tokens=1, banks=1, rows=1, norm_lanes=1, heads=1)
    widest = max([1, *(checked.get(name, 1) for name in ("tokens", "banks", "rows", "heads"))])
    room: dict[str, Any] = {
        name: checked.get(name, 1 << (widest - 1).bit_length()) for name in ("tokens", "banks")
    }
    _with(plain, room | checked)
    return checked


@dataclass(frozen=True)
class Candidate:
    """An engine with the cycles that it needs for one sample."""

    cycles: int
    engine: Engine

    @property
    def rank(self) -> tuple[int, ...]:
        """Ascending order of preference among engines of equal cycles: fewer multipliers, then fewer lanes."""
        e = self.engine
        return (self.cycles, e.multipliers, e.norm_lanes, e.heads, e.rows, e.banks, e.tokens)


@dataclass
class _Search:
    forms: StepForms
    board: Board
    chosen: Mapping[str, int]
    limit: Usage = field(init=False)

    def __post_init__(self) -> None:
        self.limit = budget(self.board)

    @property
    def shape(self) -> ModelShape:
        return self.forms.shape

    def run(self) -> Engine:
        arrays = [engine for engine in self.arrays() if self.array_fits(engine)]
        best: list[tuple[float, Candidate, Engine]] = []
        for candidate in self._ascending(arrays):
            if best and candidate.cycles > SLOWER * best[0][1].cycles:
                break
            engine = self.sized(candidate.engine)
            if not self.missing(engine):
                best.append((engine_usage(engine, self.board).share(self.limit), candidate, engine))
        if not best:
            raise self._refusal(arrays or list(self.arrays()))
        return min(best, key=lambda found: (found[0], found[1].rank))[2]

    def _ascending(self, arrays: list[Engine]) -> Iterator[Candidate]:
        """Engines of the arrays that may fit, by `Candidate.rank`.

        Three kinds of entries share a queue: arrays by their bound, engines by the sum of their steps, and counted
        engines by their rank. A counted engine leaves it when no bound could still hide one before it.
        """
        queue: list[tuple[int, int, tuple[int, ...], Engine | Row | Candidate]] = [
            (self.forms.bound(array), 0, (number,), array) for number, array in enumerate(arrays)
        ]
        heapq.heapify(queue)
        beats = {array: beat_cycles(array, self.board) for array in arrays}
        number = 0
        while queue:
            _, _, _, found = heapq.heappop(queue)
            if isinstance(found, Candidate):
                yield found
            elif isinstance(found, Row):
                candidate = Candidate(found.cycles, found.engine)
                heapq.heappush(queue, (candidate.cycles, 2, candidate.rank, candidate))
            elif self._may_fit(found):
                for row in self.forms.rows(found, self._lanes(found), self._abreast(found), beats[found]):
                    number += 1
                    heapq.heappush(queue, (row.least, 1, (number,), row))

    def arrays(self) -> Iterator[Engine]:
        """Every T, B, P that may be tried, with the fewest norm lanes and heads."""
        shape, beat = self.shape, self.board.axi_beat_bytes
        least: dict[str, Any] = self._least()
        capacities: dict[str, Any] = {
            "beat_bytes": beat,
            "stream_bytes": min(beat, MOST_STREAM_BYTES),
            "features": shape.features,
            "table_bits": shape.table_bits,
            **{name: value for name, value in self.chosen.items() if name not in LANES},
        }
        for tokens in self._powers("tokens", min(shape.tokens, MOST_TOKENS)):
            for banks in self._powers("banks", min(shape.most_banks, shape.widest)):
                for rows in self._powers("rows", min(tokens, banks, shape.most_rows)):
                    if rows <= min(tokens, banks) and least["heads"] <= banks:
                        yield Engine(tokens, banks, rows, **least, **capacities)

    def _least(self) -> dict[str, int]:
        """The fewest norm lanes and heads abreast that may be tried."""
        return {name: self.chosen.get(name, 1) for name in ("norm_lanes", "heads")}

    def _powers(self, name: str, most: int) -> list[int]:
        """Powers of two up to the first that is not below `most`, or the one that was asked for."""
        if name in self.chosen:
            return [self.chosen[name]]
        return [1 << i for i in range((max(most, 1) - 1).bit_length() + 1)]

    def array_fits(self, engine: Engine) -> bool:
        """Whether the multipliers alone fit; most arrays fall here, before anything is planned."""
        return -(-engine.multipliers // self.board.products_per_dsp) <= self.limit.dsp

    def _lanes(self, array: Engine) -> list[int]:
        """Norm lanes that are tried."""
        most = min(array.banks, self.shape.widest) if self.forms.has(Opcode.NORM) else 1
        return self._powers("norm_lanes", most)

    def _abreast(self, array: Engine) -> list[int]:
        """Heads abreast that are tried."""
        return self._powers("heads", min(array.banks, self.shape.heads))

    def _may_fit(self, array: Engine) -> bool:
        """Whether the array fits with the fewest norm lanes and heads."""
        return not self.missing(self.sized(array))

    def sized(self, engine: Engine) -> Engine:
        """The engine with capacities for the model.

        Memories hold what the plan needs and what their primitives hold in any case; `depth` is that of the
        widest tensor, rounded up to a power of two, and `row_cycles` a dense row of it; `sequence` is whole
        tiles, `steps` a power of two of at least 16.
        """
        shape, inputs = self.shape, self.board.lut_inputs
        peaks, depth = shape.peaks(engine), round_up(shape.depth(engine))
        operands = max(peaks.get(Space.OPERAND0, 1), peaks.get(Space.OPERAND1, 1))
        sizes = {
            "sequence": engine.tiles(shape.tokens) * engine.tokens,
            "operand_depth": filled(operands, inputs),
            "store_depth": filled(peaks.get(Space.STORE, 1), inputs),
            "values_depth": filled(peaks.get(Space.VALUES, 1), inputs),
            "depth": depth,
            "row_cycles": depth,
            "steps": max(16, round_up(shape.records)),
        }
        return _with(engine, {name: size for name, size in sizes.items() if name not in self.chosen})

    def missing(self, engine: Engine) -> dict[str, int]:
        """What the board lacks for this engine and model, by resource; empty where it fits."""
        used = engine_usage(engine, self.board)
        lacking = used.over(self.limit)
        beats = self.shape.weight_beats(engine)
        mib = -(-beats * engine.beat_bytes // 2**20)
        if self.board.weights == "on-chip":
            image = image_bram18(self.shape.image_beats(engine), self.board)
            short = used.bram18 + image + shell_bram18(engine) - self.board.bram18
            if short > 0:
                lacking["image"] = short
        elif mib > self.board.memory.capacity_mib:
            lacking["memory_mib"] = mib - self.board.memory.capacity_mib
        return lacking

    def _refusal(self, arrays: list[Engine]) -> FitError:
        """The message for the engine that comes nearest to fitting."""
        engines = [self.sized(array) for array in arrays]
        usages = [(engine_usage(engine, self.board), engine) for engine in engines]
        used, engine = min(usages, key=lambda pair: (pair[0].share(self.limit), Candidate(0, pair[1]).rank))
        lines = [self._shortage(name, short, used) for name, short in self.missing(engine).items()]
        size = f"T={engine.tokens}, B={engine.banks}, P={engine.rows}"
        return FitError(
            f"{self.shape.graph.name} on {self.board.name}: found no engine that fits: the nearest ({size}) needs "
            f"{' and '.join(lines)}; choose a larger board, a shorter sequence or a smaller model"
        )

    def _shortage(self, name: str, short: int, used: Usage) -> str:
        """One resource that is short: what is needed, expected, and missing."""
        if name == "image":
            have = self.board.bram18
            return (
                f"{have + short} {NAMES['bram18']} for itself, the model's image and the shell, expected at most "
                f"{have}, {short} too many"
            )
        if name == "memory_mib":
            have = self.board.memory.capacity_mib
            return (
                f"{have + short} MiB of {self.board.memory.kind}, expected at most {have}, {short} too many"
            )
        limit, have = getattr(self.limit, name), getattr(available(self.board), name)
        share = f"{self.board.max_utilisation:.0%} of {have}"
        return f"{getattr(used, name)} {NAMES[name]}, expected at most {limit} ({share}), {short} too many"


def _with(engine: Engine, values: Mapping[str, Any]) -> Engine:
    return replace(engine, **values)


def round_up(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def filled(words: int, lut_inputs: int) -> int:
    """Words of a memory that holds `words`, at no more cost: all of a distributed RAM, or whole block RAMs
    at their widest shape."""
    for most in LUTRAM_WORDS[lut_inputs]:
        if words <= most:
            return most
    step = min(depth for _, depth in BRAM18_SHAPES)
    return -(-words // step) * step


def cycles_of(graph: Graph, engine: Engine, beat: float = 1.0) -> dict[str, int]:
    """Cycles of every step of an integer graph on an engine, by the step's name; `beat` as `beat_cycles` gives it.

    Nothing is encoded or placed, and capacities are not checked: the operators' closed forms, for comparing
    widths and engines. `estimate_layout` walks a program as it lies.
    """
    forms = StepForms.of(graph, max(MOST_BANKS, engine.banks))
    counts = chained(forms.row(engine, beat).forms)
    steps = [step for step, _ in forms.works(engine, beat)]
    return {step.name: cycles for step, cycles in zip(steps, counts, strict=True)}
