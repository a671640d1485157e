"""ATTENTION: attention_unit.v and what it names, pair by pair of a query tile and a round of heads."""

from __future__ import annotations

from dataclasses import dataclass

from flow.cost.machine.unit import SAID, End, Start
from flow.engine.timing import Timing

NEVER = 1 << 60
SCORE_BUFFERS = 4
QUERY_BUFFERS = NUMERATOR_BUFFERS = 2


@dataclass(frozen=True)
class Heads:
    """How the heads of a step lie on an engine (attention_setup.v)."""

    tokens: int
    heads: int
    pitch: int
    planes: int
    causal: bool
    depth: int


class AttentionModel:
    """Slots of scores and context as attention_issue.v chooses them, and the softmax between them."""

    def __init__(self, timing: Timing, start: Start, heads: Heads) -> None:
        engine = timing.engine
        self.timing, self.start, self.heads = timing, start, heads
        T, B, P = engine.tokens, engine.banks, engine.rows
        self.abreast = engine.heads_abreast(heads.pitch)
        self.rounds = -(-heads.heads // self.abreast)
        self.tiles = engine.tiles(heads.tokens)
        self.lines = max(1, heads.pitch // B)
        together = heads.pitch * self.abreast >= B
        self.sweeps = 1 if together else self.abreast
        row = B // self.abreast
        levels = (P - 1).bit_length()
        self.divisions = T * self.abreast
        # From the last slot of scores to the pulse that they are complete (softmax_maximum.v).
        self.scored = 1 + timing.array + timing.post + levels
        # From the start of a pass of no groups to the pulse that context may begin (softmax_pass.v, _exponent, _sum).
        self.passed = timing.softmax(self.abreast) - 2
        self.keys, self.groups, self.contexts = [], [], []
        for tile in range(self.tiles):
            keys = min(heads.tokens, (tile + 1) * T) if heads.causal else heads.tokens
            self.keys.append(-(-keys // P))
            rows = -(-keys // row)
            self.groups.append(rows * row // P)
            self.contexts.append(heads.planes * rows * (heads.pitch // P))
        self.pairs = self.tiles * self.rounds
        # By pair: last slot chosen of scores, start of the pass, when context may be loaded, last slot of context.
        self.score_end: list[int] = []
        self.pass_start: list[int] = []
        self.pass_free = 0
        self.ready: list[int] = []
        self.context_end: list[int] = []
        self.query: list[int] = []
        # The layout stands, then the first pair.
        first = max(start.cycle + 2, start.whole)
        self.setup = start.cycle + 1 + heads.heads.bit_length()
        self._query_from, self._query_left = first + 1, self.lines

    def run(self) -> End:
        """Choose slots until the last context."""
        now = self.start.cycle + 1
        while len(self.context_end) < self.pairs:
            end, scores = len(self.context_end), len(self.score_end)
            context = self._context_load(end)
            score = self._score_load(scores, now)
            if context < NEVER and context + 1 <= max(now, min(score + 1, NEVER)):
                now = self._idle(now, context + 1)
                length = self.contexts[end // self.rounds]
                self._fetch(now, now + length)
                now += length
                self.context_end.append(now - 1)
                self._passes()
                continue
            now = self._score(scores, self._idle(now, score + 1))
        return self._end()

    def _idle(self, now: int, until: int) -> int:
        """Cycles without a slot: queries come."""
        if until > now:
            self._fetch(now, until)
            return until
        return now

    def _score(self, pair: int, now: int) -> int:
        """All results of a pair's scores, contexts in between."""
        left = self.keys[pair // self.rounds] * self.sweeps
        while left:
            end = len(self.context_end)
            context = self._context_load(end) + 1 if end < self.pairs else NEVER
            if context <= now:
                length = self.contexts[end // self.rounds]
                self._fetch(now, now + length)
                now += length
                self.context_end.append(now - 1)
                self._passes()
                continue
            results = min(left, -(-(context - now) // self.lines))
            now += results * self.lines
            left -= results
        self.score_end.append(now - 1)
        self._passes()
        return now

    def _passes(self) -> None:
        """Exponential passes that can be told by now."""
        while len(self.pass_start) < len(self.score_end):
            pair = len(self.pass_start)
            if pair >= NUMERATOR_BUFFERS and len(self.context_end) <= pair - NUMERATOR_BUFFERS:
                return
            begin = max(self.score_end[pair] + self.scored + 1, self.pass_free, self.start.loaded)
            if pair >= NUMERATOR_BUFFERS:
                begin = max(begin, self.context_end[pair - NUMERATOR_BUFFERS] + 1)
            groups = self.groups[pair // self.rounds]
            self.pass_start.append(begin)
            self.pass_free = begin + max(groups, self.divisions)
            self.ready.append(begin + groups + self.passed + 1)

    def _context_load(self, pair: int) -> int:
        if pair >= len(self.ready):
            return NEVER
        earliest = max(self.ready[pair], self.setup)
        if pair:
            earliest = max(earliest, self.context_end[pair - 1])
        return earliest

    def _score_load(self, pair: int, now: int) -> int:
        """When a pair's scores can begin, if nothing else happens before: its queries are fetched meanwhile."""
        if pair >= self.pairs:
            return NEVER
        load = self.score_end[pair - 1] if pair else self.start.cycle + 1
        if pair >= SCORE_BUFFERS:
            if len(self.pass_start) <= pair - SCORE_BUFFERS:
                return NEVER
            load = max(load, self.pass_start[pair - SCORE_BUFFERS] + 1)
        if pair < len(self.query):
            return max(load, self.query[pair])
        return max(load, max(self._query_from, now) + self._query_left - 1)

    def _fetch(self, since: int, until: int) -> None:
        """Cycles in which the array does not read keys: lines of queries come, for at most two pairs."""
        while len(self.query) < self.pairs:
            pair = len(self.query)
            if pair >= QUERY_BUFFERS:
                if len(self.score_end) <= pair - QUERY_BUFFERS:
                    return
                self._query_from = max(self._query_from, self.score_end[pair - QUERY_BUFFERS] + 2)
            begin = max(since, self._query_from)
            if begin + self._query_left > until:
                if until > begin:
                    self._query_left -= until - begin
                    self._query_from = until
                return
            last = begin + self._query_left - 1
            self.query.append(last)
            self._query_from, self._query_left = last + 1, self.lines

    @property
    def released(self) -> int:
        """From when the exponential table may be written anew: `table_release_o` comes four cycles behind the
        last pass, and the table counts as free in the one after (softmax_pass.v, exp_loader.v)."""
        return self.pass_free + 5

    def _end(self) -> End:
        way = self.timing.array + self.timing.post + 2
        ends = [self.context_end[(tile + 1) * self.rounds - 1] for tile in range(self.tiles)]
        ready = [end + way + 2 + SAID for end in ends]
        slots = sum(k * self.sweeps * self.lines for k in self.keys) * self.rounds
        slots += sum(self.contexts) * self.rounds
        # `issued` a register behind the last choice; written, counted, and told.
        drain = self.timing.drain
        return End(
            ends[-1] + 2,
            ends[-1] + way + 2,
            ready,
            {"multipliers": slots, "post lanes": ends[-1] - self.start.cycle - slots},
            drain=drain,
        )
