"""`flow select` from loose to tight constraints: which board each names, and whether simulation confirms it.

    python tools/bench/select_boards.py --state FOLDER [--model digits|minilm]

digits: a vision transformer trained here on the part of scikit-learn's digits that `flow select` fits on, so that
neither the images that decide nor those that are reported on were seen by anything. minilm: a real sentence encoder
(`compression_minilm.py` says how to get it); its accuracy is the cosine of its embeddings to the float model's.

Every pair of a latency LC and an accuracy AC names a winner, whose Verilog is simulated; the last pair is one that
nothing meets. All pairs run twice: from nothing, and from the journal. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from evidence import RESULTS, write_evidence

from flow.boards import Board, list_boards, load_board
from flow.compress.train import TrainOptions
from flow.golden.samples import Samples
from flow.search.executor import cores
from flow.search.loop import Constraints, Means, Selection, SelectOptions, select
from flow.search.split import split

sys.path.append(str(Path(__file__).resolve().parents[1]))

SEED = 0
EPOCHS = 60
SENTENCES = 200
NEAR = 0.01
"""Share of the estimate to which simulated cycles come."""
FIRST_SECONDS, AGAIN_SECONDS = 1800.0, 60.0
SOURCES = [
    "boards/*.toml",
    "flow/compress/**/*.py",
    "flow/cost/**/*",
    "flow/search/*.py",
    "tools/bench/select_boards.py",
]


@dataclass(frozen=True)
class Case:
    """A model with the pairs (LC in ms, AC), from loose to tight, the last of which nothing meets."""

    pairs: tuple[tuple[float, float], ...]
    options: SelectOptions
    boards: tuple[str, ...]


def cases() -> dict[str, Case]:
    """Both models."""
    digits = SelectOptions(
        sparsities=(0.0, 0.5, 0.75, 0.85),
        training=TrainOptions(kind="train", steps=300, rate=1e-3, seed=SEED),
        seed=SEED,
        confirm=True,
    )
    minilm = SelectOptions(
        sparsities=(0.0, 0.5),
        training=TrainOptions(kind="distill", steps=100, seed=SEED),
        seed=SEED,
        confirm=True,
    )
    middle = ("ulx3s-85f", "pynq-z2", "ultra96-v2", "zcu104", "zcu111", "u50", "u200", "u250")
    return {
        "digits": Case(
            (
                (10.0, 0.93), (0.3, 0.94), (0.15, 0.94), (0.06, 0.94), (0.046, 0.94), (0.025, 0.94), (0.01, 0.94)
            ),
            digits,
            tuple(list_boards()),
        ),
        "minilm": Case(
            (
                (1000.0, 0.80), (150.0, 0.80), (80.0, 0.90), (8.0, 0.90), (4.0, 0.90), (2.5, 0.90), (1.0, 0.90),
                (0.5, 0.98),
            ),
            minilm,
            middle,
        ),
    }  # fmt: skip


# -- models and data -------------------------------------------------------------------------------------------


def write_digits(state: Path) -> None:
    """`model.pt2` and `data.npz`: all 1,797 images; the model has seen those of the split's first part."""
    import torch
    import train_digits
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    parts = split(Samples(tuple({"image": image[None]} for image in images), labels), SEED)
    seen, held = (
        train_digits.Split(
            torch.from_numpy(np.concatenate([sample["image"] for sample in part.samples])),
            torch.from_numpy(np.asarray(part.labels)),
        )
        for part in (parts.fit, parts.validation)
    )
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    train_digits.TRAIN = len(seen.labels)
    model = train_digits.DigitsViT()
    # Its progress is measured on the validation part, which chooses nothing here.
    train_digits.fit(
        model, train_digits.Digits(seen, held, held), train_digits.Recipe(EPOCHS, 1.5e-3, train_digits.SEED)
    )
    torch.backends.mha.set_fastpath_enabled(False)
    program = torch.export.export(model.eval(), (seen.images[:1],), strict=False)
    np.savez(state / "data.npz", image=images, labels=labels)
    torch.export.save(program, state / "part.pt2")
    (state / "part.pt2").replace(state / "model.pt2")


def write_minilm(state: Path) -> None:
    """`model.pt2` and `data.npz`: sentences of 64 tokens at most.

    Raises:
        compression_minilm.MissingError: the optional package is not there.
    """
    import compression_minilm as minilm
    import sentences

    from flow.frontend import load
    from flow.frontend.to_torch import write_pt2
    from flow.passes import recognise

    folder = minilm.model_folder(None)
    config = json.loads((folder / "config.json").read_text())
    told = state / "config.json"
    told.write_text(json.dumps({**config, "sequence_length": 64, "output": "mean_pooling"}))
    texts = sentences.read("train").texts[:SENTENCES]
    minilm.write_tokens(state / "data.npz", folder, texts, 64)
    write_pt2(recognise(load(folder / "model.safetensors", told)), state / "part.pt2")
    (state / "part.pt2").replace(state / "model.pt2")


# -- the pairs -------------------------------------------------------------------------------------------------


def run(case: Case, state: Path, jobs: int) -> tuple[list[dict[str, Any]], float]:
    """Every pair's answer, and the seconds that all took."""
    boards = [load_board(name) for name in case.boards]
    started = time.monotonic()
    found = [answer(case, boards, pair, state, jobs) for pair in case.pairs]
    return found, time.monotonic() - started


def answer(
    case: Case, boards: Sequence[Board], pair: tuple[float, float], state: Path, jobs: int
) -> dict[str, Any]:
    """What a pair's winner is, and how well it is confirmed."""
    latency, accuracy = pair
    output = state / f"selected-{latency:g}ms-{accuracy:g}"
    means = Means(state / "journal", jobs, tell=tell)
    started = time.monotonic()
    found = select(
        state / "model.pt2", state / "data.npz", boards, Constraints(latency, accuracy), output, means, case.options
    )  # fmt: skip
    row = row_of(found)
    sys.stdout.write(f"{line(row)} ({time.monotonic() - started:.0f} s)\n")
    sys.stdout.flush()
    return row


def tell(what: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"  {what}\n")


def row_of(found: Selection) -> dict[str, Any]:
    """A pair's answer as plain data."""
    best, limits = found.winner, found.constraints
    row: dict[str, Any] = {"latency_ms": limits.latency_ms, "accuracy": limits.accuracy, "winner": None}
    if best is None or found.confirmed is None or found.test_accuracy is None:
        return {**row, "relaxed": [asdict(relaxed) for relaxed in found.relaxed]}
    cycles, estimated = found.confirmed["cycles"], found.confirmed["estimated_cycles"]
    before = [asdict(verdict) for verdict in found.choice.verdicts[-2:-1]]
    return {
        **row,
        "winner": asdict(best),
        "next_cheaper": before[0] if before else None,
        "test_accuracy": found.test_accuracy,
        "test_shortfall": max(0.0, limits.accuracy - found.test_accuracy),
        "cycles": cycles,
        "estimated_cycles": estimated,
        "cycles_error": cycles / estimated - 1,
        "mismatches": found.confirmed["mismatches"],
    }


def line(row: Mapping[str, Any]) -> str:
    """A pair's answer on one line."""
    head = f"at most {row['latency_ms']:g} ms, at least {row['accuracy']:g}: "
    best = row["winner"]
    if best is None:
        gives = [f"{r['constraint']} to {r['latency_ms']:.4g} ms, {r['accuracy']:.4f} on {r['board']}"
                 for r in row["relaxed"]]  # fmt: skip
        return head + "none; would have to give: " + "; or ".join(gives)
    short = f", {row['test_shortfall']:.4f} short" if row["test_shortfall"] else ""
    return (
        f"{head}{best['board']} with {best['candidate']}: {best['latency_ms']:.4g} ms, {best['accuracy']:.4f}; "
        f"on test {row['test_accuracy']:.4f}{short}; {row['cycles']:,} cycles, {row['cycles_error']:+.2%} of the "
        f"estimate, {row['mismatches']} mismatches"
    )


def criteria(rows: Sequence[Mapping[str, Any]], first: float | None, again: float) -> dict[str, bool]:
    """What has to hold; `first` is None where no run was seen from nothing to its end."""
    met = rows[:-1]
    boards = [row["winner"]["board"] for row in met if row["winner"]]
    return {
        f"{len(met)} pairs have a winner": len(boards) == len(met),
        "the last pair has none, and says what would have to give": rows[-1]["winner"] is None
        and len(rows[-1]["relaxed"]) > 0,
        "different boards": len(set(boards)) >= min(4, len(met)),
        f"cycles within {NEAR:.0%} of the estimate": all(
            abs(row.get("cycles_error", 1.0)) <= NEAR for row in met
        ),
        "no bit differs": all(row.get("mismatches") == 0 for row in met),
        f"from nothing in {FIRST_SECONDS:.0f} s": first is not None and first <= FIRST_SECONDS,
        f"from the journal in {AGAIN_SECONDS:.0f} s": again <= AGAIN_SECONDS,
    }


def main(argv: list[str] | None = None) -> int:
    """Run all pairs of a model, and merge them into the evidence; status 1 if a criterion is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--state", type=Path, required=True, help="folder that keeps models, data and journals"
    )
    parser.add_argument("--model", choices=tuple(cases()), default="digits")
    parser.add_argument("--jobs", type=int, default=cores())
    chosen = parser.parse_args(argv)
    state: Path = chosen.state / chosen.model
    state.mkdir(parents=True, exist_ok=True)
    if not (state / "model.pt2").exists():
        {"digits": write_digits, "minilm": write_minilm}[chosen.model](state)
    case = cases()[chosen.model]
    fresh = not (state / "journal").exists()
    rows, first = run(case, state, chosen.jobs)
    again_rows, again = run(case, state, chosen.jobs)
    # What a run took that went on after it was stopped is not what the work takes.
    took = state / "seconds.json"
    known: float | None = json.loads(took.read_text()) if took.exists() else None
    spent = first if fresh else known
    took.write_text(json.dumps(spent))
    data = {
        "boards": list(case.boards),
        "options": asdict(case.options) | {"seconds": None},
        "jobs": chosen.jobs,
        "seconds": spent,
        "seconds_from_journal": again,
        "pairs": rows,
        "criteria": {**criteria(rows, spent, again), "the same from the journal": rows == again_rows},
    }
    place = RESULTS / "select.json"
    kept = json.loads(place.read_text()).get("models", {}) if place.exists() else {}
    command = " && ".join(
        f"python tools/bench/select_boards.py --state FOLDER --model {name}"
        for name in {**kept, chosen.model: 0}
    )
    write_evidence("select", command, SOURCES, {"models": {**kept, chosen.model: data}})
    for name, held in data["criteria"].items():
        sys.stdout.write(f"{'holds' if held else 'FAILS'}: {name}\n")
    return 0 if all(data["criteria"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
