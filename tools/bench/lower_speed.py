"""Time and memory of `flow lower`: the digits model, and a 12-layer, 768-wide encoder with random HP-90 %
weights.

Run with `python tools/bench/lower_speed.py`. The large model is quantized on random inputs; its weights are
random, since lowering does not depend on what they mean. Each `flow lower` is a process of its own; memory is
its peak resident set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import ROOT, write_evidence
from torch import nn

from flow.compress.calibrate import calibrate
from flow.compress.quantize import quantize
from flow.compress.schemes.hp import choose_pattern, columns_per_bank, hp_mask
from flow.frontend import load
from flow.frontend.to_torch import write_pt2
from flow.passes import recognise

WIDTH, HIDDEN, HEADS, LAYERS, TOKENS, BANKS, BLOCK_ROWS = 768, 3072, 12, 12, 128, 64, 64
SPARSITY = 0.9
METER = """
import resource, subprocess, sys, time
start = time.perf_counter()
with open(sys.argv[1], "w") as out:
    status = subprocess.run(sys.argv[2:], stdout=out).returncode
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Runs a command from a small process: the peak of a child counts what its parent held when it forked."""
LIMITS = {"digits_vit_hp80": (5.0, 4.0), "encoder_12x768_hp90": (60.0, 4.0)}
"""Seconds and GB."""


class Encoder(nn.Module):
    """A post-norm encoder of BERT-base's shape."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[1, S, C] to [1, S, C]."""
        result: torch.Tensor = self.encoder(tokens)
        return result


def prune(module: nn.Module, sparsity: float) -> float:
    """Bank-balanced HP masks on every matrix of the encoder; returns the density reached."""
    kept = total = 0
    for name, weight in module.named_parameters():
        if weight.ndim != 2 or "norm" in name:
            continue
        depth = columns_per_bank(weight.shape[1], BANKS)
        pattern = choose_pattern(max(1, round((1 - sparsity) * depth)), depth)
        mask = hp_mask(
            weight.detach().numpy(), BANKS, BLOCK_ROWS, pattern.columns, pattern.vector, pattern.keep
        )
        with torch.no_grad():
            weight.mul_(torch.from_numpy(mask))
        kept, total = kept + int(mask.sum()), total + mask.size
    return kept / total


def make_encoder(path: Path) -> float:
    """Write the quantized 12-layer model; returns its density."""
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    module = Encoder().eval()
    density = prune(module, SPARSITY)
    example = torch.randn(1, TOKENS, WIDTH)
    plain = path.with_suffix(".float.pt2")
    torch.export.save(torch.export.export(module, (example,), strict=False), plain)
    graph = recognise(load(plain))
    samples = [
        {"tokens": np.random.default_rng(i).normal(size=(1, TOKENS, WIDTH)).astype(np.float32)}
        for i in range(2)
    ]
    write_pt2(quantize(graph, calibrate(graph, samples)), path)
    plain.unlink()
    return density


def metered(arguments: list[str], folder: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds and peak GB of `flow` with arguments, a process of its own, and the JSON object that it prints."""
    out = folder / "out.json"
    done = subprocess.run(
        [sys.executable, "-c", METER, str(out), sys.executable, "-m", "flow", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"flow {' '.join(arguments)} failed with status {done.returncode}")
    seconds, kilobytes = map(float, done.stdout.split())
    return seconds, kilobytes / 1e6, json.loads(out.read_text())


def measure(model: Path, board: str, folder: Path) -> dict[str, float]:
    """Seconds and peak GB of one `flow lower`."""
    command = ["lower", str(model), "--board", board, "-o", str(folder / "build"), "--json"]
    seconds, gigabytes, printed = metered(command, folder)
    estimate = printed["estimate"]
    return {
        "seconds": round(seconds, 2),
        "peak_gb": round(gigabytes, 3),
        "estimated_latency_ms": estimate["latency_ms"],
        "estimated_utilisation": estimate["utilisation"],
        "weight_bits": estimate["weight_bits"],
    }


def main() -> int:
    """Measure both models; status 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="u250")
    board = parser.parse_args().board
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = folder / "encoder.pt2"
        density = make_encoder(encoder)
        for label, model in (
            ("digits_vit_hp80", ROOT / "models" / "digits_vit_hp80.pt2"),
            ("encoder_12x768_hp90", encoder),
        ):
            seconds, gigabytes = LIMITS[label]
            results[label] = {
                **measure(model, board, folder),
                "limit_seconds": seconds,
                "limit_gb": gigabytes,
            }
        results["encoder_12x768_hp90"]["density"] = round(density, 4)
    path = write_evidence(
        "lower_speed",
        "python tools/bench/lower_speed.py",
        ["flow/**/*.py", "hls/**/*", "templates/**/*", "boards/*"],
        {"board": board, "results": results},
    )
    sys.stdout.write(path.read_text())
    slow = [
        k for k, r in results.items() if r["seconds"] > r["limit_seconds"] or r["peak_gb"] > r["limit_gb"]
    ]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
