"""The page: fronts hold what nothing beats, and every number that the search has is in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.choose import Choice, Verdict
from flow.search.loop import Constraints, Point, Selection
from flow.search.page import front, page_of

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


def test_a_miss_is_shown() -> None:
    verdicts = (
        Verdict[str]("small", "does not fit", refusal="needs <more> & more"),
        Verdict[str]("large", "too slow", "dense", 3.25),
    )
    points = (Point("large", "dense", 3.25, 0.91), Point("large", "hp-0.50", 2.0, None))
    page = page_of(
        Selection(Choice(None, verdicts), Constraints(1.0, 0.9), "top-1 accuracy", points, {}, None, None),
        "m.pt2",
    )
    assert "No board meets both constraints" in page
    assert "needs &lt;more&gt; &amp; more" in page
    assert "large, dense: 3.25 ms, 0.9100" in page
    assert "not trained: hp-0.50" in page
    assert "cycle by cycle" not in page
