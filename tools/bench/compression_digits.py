"""Accuracy of the digits ViT against density, for every pruning scheme, in integers, by five-fold cross-validation.

    python tools/bench/compression_digits.py --state FOLDER [--workers 2]

For each fold and seed a dense model is trained on four fifths of scikit-learn's 1,797 digits, then pruned by every
scheme to every density, each time from the same dense model, with the same steps of fine-tuning towards its answers.
Every model is calibrated on training images, quantized, turned into integers, and the golden executor classifies the
fold's test images, which nothing has seen before. A model's loss is paired with the dense model of its fold and seed.

The recipes below were chosen on inner splits of the training part of the first fold; no test image was looked at.
A run that was stopped goes on: `--state` keeps float weights and answers of each model, under a key of recipes, code
of this bench and the masks that `flow.compress` makes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import digits_pruning
import digits_vit
import numpy as np
import torch
from digits_vit import Fold, Images, Recipe, Weights, answers, folds, graph_of
from evidence import source_hash, write_evidence
from golden_batch import compared, execute_all
from paired import interval

from flow.compress.plan import PruneOptions
from flow.compress.prepare import prepare
from flow.compress.quantize import QuantizeOptions
from flow.ir import Array
from flow.passes.to_integers import to_integers

SEEDS = (0, 1)
HP_ONLY = (1,)
"""Seeds for which only the dense model and HP's are trained: the criteria are HP's, and time is bounded."""
SCHEMES = ("hp", "block", "nm", "pattern", "unstructured")
SPARSITIES = (0.5, 0.8, 0.9)
BANKS = 8
BLOCK_ROWS = 16
CALIBRATION = 64
REPEATED = 10
COPIES = 20
DENSE = Recipe(
    epochs=60, rate=0.007, other_rate=3e-3, batch=32, warm=50, average=0.998, smoothing=0.05, decay=0.02
)
PRUNED = {
    sparsity: Recipe(
        epochs=epochs, rate=0.01, other_rate=3e-3, batch=32, warm=50, average=0.99, ramp=0.3, stages=6
    )
    for sparsity, epochs in ((0.5, 12), (0.8, 40), (0.9, 40))
}
INTEGERS = [
    *(
        f"flow/compress/{name}.py"
        for name in ("calibrate", "forms", "observers", "prepare", "quantize", "smooth", "weights")
    ),
    "flow/numerics.py",
    "flow/passes/integerise.py",
]
"""What turns float weights into integers and runs them."""
LIMITS = {0.8: 1.5, 0.9: 4.0}
"""Points that the upper end of the interval of HP's loss may reach."""
DENSE_LIMIT = 0.96


def options_of(scheme: str, sparsity: float) -> PruneOptions:
    """What `flow.compress` is asked for."""
    return PruneOptions(scheme=scheme, sparsity=sparsity, banks=BANKS, block_rows=BLOCK_ROWS)


MODELS = tuple(product(SCHEMES, SPARSITIES))
NAMES = ("dense", *(f"{scheme}-{sparsity}" for scheme, sparsity in MODELS))


def dense_key() -> str:
    """Changes with whatever changes a dense model: its recipe and the code that trains it."""
    return hashlib.sha256(repr(DENSE).encode() + Path(digits_vit.__file__).read_bytes()).hexdigest()[:16]


def key() -> str:
    """Changes with whatever changes a pruned model: that, the recipe, and the masks of every scheme."""
    digest = hashlib.sha256(repr((dense_key(), PRUNED, BANKS, BLOCK_ROWS, COPIES)).encode())
    digest.update(Path(digits_pruning.__file__).read_bytes())
    weights = digits_pruning.arranged(digits_vit.initial(0), options_of("hp", 0.5))
    for scheme, sparsity in MODELS:
        for mask in digits_pruning.masks_for(weights, options_of(scheme, sparsity))[1].values():
            digest.update(mask.numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Answer:
    """What one model said about its fold's test images, as integers and in float, and what it is."""

    integer: list[int]
    float_: list[int]
    density: float
    promised: float
    structures: dict[str, str]
    seconds: float


# -- one model -------------------------------------------------------------------------------------------------


def keep(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def kept_weights(path: Path) -> Weights | None:
    """The weights of a model that an earlier run has trained."""
    if not path.exists():
        return None
    found: Weights = torch.load(path, weights_only=True)
    return found


def predictions(weights: Weights, fold: Fold) -> list[int]:
    """The integer model's classes of the fold's test images, after calibration on training images.

    Images are run stacked; the golden executor repeats the first `REPEATED`, and must find the same.
    """
    graph, seen = graph_of(weights), samples(fold.train, CALIBRATION)
    integers = to_integers(prepare(graph, seen, QuantizeOptions(), lambda *_: None).quantized())
    (output,) = integers.outputs
    tested = samples(fold.test)
    found = execute_all(integers, tested)
    compared(integers, tested[:REPEATED], found[:REPEATED])
    return [int(one[output].argmax()) for one in found]


def samples(images: Images, count: int | None = None) -> list[dict[str, Array]]:
    """Images as single samples under the model's input name."""
    return [{"image": image[None]} for image in images.images[:count].numpy()]


def answer(weights: Weights, fold: Fold, options: PruneOptions | None, seconds: float) -> Answer:
    """Test one model.

    Raises:
        AssertionError: it holds more weights than its plan allows.
    """
    names = digits_vit.prunable()
    total = sum(weights[name].numel() for name in names)
    density = sum(int(weights[name].count_nonzero()) for name in names) / total
    promised, structures = 1.0, dict[str, str]()
    if options is not None:
        plan, _ = digits_pruning.masks_for(weights, options)
        promised = plan.density
        structures = {m.module: str(plan.structures[m.name]) for m in plan.matrices}
        if density > promised + 1e-9:
            raise AssertionError(f"{options}: found density {density}; expected at most {promised}")
    floats = answers(weights, fold.test.images).argmax(-1).tolist()
    return Answer(predictions(weights, fold), floats, density, promised, structures, seconds)


@dataclass(frozen=True)
class Places:
    """Folders of dense models, which other pruning leaves alone, and of pruned ones; a key of what makes integers."""

    dense: Path
    pruned: Path
    integers: str

    @classmethod
    def under(cls, state: Path) -> Places:
        """The folders for the present recipes and code."""
        integers = source_hash(INTEGERS)[:8]
        return cls(state / f"digits-dense-{dense_key()}", state / f"digits-{key()}", integers)

    def weights(self, fold: int, seed: int, name: str) -> Path:
        """Where a model's float weights lie."""
        return (self.dense if name == "dense" else self.pruned) / f"fold{fold}-seed{seed}" / f"{name}.pt"

    def answer(self, fold: int, seed: int, name: str) -> Path:
        """Where its answers as integers lie."""
        return self.weights(fold, seed, name).with_suffix(f".{self.integers}.json")


class Cell:
    """The models of one fold and seed."""

    def __init__(self, places: Places, fold: int, seed: int) -> None:
        self.places, self.number, self.seed = places, fold, seed
        self.fold = folds()[fold]
        self._pool: digits_pruning.Pool | None = None

    def run(self, scheme: str) -> None:
        """Train and test what is not there yet: the dense model, then those of one scheme."""
        self._obtain("dense", None)
        for sparsity in SPARSITIES:
            self._obtain(f"{scheme}-{sparsity}", options_of(scheme, sparsity))

    def _obtain(self, name: str, options: PruneOptions | None) -> None:
        result = self.places.answer(self.number, self.seed, name)
        path = self.places.weights(self.number, self.seed, name)
        if result.exists():
            return
        result.parent.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        weights = kept_weights(path)
        if weights is None:
            weights = self._train(options)
            part = path.with_suffix(".part")
            torch.save(weights, part)
            part.replace(path)
        found = answer(weights, self.fold, options, time.process_time() - start)
        keep(result, json.dumps(asdict(found)).encode())

    def _train(self, options: PruneOptions | None) -> Weights:
        seed = 1000 * self.number + self.seed
        if options is None:
            return digits_vit.train_dense(self.fold.train, DENSE, seed)
        dense = kept_weights(self.places.weights(self.number, self.seed, "dense"))
        assert dense is not None
        if self._pool is None:
            self._pool = digits_pruning.make_pool(self.fold.train, dense, COPIES, seed)
        return digits_pruning.train_pruned(dense, self._pool, options, PRUNED[options.sparsity], seed)


def run_cell(places: Places, fold: int, seed: int, scheme: str) -> str:
    """One cell's models of a scheme, in a process of its own."""
    torch.set_num_threads(1)
    Cell(places, fold, seed).run(scheme)
    return f"fold {fold}, seed {seed}, {scheme}"


# -- the report ------------------------------------------------------------------------------------------------


def read_answer(places: Places, fold: int, seed: int, name: str) -> Answer:
    """The kept answer of a model."""
    return Answer(**json.loads(places.answer(fold, seed, name).read_text()))


def seeds_of(scheme: str, seeds: Iterable[int]) -> tuple[int, ...]:
    """The seeds of a scheme's models."""
    return tuple(seed for seed in seeds if scheme == "hp" or seed not in HP_ONLY)


def right(answers_of: Iterable[tuple[int, Answer]], kind: str) -> Array:
    """Whether each of the 1,797 images is classified rightly, 0 or 1, from the answers of all folds."""
    found = np.full(sum(len(fold.test.labels) for fold in folds()), -1.0)
    for number, one in answers_of:
        test = folds()[number].test
        said = one.integer if kind == "integer" else one.float_
        found[test.numbers] = np.array(said) == test.labels.numpy()
    assert (found >= 0).all(), "an image was tested by no fold"
    return found


@dataclass(frozen=True)
class Table:
    """Whether each image is classified rightly, by model and seed, and the fold [images] that tested each image."""

    integer: Mapping[str, Mapping[int, Array]]
    floats: Mapping[str, Mapping[int, Array]]
    fold: Array

    @classmethod
    def read(cls, places: Places, seeds: Iterable[int]) -> Table:
        """All answers; a model counts under the seeds that every fold has answers for."""
        numbers = range(len(folds()))
        fold = np.empty(sum(len(f.test.labels) for f in folds()), dtype=np.int64)
        for number in numbers:
            fold[folds()[number].test.numbers] = number
        found: dict[str, dict[str, dict[int, Array]]] = {"integer": {}, "float": {}}
        for name, seed in product(NAMES, seeds):
            if all(places.answer(number, seed, name).exists() for number in numbers):
                said = [(number, read_answer(places, number, seed, name)) for number in numbers]
                for kind, table in found.items():
                    table.setdefault(name, {})[seed] = right(said, kind)
        return cls(found["integer"], found["float"], fold)

    def loss(self, name: str, against: str) -> dict[str, Any]:
        """Points of accuracy that a model loses against another under the same seeds, with two 95 % intervals.

        Over images: each image's difference, averaged over seeds; 1,797 independent draws of what may be met. Over
        folds: each fold's difference, averaged over seeds; five draws of training and test images together.
        """
        seeds = [seed for seed in self.integer[name] if seed in self.integer[against]]
        pairs = [(self.integer[against][seed], self.integer[name][seed]) for seed in seeds]
        differences = 100.0 * np.mean([before - after for before, after in pairs], axis=0)
        by_fold = [differences[self.fold == number].mean() for number in range(len(folds()))]
        return {
            "seeds": seeds,
            "changed": 100.0 * float(np.mean([before != after for before, after in pairs])),
            "images": asdict(interval(differences)),
            "folds": asdict(interval(by_fold)),
        }

    def accuracy(self, name: str) -> dict[str, float]:
        """Per cent of images, over all seeds."""
        integer, floats = list(self.integer[name].values()), list(self.floats[name].values())
        return {"accuracy": 100.0 * float(np.mean(integer)), "float_accuracy": 100.0 * float(np.mean(floats))}


def report(places: Places, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Everything that the document says about digits."""
    table = Table.read(places, seeds)
    rows = []
    for scheme, sparsity in MODELS:
        name = f"{scheme}-{sparsity}"
        if name not in table.integer:
            continue
        found = [
            read_answer(places, n, s, name) for n, s in product(range(len(folds())), table.integer[name])
        ]
        rows.append(
            {
                "scheme": scheme,
                "sparsity": sparsity,
                "promised_density": found[0].promised,
                "densities": [min(a.density for a in found), max(a.density for a in found)],
                "structures": found[0].structures,
                "cpu_seconds": float(np.mean([a.seconds for a in found])),
                **table.accuracy(name),
                **table.loss(name, "dense"),
                "loss_over_hp": table.loss(name, f"hp-{sparsity}"),
            }
        )
    return {
        "folds": len(folds()),
        "seeds": list(seeds),
        "images": len(table.fold),
        "banks": BANKS,
        "block_rows": BLOCK_ROWS,
        "recipes": {
            "dense": asdict(DENSE),
            "pruned": {str(s): asdict(r) for s, r in PRUNED.items()},
            "copies": COPIES,
        },
        "dense": table.accuracy("dense"),
        "models": rows,
    }


def verdicts(data: Mapping[str, Any]) -> dict[str, bool]:
    """The criteria: dense accuracy, and HP's loss by the wider of the two intervals."""
    found = {f"dense >= {DENSE_LIMIT:.0%}": data["dense"]["accuracy"] >= 100 * DENSE_LIMIT}
    for row in data["models"]:
        if row["scheme"] == "hp" and row["sparsity"] in LIMITS:
            limit = LIMITS[row["sparsity"]]
            high = max(row["images"]["high"], row["folds"]["high"])
            found[f"hp {row['sparsity']:.0%}: loss <= {limit} points"] = high <= limit
    return found


def train_all(places: Places, seeds: tuple[int, ...], workers: int) -> None:
    """Every model that is not there yet, HP first; progress to stderr."""
    cells = [
        (fold, seed, scheme)
        for scheme in SCHEMES
        for seed in seeds_of(scheme, seeds)
        for fold in range(len(folds()))
    ]
    started = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(run_cell, places, *cell) for cell in cells]
        for done, future in enumerate(as_completed(waiting), start=1):
            minutes = (time.monotonic() - started) / 60
            sys.stderr.write(f"{future.result()}: {done} of {len(cells)} after {minutes:.1f} minutes\n")


def main(argv: list[str] | None = None) -> int:
    """Train and test what `--state` lacks, write the evidence; status 1 if a criterion is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder that keeps models between runs")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--report", action="store_true", help="train nothing, report what is finished")
    chosen = parser.parse_args(argv)
    places = Places.under(chosen.state)
    if not chosen.report:
        train_all(places, SEEDS, chosen.workers)
    data = report(places, SEEDS)
    data["criteria"] = verdicts(data)
    sources = [
        *INTEGERS,
        "flow/compress/schemes/*.py",
        *(
            f"flow/compress/{name}.py"
            for name in ("allocate", "arrange", "matrices", "permute", "plan", "scores")
        ),
        *(f"tools/bench/{name}.py" for name in ("compression_digits", "digits_*", "golden_batch", "paired")),
        "tools/train_digits.py",
    ]
    write_evidence("compression_digits", "python tools/bench/compression.py --only digits", sources, data)
    for name, held in data["criteria"].items():
        sys.stdout.write(f"{'holds' if held else 'FAILS'}: {name}\n")
    return 0 if all(data["criteria"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
