"""What a unit gets and gives: when a step starts, when its source is there, when its result is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

SAID = 1
"""step_dispatch: what a unit says of itself is a register late, and so are its tiles."""


class Late(Protocol):
    """Writes of a step that the step behind holds up."""

    blocked: set[int]

    @property
    def done(self) -> int:
        """From when all is written."""


@dataclass(frozen=True)
class Start:
    """A step's start.

    Attributes:
        cycle: in which the unit sees its start.
        loaded: from which its constants or tables stand.
        tiles: cycles from which each tile of the step before may be read (`source_tiles_o` of step_dispatch); none
            where all of it was written before the start.
        whole: the cycle from which all of it counts as written.
        busy: cycles in which the array still reads residuals of the step before: nobody else has the store then.
        writes: cycles in which its results are written: other writers wait.
        late: the step before still writes, and waits for results of this one.
    """

    cycle: int
    loaded: int = 0
    tiles: Sequence[int] = ()
    whole: int = 0
    busy: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()
    late: Late | None = None

    def ready(self, tile: int) -> int:
        """The cycle from which a tile may be read: of the step before, nothing is known in the cycle of the start."""
        if tile < len(self.tiles):
            return min(max(self.tiles[tile], self.cycle + 1 + SAID), self.whole)
        return self.whole


@dataclass(frozen=True)
class End:
    """A step's end.

    Attributes:
        issued: the cycle from which the unit has read everything.
        done: the cycle from which everything is written; a norm's is told by `late`, its writes.
        tiles: cycles from which the next step may read each tile.
        waits: cycles by what the step waited for.
        busy, writes: see `Start`.
        drain: cycles that it counts as unfinished beyond `done`, unless the next step begins before that.
    """

    issued: int
    done: int
    tiles: Sequence[int] = ()
    waits: dict[str, int] = field(default_factory=dict)
    busy: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()
    drain: int = 0
    late: Late | None = None

    @property
    def written(self) -> int:
        """The cycle from which everything is written; final when results of the step behind are known."""
        return self.done if self.late is None else self.late.done
