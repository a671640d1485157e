"""What would have to give: the least of either constraint, found with as little training as that takes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.choose import Limits, Measured, Place, choose
from flow.search.misses import relaxations

PLACES = (Place("small"), Place("small", "half"), Place("large"), Place("large", "half"))
CANDIDATES = ("dense", "half", "tenth")
TIMES = st.sampled_from([0.5, 1.0, 2.0, 4.0])
SCORES = st.sampled_from([0.5, 0.8, 0.9, 1.0])
tables = st.fixed_dictionaries({name: st.dictionaries(st.sampled_from(PLACES), TIMES) for name in CANDIDATES})


@settings(derandomize=True, max_examples=400)
@given(tables, st.fixed_dictionaries(dict.fromkeys(CANDIDATES, SCORES)), TIMES, SCORES)
def test_they_are_the_least(
    table: dict[str, dict[Place, float]], scores: dict[str, float], latency: float, accuracy: float
) -> None:
    measured: dict[str, Measured] = {}

    def measure(name: str) -> Measured:
        measured[name] = Measured(scores[name], table[name])
        return measured[name]

    choice = choose(PLACES, CANDIDATES, table, measure, Limits(latency, accuracy))
    if choice.winner is not None:
        return
    found = relaxations(PLACES, table, measure, measured, Limits(latency, accuracy))
    by_kind = {relaxed.constraint: relaxed for relaxed in found}
    pairs = [(table[name][place], scores[name]) for name in CANDIDATES for place in table[name]]
    slow = [time for time, score in pairs if score >= accuracy]
    fast = [score for time, score in pairs if time <= latency]
    assert ("latency" in by_kind, "accuracy" in by_kind) == (bool(slow), bool(fast))
    if slow:
        assert by_kind["latency"].latency_ms == min(slow)
        assert by_kind["latency"].accuracy >= accuracy
    if fast:
        assert by_kind["accuracy"].accuracy == max(fast)
        assert by_kind["accuracy"].latency_ms <= latency
