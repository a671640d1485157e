"""The choice: equal to an exhaustive one, monotone in every constraint, and asking for no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.choose import Choice, Draw, Limits, Measured, Place, choose

BOARDS = ("small", "middle", "large")
PLACES = tuple(Place(board, level) for board in BOARDS for level in ("nominal", "half"))
CANDIDATES = ("dense", "half", "tenth")
Latencies = dict[str, dict[Place, float]]
# Few values, so that draws meet the constraints exactly and tie.
TIMES = st.sampled_from([0.5, 1.0, 2.0, 4.0])
SCORES = st.sampled_from([0.5, 0.8, 0.9, 1.0])
tables = st.fixed_dictionaries({name: st.dictionaries(st.sampled_from(PLACES), TIMES) for name in CANDIDATES})
accuracies = st.fixed_dictionaries(dict.fromkeys(CANDIDATES, SCORES))


def run(
    table: Latencies, scores: Mapping[str, float], latency: float, accuracy: float
) -> tuple[Choice[str], list[str]]:
    asked: list[str] = []

    def measure(name: str) -> Measured:
        asked.append(name)
        return Measured(scores[name], table[name])

    return choose(PLACES, CANDIDATES, table, measure, Limits(latency, accuracy)), asked


def exhaustive(
    table: Latencies, scores: Mapping[str, float], latency: float, accuracy: float
) -> tuple[Place, str] | None:
    for place in PLACES:
        for name in CANDIDATES:
            if table[name].get(place, 1e9) <= latency and scores[name] >= accuracy:
                return place, name
    return None


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, TIMES, SCORES)
def test_the_choice_is_the_exhaustive_one(
    table: Latencies, scores: dict[str, float], latency: float, accuracy: float
) -> None:
    found, asked = run(table, scores, latency, accuracy)
    wanted = exhaustive(table, scores, latency, accuracy)
    assert (found.winner and (found.winner.place, found.winner.candidate)) == wanted
    assert len(asked) == len(set(asked)), "a candidate was trained twice"
    judged = BOARDS if wanted is None else BOARDS[: BOARDS.index(wanted[0].board) + 1]
    assert tuple(verdict.board for verdict in found.verdicts) == judged


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, st.lists(TIMES, min_size=2, max_size=2), st.lists(SCORES, min_size=2, max_size=2))
def test_tightening_never_names_an_earlier_board(
    table: Latencies, scores: dict[str, float], times: list[float], shares: list[float]
) -> None:
    def place(latency: float, accuracy: float) -> int:
        winner = run(table, scores, latency, accuracy)[0].winner
        return len(PLACES) if winner is None else PLACES.index(winner.place)

    assert place(min(times), max(shares)) >= place(max(times), min(shares))


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, TIMES, SCORES, st.sampled_from([1.0, 1.5, 2.0]))
def test_levels_that_are_no_faster_change_nothing(
    table: Latencies, scores: dict[str, float], latency: float, accuracy: float, share: float
) -> None:
    """With latency and accuracy alone: winner, verdicts and what is trained are those of the nominal levels."""
    nominal = {name: {p: ms for p, ms in table[name].items() if p.level == "nominal"} for name in CANDIDATES}
    slower = {
        name: {**ms, **{Place(p.board, "half"): share * value for p, value in ms.items()}}
        for name, ms in nominal.items()
    }
    assert run(slower, scores, latency, accuracy) == run(nominal, scores, latency, accuracy)


def placed(table: Mapping[str, Mapping[str, float]]) -> Latencies:
    """At the nominal level."""
    return {name: {Place(board): ms for board, ms in row.items()} for name, row in table.items()}


def test_verdicts_say_why() -> None:
    table = placed(
        {
            "dense": {"middle": 3.0, "large": 1.0},
            "half": {"middle": 1.5, "large": 0.6},
            "tenth": {"middle": 0.4},
        }
    )
    scores = {"dense": 0.99, "half": 0.95, "tenth": 0.7}
    found, asked = run(table, scores, 1.0, 0.98)
    assert [(v.board, v.reason, v.candidate) for v in found.verdicts] == [
        ("small", "does not fit", None),
        ("middle", "not accurate enough", "tenth"),
        ("large", "serves", "dense"),
    ]
    assert asked == ["tenth", "dense"], "`half` is too slow where it could matter, so nothing trains it"
    slow = run(table, scores, 0.3, 0.5)[0]
    assert [(v.reason, v.candidate, v.latency_ms) for v in slow.verdicts[1:]] == [
        ("too slow", "tenth", 0.4),
        ("too slow", "half", 0.6),
    ]


def test_training_may_not_make_it_slower() -> None:
    """What training changed counts: a candidate whose real latency is beyond the constraint does not serve."""
    small = Place("small")
    planned = {"dense": {small: 1.0}}
    found = choose((small,), ("dense",), planned, lambda _: Measured(1.0, {small: 1.1}), Limits(1.0, 0.5))
    assert found.winner is None


# -- energy and power
# --------------------------------------------------------------------------------------------------

AMOUNTS = st.sampled_from([1.0, 2.0, 3.0])
DRAWS = st.fixed_dictionaries(
    {name: st.dictionaries(st.sampled_from(PLACES), st.builds(Draw, AMOUNTS, AMOUNTS)) for name in CANDIDATES}
)
LIMITS = st.builds(Limits, TIMES, SCORES, st.one_of(AMOUNTS, st.just(inf)), st.one_of(AMOUNTS, st.just(inf)))
Draws = dict[str, dict[Place, Draw]]


def run_with(
    table: Latencies, scores: Mapping[str, float], draws: Draws, limits: Limits, *, least: bool
) -> tuple[Choice[str], list[str]]:
    asked: list[str] = []

    def measure(name: str) -> Measured:
        asked.append(name)
        return Measured(scores[name], table[name], draws[name])

    return choose(PLACES, CANDIDATES, table, measure, limits, draws=draws, least_energy=least), asked


def serving(
    table: Latencies, scores: Mapping[str, float], draws: Draws, limits: Limits
) -> list[tuple[Place, str]]:
    """Every place and candidate that meet all constraints, in order; what is not known meets only infinite ones."""
    unknown = Draw(inf, inf)
    return [
        (place, name)
        for place in PLACES
        for name in CANDIDATES
        if place in table[name]
        and table[name][place] <= limits.latency_ms
        and scores[name] >= limits.accuracy
        and draws[name].get(place, unknown).energy_mj <= limits.energy_mj
        and draws[name].get(place, unknown).peak_w <= limits.power_w
    ]


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, DRAWS, LIMITS)
def test_with_energy_and_power_the_choice_is_the_exhaustive_one(
    table: Latencies, scores: dict[str, float], draws: Draws, limits: Limits
) -> None:
    wanted = serving(table, scores, draws, limits)
    found, asked = run_with(table, scores, draws, limits, least=False)
    assert (found.winner and (found.winner.place, found.winner.candidate)) == (wanted[0] if wanted else None)
    assert len(asked) == len(set(asked))
    least, asked = run_with(table, scores, draws, limits, least=True)
    known = [pair for pair in wanted if pair[0] in draws[pair[1]]]
    best = min(known, key=lambda pair: draws[pair[1]][pair[0]].energy_mj, default=None)
    assert (least.winner and (least.winner.place, least.winner.candidate)) == best
    assert len(asked) == len(set(asked))
    assert tuple(verdict.board for verdict in least.verdicts) == BOARDS
    for verdict in least.verdicts:
        fits = any(place.board == verdict.board for name in CANDIDATES for place in table[name])
        assert (verdict.reason == "does not fit") == (not fits)
        assert (verdict.reason == "serves") == (best is not None and verdict.board == best[0].board)
        if verdict.reason == "more energy":
            assert verdict.draw is not None
            assert least.winner is not None
            assert least.winner.draw is not None
            assert verdict.draw.energy_mj >= least.winner.draw.energy_mj


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, DRAWS, LIMITS, LIMITS)
def test_tightening_any_constraint_names_no_earlier_board_and_no_less_energy(
    table: Latencies, scores: dict[str, float], draws: Draws, one: Limits, other: Limits
) -> None:
    tight = Limits(
        min(one.latency_ms, other.latency_ms),
        max(one.accuracy, other.accuracy),
        min(one.energy_mj, other.energy_mj),
        min(one.power_w, other.power_w),
    )

    def place(limits: Limits) -> int:
        winner = run_with(table, scores, draws, limits, least=False)[0].winner
        return len(PLACES) if winner is None else PLACES.index(winner.place)

    def energy(limits: Limits) -> float:
        winner = run_with(table, scores, draws, limits, least=True)[0].winner
        return inf if winner is None or winner.draw is None else winner.draw.energy_mj

    assert place(tight) >= max(place(one), place(other))
    assert energy(tight) >= max(energy(one), energy(other))


def test_verdicts_say_which_limit_stopped_them() -> None:
    table = placed(
        {
            "dense": {"small": 3.0, "middle": 1.0, "large": 1.0},
            "half": {"middle": 0.8, "large": 0.5},
            "tenth": {"large": 0.4},
        }
    )
    scores = {"dense": 0.99, "half": 0.95, "tenth": 0.7}
    draws = {
        "dense": {Place("small"): Draw(1, 1), Place("middle"): Draw(5, 2), Place("large"): Draw(4, 20)},
        "half": {Place("middle"): Draw(4, 2), Place("large"): Draw(2, 12)},
        "tenth": {Place("large"): Draw(2, 11)},
    }
    limits = Limits(1.0, 0.9, energy_mj=3.0, power_w=10.0)
    found, asked = run_with(table, scores, draws, limits, least=False)
    assert [(v.board, v.reason, v.candidate, v.draw) for v in found.verdicts] == [
        ("small", "too slow", "dense", Draw(1, 1)),
        ("middle", "too much energy", "half", Draw(4, 2)),
        ("large", "too much power", "tenth", Draw(2, 11)),
    ]
    assert asked == []
    loose = replace(limits, energy_mj=inf, power_w=inf)
    least, asked = run_with(table, scores, draws, loose, least=True)
    assert least.winner is not None
    assert (least.winner.board, least.winner.candidate, least.winner.draw) == ("large", "half", Draw(2, 12))
    assert [(v.board, v.reason, v.candidate) for v in least.verdicts] == [
        ("small", "too slow", "dense"),
        ("middle", "more energy", "half"),
        ("large", "serves", "half"),
    ]
    assert asked == ["half"]


def test_a_slower_level_may_win() -> None:
    """Within a board the first level that serves; a verdict names the level that came nearest."""
    small, slow, large = Place("small"), Place("small", "half"), Place("large")
    planned = {"dense": {small: 1.0, slow: 2.0, large: 0.5}}
    draws = {"dense": {small: Draw(4.0, 8.0), slow: Draw(3.0, 5.0), large: Draw(9.0, 30.0)}}

    def winner(limits: Limits, *, least: bool = False) -> Choice[str]:
        measured = Measured(0.9, planned["dense"], draws["dense"])
        return choose(
            (small, slow, large), ("dense",), planned, lambda _: measured, limits, draws=draws, least_energy=least
        )  # fmt: skip

    limits = Limits(2.0, 0.5)
    plain = winner(limits).winner
    assert plain is not None
    assert plain.place == small
    for tight in (replace(limits, power_w=6.0), replace(limits, energy_mj=3.0)):
        found = winner(tight)
        assert found.winner is not None
        assert (found.winner.place, found.winner.latency_ms, found.winner.draw) == (slow, 2.0, Draw(3.0, 5.0))
        assert found.verdicts == (found.winner,)
    least = winner(limits, least=True)
    assert least.winner is not None
    assert least.winner.place == slow
    assert [(v.board, v.reason, v.level) for v in least.verdicts] == [
        ("small", "serves", "half"),
        ("large", "more energy", "nominal"),
    ]
    missed = winner(replace(limits, power_w=4.0))
    assert [(v.board, v.reason, v.level) for v in missed.verdicts] == [
        ("small", "too much power", "half"),
        ("large", "too much power", "nominal"),
    ]
    fast = winner(replace(limits, latency_ms=1.5, power_w=6.0))
    assert (fast.verdicts[0].reason, fast.verdicts[0].level) == ("too much power", "nominal")


def test_training_may_not_make_it_take_more() -> None:
    small = Place("small")
    draws = {"dense": {small: Draw(1.0, 1.0)}}
    for least in (False, True):
        found = choose(
            (small,), ("dense",), {"dense": {small: 1.0}},
            lambda _: Measured(1.0, {small: 1.0}, {small: Draw(1.1, 1.0)}),
            Limits(1.0, 0.5, energy_mj=1.0), draws=draws, least_energy=least,
        )  # fmt: skip
        assert found.winner is None
