"""The choice: equal to an exhaustive one, monotone in both constraints, and asking for no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.choose import Choice, Measured, choose

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

    return choose(BOARDS, CANDIDATES, table, measure, latency_ms=latency, accuracy=accuracy), asked


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
    found = choose(
        ("small",), ("dense",), planned, lambda _: Measured(1.0, {"small": 1.1}), latency_ms=1.0, accuracy=0.5
    )
    assert found.winner is None
