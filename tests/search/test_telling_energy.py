"""What `flow select` says of energy and power, on the terminal and on the page."""

from __future__ import annotations

from dataclasses import replace

from flow.cost.energy import METHOD
from flow.search.choose import Choice, Draw, Verdict
from flow.search.loop import Constraints, Point, Selection
from flow.search.misses import Relaxed
from flow.search.page import page_of
from flow.search.telling import gives, meets, next_cheaper, reason, summary

SMALL = Verdict[str]("small", "too much energy", "half", 1.0, draw=Draw(6.0, 3.0))
MIDDLE = Verdict[str]("middle", "too much power", "half", 1.0, draw=Draw(4.0, 15.0))
LARGE = Verdict[str]("large", "serves", "half", 2.0, 0.95, draw=Draw(4.0, 8.0))
LIMITS = Constraints(2.5, 0.9, energy_mj=5.0, power_w=10.0)


def found(*verdicts: Verdict[str], winner: Verdict[str] | None = LARGE) -> Selection:
    points = tuple(
        Point(v.board, v.candidate or "", v.latency_ms or 0.0, v.accuracy, v.draw, v.level) for v in verdicts
    )
    tested = 0.96 if winner else None
    return Selection(Choice(winner, verdicts), LIMITS, "top-1 accuracy", points, {}, tested, None)


def test_a_winner() -> None:
    won = found(SMALL, MIDDLE, LARGE)
    assert summary(won).endswith(f" A sample takes 4 mJ, 8 W at the peak: {METHOD}.")
    assert meets(won) == "meets all"
    assert reason(SMALL, won) == (
        "of the candidates that are fast enough the one that takes least, half, takes 6 mJ, 1.20 times the constraint"
    )
    assert reason(MIDDLE, won) == (
        "of the candidates that are fast enough the one that takes least, half, takes 15 W, 1.50 times the constraint"
    )
    assert next_cheaper(won).startswith("The next cheaper board, middle, is not enough: of the candidates")
    page = page_of(won, "m.pt2")
    for text in ("energy of a sample, at most", "5 mJ", "10 W", "mJ a sample", "peak W", "meets all"):
        assert text in page


def test_by_least_energy_no_board_is_next() -> None:
    more = Verdict[str]("small", "more energy", "half", 1.0, draw=Draw(5.0, 3.0))
    won = found(more, LARGE)
    assert reason(more, won) == "a candidate that could serve, half, takes 5 mJ, 1.25 times the winner's"
    assert next_cheaper(won) == ""
    assert next_cheaper(found(LARGE, more)) == ""


def test_misses() -> None:
    missed = found(SMALL, MIDDLE, winner=None)
    assert summary(missed) == (
        "No board meets at most 2.5 ms, at most 5 mJ a sample, at most 10 W and at least 0.9 (top-1 accuracy)."
    )
    relaxed = Relaxed("energy", "small", "half", 1.0, 0.95, Draw(6.0, 3.0))
    assert (
        gives(relaxed, missed)
        == "energy would have to give: to 6 mJ, 1.20 times the constraint, for small with half"
    )
    relaxed = replace(relaxed, constraint="power", draw=Draw(4.0, 15.0))
    assert (
        gives(relaxed, missed)
        == "power would have to give: to 15 W, 1.50 times the constraint, for small with half"
    )


def test_a_level_is_said_where_it_is_not_nominal() -> None:
    slow, large = replace(SMALL, level="half"), replace(LARGE, level="low-voltage")
    won = found(slow, large, winner=large)
    assert summary(won).startswith("large at level low-voltage with half: 2 ms of 2.5 ms")
    assert "takes least, half at level half, takes 6 mJ" in reason(slow, won)
    won = replace(
        won,
        points=(
            *won.points,
            Point("large", "half", 1.0, 0.95),
            Point("large", "half", 4.0, 0.95, level="half"),
        ),
    )
    page = page_of(won, "m.pt2")
    assert "<h1>large at level low-voltage with half</h1>" in page
    assert "<td>small at level half</td>" in page
    assert page.count('class="point winner"') == 1
    assert "large at level low-voltage, half: 2 ms, 0.9500" in page
    assert "large, half: 1 ms, 0.9500" in page
    assert "large at level half" not in page, "nothing was decided at that level"
    relaxed = Relaxed("power", "small", "half", 1.0, 0.95, Draw(4.0, 15.0), "half")
    assert gives(relaxed, found(slow, winner=None)).endswith(", for small at level half with half")


def test_without_energy_nothing_is_said_of_it() -> None:
    plain = replace(found(replace(LARGE, draw=None)), constraints=Constraints(2.5, 0.9))
    plain = replace(plain, choice=Choice(replace(LARGE, draw=None), (replace(LARGE, draw=None),)))
    assert "mJ" not in summary(plain)
    assert meets(plain) == "meets both"
    page = page_of(plain, "m.pt2")
    assert "mJ" not in page
    assert "peak" not in page
