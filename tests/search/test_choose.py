"""The choice: equal to an exhaustive one, monotone in every constraint, and asking for no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.choose import Choice, Draw, Limits, Measured, choose

BOARDS = ("small", "middle", "large")
CANDIDATES = ("dense", "half", "tenth")
Latencies = dict[str, dict[str, float]]
# Few values, so that draws meet the constraints exactly and tie.
TIMES = st.sampled_from([0.5, 1.0, 2.0, 4.0])
SCORES = st.sampled_from([0.5, 0.8, 0.9, 1.0])
tables = st.fixed_dictionaries({name: st.dictionaries(st.sampled_from(BOARDS), TIMES) for name in CANDIDATES})
accuracies = st.fixed_dictionaries(dict.fromkeys(CANDIDATES, SCORES))


def run(
    table: Latencies, scores: Mapping[str, float], latency: float, accuracy: float
) -> tuple[Choice[str], list[str]]:
    asked: list[str] = []

    def measure(name: str) -> Measured:
        asked.append(name)
        return Measured(scores[name], table[name])

    return choose(BOARDS, CANDIDATES, table, measure, Limits(latency, accuracy)), asked


def exhaustive(
    table: Latencies, scores: Mapping[str, float], latency: float, accuracy: float
) -> tuple[str, str] | None:
    for board in BOARDS:
        for name in CANDIDATES:
            if table[name].get(board, 1e9) <= latency and scores[name] >= accuracy:
                return board, name
    return None


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, TIMES, SCORES)
def test_the_choice_is_the_exhaustive_one(
    table: Latencies, scores: dict[str, float], latency: float, accuracy: float
) -> None:
    found, asked = run(table, scores, latency, accuracy)
    wanted = exhaustive(table, scores, latency, accuracy)
    assert (found.winner and (found.winner.board, found.winner.candidate)) == wanted
    assert len(asked) == len(set(asked)), "a candidate was trained twice"
    judged = BOARDS if wanted is None else BOARDS[: BOARDS.index(wanted[0]) + 1]
    assert tuple(verdict.board for verdict in found.verdicts) == judged


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, st.lists(TIMES, min_size=2, max_size=2), st.lists(SCORES, min_size=2, max_size=2))
def test_tightening_never_names_an_earlier_board(
    table: Latencies, scores: dict[str, float], times: list[float], shares: list[float]
) -> None:
    def place(latency: float, accuracy: float) -> int:
        winner = run(table, scores, latency, accuracy)[0].winner
        return len(BOARDS) if winner is None else BOARDS.index(winner.board)

    assert place(min(times), max(shares)) >= place(max(times), min(shares))


def test_verdicts_say_why() -> None:
    table = {
        "dense": {"middle": 3.0, "large": 1.0},
        "half": {"middle": 1.5, "large": 0.6},
        "tenth": {"middle": 0.4},
    }
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
    planned = {"dense": {"small": 1.0}}
    found = choose(("small",), ("dense",), planned, lambda _: Measured(1.0, {"small": 1.1}), Limits(1.0, 0.5))
    assert found.winner is None


# -- energy and power
# --------------------------------------------------------------------------------------------------

AMOUNTS = st.sampled_from([1.0, 2.0, 3.0])
DRAWS = st.fixed_dictionaries(
    {name: st.dictionaries(st.sampled_from(BOARDS), st.builds(Draw, AMOUNTS, AMOUNTS)) for name in CANDIDATES}
)
LIMITS = st.builds(Limits, TIMES, SCORES, st.one_of(AMOUNTS, st.just(inf)), st.one_of(AMOUNTS, st.just(inf)))
Draws = dict[str, dict[str, Draw]]


def run_with(
    table: Latencies, scores: Mapping[str, float], draws: Draws, limits: Limits, *, least: bool
) -> tuple[Choice[str], list[str]]:
    asked: list[str] = []

    def measure(name: str) -> Measured:
        asked.append(name)
        return Measured(scores[name], table[name], draws[name])

    return choose(BOARDS, CANDIDATES, table, measure, limits, draws=draws, least_energy=least), asked


def serving(
    table: Latencies, scores: Mapping[str, float], draws: Draws, limits: Limits
) -> list[tuple[str, str]]:
    """Every board and candidate that meet all constraints, in order; what is not known meets only infinite ones."""
    unknown = Draw(inf, inf)
    return [
        (board, name)
        for board in BOARDS
        for name in CANDIDATES
        if board in table[name]
        and table[name][board] <= limits.latency_ms
        and scores[name] >= limits.accuracy
        and draws[name].get(board, unknown).energy_mj <= limits.energy_mj
        and draws[name].get(board, unknown).peak_w <= limits.power_w
    ]


@settings(derandomize=True, max_examples=400)
@given(tables, accuracies, DRAWS, LIMITS)
def test_with_energy_and_power_the_choice_is_the_exhaustive_one(
    table: Latencies, scores: dict[str, float], draws: Draws, limits: Limits
) -> None:
    wanted = serving(table, scores, draws, limits)
    found, asked = run_with(table, scores, draws, limits, least=False)
    assert (found.winner and (found.winner.board, found.winner.candidate)) == (wanted[0] if wanted else None)
    assert len(asked) == len(set(asked))
    least, asked = run_with(table, scores, draws, limits, least=True)
    known = [pair for pair in wanted if pair[0] in draws[pair[1]]]
    best = min(known, key=lambda pair: draws[pair[1]][pair[0]].energy_mj, default=None)
    assert (least.winner and (least.winner.board, least.winner.candidate)) == best
    assert len(asked) == len(set(asked))
    assert tuple(verdict.board for verdict in least.verdicts) == BOARDS
    for verdict in least.verdicts:
        fits = any(verdict.board in table[name] for name in CANDIDATES)
        assert (verdict.reason == "does not fit") == (not fits)
        assert (verdict.reason == "serves") == (best is not None and verdict.board == best[0])
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
        return len(BOARDS) if winner is None else BOARDS.index(winner.board)

    def energy(limits: Limits) -> float:
        winner = run_with(table, scores, draws, limits, least=True)[0].winner
        return inf if winner is None or winner.draw is None else winner.draw.energy_mj

    assert place(tight) >= max(place(one), place(other))
    assert energy(tight) >= max(energy(one), energy(other))


def test_verdicts_say_which_limit_stopped_them() -> None:
    table = {
        "dense": {"small": 3.0, "middle": 1.0, "large": 1.0},
        "half": {"middle": 0.8, "large": 0.5},
        "tenth": {"large": 0.4},
    }
    scores = {"dense": 0.99, "half": 0.95, "tenth": 0.7}
    draws = {
        "dense": {"small": Draw(1, 1), "middle": Draw(5, 2), "large": Draw(4, 20)},
        "half": {"middle": Draw(4, 2), "large": Draw(2, 12)},
        "tenth": {"large": Draw(2, 11)},
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


def test_training_may_not_make_it_take_more() -> None:
    draws = {"dense": {"small": Draw(1.0, 1.0)}}
    for least in (False, True):
        found = choose(
            ("small",), ("dense",), {"dense": {"small": 1.0}},
            lambda _: Measured(1.0, {"small": 1.0}, {"small": Draw(1.1, 1.0)}),
            Limits(1.0, 0.5, energy_mj=1.0), draws=draws, least_energy=least,
        )  # fmt: skip
        assert found.winner is None
