"""The page: fronts hold what nothing beats, and every number that the search has is in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.chart import duration, front
from flow.search.choose import Choice, Verdict
from flow.search.loop import Constraints, Point, Selection
from flow.search.misses import Relaxed
from flow.search.page import page_of
from flow.search.telling import next_cheaper

values = st.sampled_from([0.5, 0.7, 0.9])
drawn = st.lists(
    st.builds(Point, st.just("u250"), st.just("c"), st.sampled_from([1.0, 2.0, 3.0]), values), min_size=1
)


@settings(derandomize=True, max_examples=200)
@given(drawn)
def test_a_front_holds_what_nothing_beats(points: list[Point]) -> None:
    found = front(points)

    def beaten(point: Point) -> bool:
        return any(
            (other.latency_ms <= point.latency_ms and (other.accuracy or 0) > (point.accuracy or 0))
            or (other.latency_ms < point.latency_ms and (other.accuracy or 0) >= (point.accuracy or 0))
            for other in points
        )

    assert {(p.latency_ms, p.accuracy) for p in found} == {
        (p.latency_ms, p.accuracy) for p in points if not beaten(p)
    }
    assert [p.latency_ms for p in found] == sorted(p.latency_ms for p in found)


LARGE = Verdict[str]("large", "serves", "hp-0.50", 2.0, 0.91)
SMALL = Verdict[str]("small", "too slow", "hp-0.50", 5.0)
POINTS = (
    Point("small", "dense", 12.0, 0.93),
    Point("small", "hp-0.50", 5.0, 0.91),
    Point("large", "dense", 3.25, 0.93),
    Point("large", "hp-0.50", 2.0, 0.91),
    Point("large", "hp-0.90", 0.5, None),
)


def won(*before: Verdict[str]) -> Selection:
    """A search that `large` won with `hp-0.50`."""
    return Selection(
        Choice(LARGE, (*before, LARGE)), Constraints(2.5, 0.9), "top-1 accuracy", POINTS, {}, 0.89, None,
        {"cycles": 1010, "estimated_cycles": 1000, "mismatches": 0, "utilisation": 0.5, "multipliers": 64, "steps": []},
        (), {"hp-0.50": 0.502},
    )  # fmt: skip


def test_a_winner_is_shown() -> None:
    page = page_of(won(SMALL), "m.pt2")
    assert "<h1>large with hp-0.50</h1>" in page
    assert (
        "0.8900 on test samples that decided nothing. On those it is 0.0100 short of the constraint." in page
    )
    assert (
        "The next cheaper board, small, is not enough: its fastest candidate, hp-0.50, takes 5 ms, 2.00 times the "
        "constraint." in page
    )
    assert (
        "1,010 cycles, +1.00% of the estimate beside the same memory; every bit is the golden model’s."
        in page
    )
    assert page.count('class="point"') == 3
    assert page.count('class="point winner"') == 1
    assert "not trained: hp-0.90" in page
    assert "ns0:" not in page, "a browser would show the drawing as text"


def test_nothing_is_cheaper_than_the_first_board() -> None:
    assert next_cheaper(won()) == ""


def test_durations() -> None:
    assert [duration(ms) for ms in (0.0183, 0.5, 1.5, 12.345, 2000.0)] == [
        "18.3 µs", "500 µs", "1.5 ms", "12.3 ms", "2 s",
    ]  # fmt: skip


def test_a_miss_is_shown() -> None:
    verdicts = (
        Verdict[str]("small", "does not fit", refusal="needs <more> & more"),
        Verdict[str]("large", "too slow", "dense", 3.25),
    )
    points = (Point("large", "dense", 3.25, 0.91), Point("large", "hp-0.50", 2.0, None))
    relaxed = (
        Relaxed("latency", "large", "dense", 3.25, 0.91),
        Relaxed("accuracy", "large", "hp-0.90", 0.9, 0.75),
    )
    page = page_of(
        Selection(
            Choice(None, verdicts),
            Constraints(1.0, 0.9),
            "top-1 accuracy",
            points,
            {},
            None,
            None,
            None,
            relaxed,
        ),
        "m.pt2",
    )
    assert "No board meets both" in page
    assert "needs &lt;more&gt; &amp; more" in page
    assert "large, dense: 3.25 ms, 0.9100" in page
    assert "not trained: hp-0.50" in page
    assert "cycle by cycle" not in page
    assert "latency would have to give: to 3.25 ms, 3.25 times the constraint, for large with dense." in page
    assert (
        "accuracy would have to give: to 0.7500, 0.1500 less than asked for, for large with hp-0.90." in page
    )
