"""`prune_file`: from a file to a file, stopped and resumed, and what it refuses."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flow.compress.calibrate import calibrate
from flow.compress.checkpoint import Checkpoint, only_run
from flow.compress.plan import PruneOptions
from flow.compress.prune import NO_DATA, Pruned, PruneRun, prune_file
from flow.compress.quantize import quantize
from flow.compress.train import TrainOptions
from flow.errors import FlowError
from flow.frontend import load
from flow.golden import execute
from flow.golden.samples import load_samples
from flow.ir import Array
from flow.passes import recognise
from flow.passes.to_integers import to_integers
from tests.transformers import zoo
from tests.transformers.modules import CLASSES
from tests.transformers.specs import Spec

OPTIONS = PruneOptions(sparsity=0.75, banks=4, score="wanda")
SPEC = Spec(width=32, heads=2, hidden=64, tokens=12, mask="padding", head="classifier")
DISTIL = TrainOptions(steps=6, batch=8, stages=2)


class Stop(Exception):  # noqa: N818
    """Stands for a kill."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "float.pt2"
    torch.export.save(zoo.export(SPEC, zoo.build(SPEC)), path)
    return path


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(exported, tmp_path))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data.npz", 24)


def write_data(path: Path, count: int, labels: Array | None = None) -> Path:
    rng = np.random.default_rng(0)
    mask = (np.arange(12) < rng.integers(1, 13, (count, 1))).astype(np.int64)
    arrays: dict[str, Any] = {
        "x": rng.normal(size=(count, 12, 32)).astype(np.float32),
        "attention_mask": mask,
    }
    np.savez(path, **arrays, labels=np.arange(count) % CLASSES if labels is None else labels)
    return path


def weights(path: Path) -> dict[str, Array]:
    """Matrices by the name of their constant."""
    graph = recognise(load(path))
    return {
        n.name: n.op.value  # type: ignore[attr-defined]
        for n in graph
        if n.op.name == "constant" and n.op.value.ndim == 2  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(
    ("options", "run"),
    [
        (replace(OPTIONS, score="magnitude"), {"data": None}),
        (OPTIONS, {}),
        (replace(OPTIONS, scheme="nm", sparsity=0.5), {"rebuild": False}),
        (replace(OPTIONS, allocation="sensitivity"), {"training": DISTIL, "lasso": 0.01}),
        (replace(OPTIONS, scheme="unstructured"), {"training": replace(DISTIL, kind="train", stages=1)}),
    ],
)
def test_what_is_promised_is_in_the_file(
    model: Path, data: Path, tmp_path: Path, options: PruneOptions, run: dict[str, object]
) -> None:
    output = tmp_path / "pruned.pt2"
    told: dict[str, tuple[int, ...]] = {}
    result = prune_file(
        model,
        output,
        options,
        PruneRun(**{"data": data, **run}),  # type: ignore[arg-type]
        lambda *words, **_: told.update({words[0]: words[1:]}),
    )
    found = weights(output)
    inside = [
        w for name, w in found.items() if "pooler" not in name and "head" not in name and w.shape[0] > 12
    ]
    kept = sum(np.count_nonzero(w) for w in inside) / sum(w.size for w in inside)
    assert kept == result.density == pytest.approx(result.promised)
    assert result.promised == pytest.approx(1 - options.sparsity, abs=0.01)
    assert [row.density for row in result.rows] == [pytest.approx(np.mean(w != 0)) for w in inside]
    assert all(done == total for done, total in told.values())
    report = result.to_json()
    assert report["density"] == result.density
    assert len(report["matrices"]) == 6
    if run.get("data", data) is None:
        assert (result.samples, result.measured, result.cosine) == (0, 0, {})
        assert result.notes == (NO_DATA,)
    else:
        assert (result.samples, result.measured) == (21, 3)
        assert 0 < next(iter(result.cosine.values())) < 1
        assert result.notes == ()
    assert (result.loss is not None) == ("training" in run)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", "float.pt2", "pruned.pt2"]


def test_reconstruction_pays_and_the_result_lowers(model: Path, data: Path, tmp_path: Path) -> None:
    cosines = []
    for rebuild in (False, True):
        result = prune_file(model, tmp_path / "pruned.pt2", OPTIONS, PruneRun(data, rebuild=rebuild))
        cosines.append(next(iter(result.cosine.values())))
    assert cosines[1] > cosines[0]
    graph = recognise(load(tmp_path / "pruned.pt2"))
    samples = load_samples(data, graph).samples
    integers = to_integers(quantize(graph, calibrate(graph, samples)))
    assert set(execute(integers, samples[0])) == set(graph.outputs)


def test_boards_choose_the_banks(model: Path, tmp_path: Path) -> None:
    options = PruneOptions(sparsity=0.5)
    run = PruneRun(boards=("pynq-z2", "ulx3s-85f"))
    result = prune_file(model, tmp_path / "pruned.pt2", options, run)
    assert set(result.boards) == {"pynq-z2", "ulx3s-85f"}
    assert result.plan.banks == max(result.boards.values())
    assert all(result.plan.banks % banks == 0 for banks in result.boards.values())


@pytest.mark.parametrize(("stop", "lasso"), [("reconstruction", 0.0), ("distillation", 0.05)])
def test_stopped_anywhere_and_started_again_gives_the_same_bytes(
    model: Path, data: Path, tmp_path: Path, stop: str, lasso: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "due", lambda _: True)
    whole, parts = tmp_path / "whole.pt2", tmp_path / "parts.pt2"
    run = PruneRun(data, training=DISTIL, lasso=lasso)
    expected = prune_file(model, whole, OPTIONS, run)

    def interrupt(what: str, done: int, *_: int, **__: str) -> None:
        if what == stop and done == 4:
            raise Stop

    with pytest.raises(Stop):
        prune_file(model, parts, OPTIONS, run, interrupt)
    folder = tmp_path / ".parts.pt2.checkpoint"
    assert not parts.exists()
    assert sorted(p.name for p in folder.glob("*")) == (
        ["start.safetensors", "training.safetensors"] if stop == "distillation" else []
    )
    again: list[tuple[object, ...]] = []
    found = prune_file(model, parts, OPTIONS, run, lambda *words, **_: again.append(words[:2]))
    assert parts.read_bytes() == whole.read_bytes()
    assert found.to_json() == expected.to_json()
    assert again[0] == (("distillation", 4) if stop == "distillation" else ("statistics", 1))
    assert not folder.exists()


def test_killed_and_started_again(model: Path, data: Path, tmp_path: Path) -> None:
    """The real thing, by SIGKILL, through the command line."""
    output, whole = tmp_path / "killed.pt2", tmp_path / "whole.pt2"
    command = [sys.executable, "-m", "flow", "prune", str(model), "--data", str(data), "--sparsity", "0.75"]
    command += ["--banks", "4", "--distill-steps", "60", "--batch", "8", "-o", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    folder = tmp_path / ".killed.pt2.checkpoint"
    for _ in range(3000):
        if (folder / "start.safetensors").exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (folder / "start.safetensors").exists()
    assert not output.exists()
    run = PruneRun(data, training=TrainOptions(steps=60, batch=8))
    for path in (output, whole):
        prune_file(model, path, OPTIONS, run)
    assert output.read_bytes() == whole.read_bytes()
    assert not folder.exists()


def refusal(call: Callable[[], Pruned]) -> str:
    with pytest.raises(FlowError) as caught:
        call()
    return str(caught.value)


def test_foreign_and_damaged_checkpoints(model: Path, data: Path, tmp_path: Path) -> None:
    output, folder = tmp_path / "pruned.pt2", tmp_path / "kept"
    run = PruneRun(data, training=DISTIL, checkpoint=folder)

    def interrupt(what: str, *_: int, **__: str) -> None:
        if what == "distillation":
            raise Stop

    with pytest.raises(Stop):
        prune_file(model, output, OPTIONS, run, interrupt)
    other = replace(run, training=replace(DISTIL, steps=7, rate=0.5))
    assert refusal(lambda: prune_file(model, output, OPTIONS, other)) == (
        f"{folder}: found a checkpoint of another run (training.steps 6 instead of 7, training.rate 0.001 instead of "
        "0.5); expected one of this command; repeat the command that it is of, remove the folder to start over, or "
        "choose another with --checkpoint"
    )
    (folder / "start.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    found = refusal(lambda: prune_file(model, output, OPTIONS, run))
    pattern = (
        rf"{re.escape(str(folder))}/start\.safetensors: found a damaged checkpoint \(.+\); expected one that "
        rf"`flow prune` wrote; remove {re.escape(str(folder))} to start over"
    )
    assert re.fullmatch(pattern, found)
    blocked = replace(run, checkpoint=model / "below")
    assert refusal(lambda: prune_file(model, output, OPTIONS, blocked)) == (
        f"{model}/below: found Not a directory; expected a writable place; choose another with --checkpoint"
    )
    assert not output.exists()


def test_one_run_at_a_time(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "pruned.pt2"
    with only_run(output):
        assert refusal(lambda: prune_file(model, output, PruneOptions())) == (
            f"{output}: found another `flow prune` at work on it; expected one at a time; wait for its end, or choose "
            "another output with -o"
        )
    monkeypatch.setenv("FLOW_CACHE_DIR", str(model))
    assert refusal(lambda: prune_file(model, output, PruneOptions())) == (
        f"{model}/locks: found Not a directory; expected a writable cache; set FLOW_CACHE_DIR to another folder"
    )


def test_options_that_do_not_go_together(model: Path, data: Path, tmp_path: Path) -> None:
    def refused(options: PruneOptions, run: PruneRun) -> str:
        return refusal(lambda: prune_file(model, tmp_path / "pruned.pt2", options, run))

    assert refused(replace(OPTIONS, allocation="sensitivity"), PruneRun(training=DISTIL)) == (
        "flow prune: found --score wanda, --allocation sensitivity, --distill-steps without data; expected samples to "
        "measure or train on; give an .npz with --data"
    )
    assert refused(OPTIONS, PruneRun(data, training=TrainOptions(stages=3))) == (
        "flow prune: found --stages without training; expected --distill-steps or --train-steps beside it; add one"
    )
    assert refused(OPTIONS, PruneRun(data, lasso=1.0)) == (
        "flow prune: found --lasso without training; expected --distill-steps or --train-steps beside it; add one"
    )
    assert refused(OPTIONS, PruneRun(data, training=DISTIL, lasso=math.nan)) == (
        "lasso: found nan; expected a finite weight, 0 or more; choose another"
    )
    assert refused(OPTIONS, PruneRun(data, training=TrainOptions(steps=2, stages=3))) == (
        "flow prune: found 3 stages in 2 steps; expected at most one stage a step; take fewer stages or more steps"
    )


def test_data_that_does_not_do(model: Path, data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    output = tmp_path / "pruned.pt2"

    def refused(options: PruneOptions = OPTIONS, **fields: object) -> str:
        return refusal(lambda: prune_file(model, output, options, PruneRun(bad, **fields)))  # type: ignore[arg-type]

    write_data(bad, 0)
    assert refused() == (
        f"{bad}: found inputs that do not fit the model\n  - found no samples; expected at least one"
    )
    supervised = TrainOptions("train", steps=2)
    write_data(bad, 8, np.arange(8) + 1)
    assert refused(training=supervised) == (
        f"{bad}: found inputs that do not fit the model\n  - labels: found 1 to 8; expected 0 to 6"
    )
    with np.load(data) as arrays:
        kept = {key: arrays[key] for key in ("x", "attention_mask")}
    np.savez(bad, **kept)
    assert refused(training=supervised) == (
        f"{bad}: found no labels; expected one integer a sample under the name labels; add them, or use "
        "--distill-steps, which needs none"
    )
    kept["x"][3, 0, 0] = np.nan
    np.savez(bad, **kept)
    assert refused() == (
        f"{bad}: found inputs that do not fit the model\n  - x: found values that are not finite; expected finite "
        "float32"
    )
    assert not output.exists()


def test_a_loss_that_is_not_finite_leaves_no_checkpoint(model: Path, data: Path, tmp_path: Path) -> None:
    run = PruneRun(data, training=TrainOptions(steps=5, rate=1e30, warm=0.0))
    found = refusal(lambda: prune_file(model, tmp_path / "pruned.pt2", OPTIONS, run))
    pattern = (
        r"training, step \d of 5: found a loss of nan; expected a finite one; lower --lr \(now 1e\+30\) "
    )
    assert re.fullmatch(pattern + "and start again", found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", "float.pt2"]
