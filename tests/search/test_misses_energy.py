"""What would have to give where energy and power are limited too: the least of each, the others kept."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.choose import Draw, Limits, Measured, Place, choose
from flow.search.misses import relaxations

PLACES = (Place("small"), Place("small", "half"), Place("large"), Place("large", "half"))
CANDIDATES = ("dense", "half", "tenth")
AMOUNTS = st.sampled_from([0.5, 1.0, 2.0, 4.0])
SCORES = st.sampled_from([0.5, 0.8, 0.9, 1.0])
COSTS = st.dictionaries(st.sampled_from(PLACES), st.tuples(AMOUNTS, AMOUNTS, AMOUNTS))
KEYS = {"latency": "latency_ms", "energy": "energy_mj", "power": "power_w"}


@settings(derandomize=True, max_examples=400)
@given(
    st.fixed_dictionaries(dict.fromkeys(CANDIDATES, COSTS)),
    st.fixed_dictionaries(dict.fromkeys(CANDIDATES, SCORES)),
    st.builds(Limits, AMOUNTS, SCORES, AMOUNTS, AMOUNTS),
)
def test_they_are_the_least(
    costs: dict[str, dict[Place, tuple[float, float, float]]], scores: dict[str, float], limits: Limits
) -> None:
    planned = {name: {place: cost[0] for place, cost in costs[name].items()} for name in CANDIDATES}
    draws = {name: {place: Draw(*cost[1:]) for place, cost in costs[name].items()} for name in CANDIDATES}
    measured: dict[str, Measured] = {}

    def measure(name: str) -> Measured:
        measured[name] = Measured(scores[name], planned[name], draws[name])
        return measured[name]

    if choose(PLACES, CANDIDATES, planned, measure, limits, draws=draws).winner is not None:
        return
    found = {r.constraint: r for r in relaxations(PLACES, planned, measure, measured, limits, draws)}
    pairs = [(*cost, scores[name]) for name in CANDIDATES for cost in costs[name].values()]
    for place, constraint in enumerate(KEYS):
        loose = replace(limits, **{KEYS[constraint]: inf})
        good = [
            pair[place]
            for pair in pairs
            if not loose.exceeded(pair[0], Draw(pair[1], pair[2])) and pair[3] >= limits.accuracy
        ]
        assert (constraint in found) == bool(good)
        if good:
            relaxed = found[constraint]
            assert relaxed.latency_ms == planned[relaxed.candidate][relaxed.place]
            assert relaxed.draw is not None
            amounts = (relaxed.latency_ms, relaxed.draw.energy_mj, relaxed.draw.peak_w)
            assert amounts[place] == min(good)
            assert relaxed.accuracy >= limits.accuracy
    near = [pair[3] for pair in pairs if not limits.exceeded(pair[0], Draw(pair[1], pair[2]))]
    assert ("accuracy" in found) == bool(near)
    if near:
        assert found["accuracy"].accuracy == max(near)


def test_limits_that_nobody_set_need_not_give() -> None:
    small = Place("small")
    found = relaxations(
        (small,), {"dense": {small: 2.0}}, lambda _: Measured(1.0, {small: 2.0}), {}, Limits(1.0, 0.5)
    )
    assert [relaxed.constraint for relaxed in found] == ["latency"]
