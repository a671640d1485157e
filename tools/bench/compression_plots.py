"""Plots of the evidence about compression, from `results/` to `docs/images/`: the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from compression_tables import largest, results
from evidence import ROOT
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

IMAGES = ROOT / "docs" / "images"
COLOURS = {
    "hp": "#0072b2",
    "block": "#d55e00",
    "nm": "#009e73",
    "pattern": "#cc79a7",
    "unstructured": "#7f7f7f",
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "flow",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
MARKS = {"hp": "o", "block": "s", "nm": "^", "pattern": "D", "unstructured": "x"}


def draw() -> Iterator[Path]:
    """Draw what there are results for."""
    mpl.use("svg")
    plots = {"compression_digits": digits, "compression_minilm": minilm, "bits_per_weight": bits}
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        data = results(name)
        if data is None:
            continue
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
            plot(axes, data)
            path = IMAGES / f"{name.replace('_', '-')}.svg"
            figure.savefig(path, metadata={"Date": None})
            plt.close(figure)
        yield path


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)


def digits(axes: Axes, data: dict[str, Any]) -> None:
    """Loss of accuracy against density; schemes stand side by side around each density."""
    schemes = list(dict.fromkeys(row["scheme"] for row in data["models"]))
    for i, scheme in enumerate(schemes):
        rows = [row for row in data["models"] if row["scheme"] == scheme]
        shift = 1.0 + 0.03 * (i - (len(schemes) - 1) / 2)
        x = [100 * row["promised_density"] * shift for row in rows]
        y = [-row["images"]["mean"] for row in rows]
        below = [row["images"]["high"] - row["images"]["mean"] for row in rows]
        colour = COLOURS[scheme]
        axes.errorbar(x, y, below, color=colour, marker=MARKS[scheme], capsize=3, label=scheme, lw=1.3, ms=5)
    axes.axhline(0, color="black", lw=0.8)
    ticks = sorted(
        {round(100 * row["promised_density"], 1) for row in data["models"] if row["scheme"] == "hp"}
    )
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("density of the encoder's matrices, %")
    axes.set_ylabel("accuracy against dense, points")
    dense = data["dense"]["accuracy"]
    axes.set_title(f"Digits ViT, integers, five-fold (dense: {dense:.2f} %); 95 % intervals", fontsize=10)
    _legend(axes)


def minilm(axes: Axes, data: dict[str, Any]) -> None:
    """Cosine against sparsity, one line a scheme, and the dense models as levels."""
    cases = {case["name"]: case for case in data["cases"]}
    dense = cases["dense"]["cosine"]
    for scheme, colour in COLOURS.items():
        found = [
            (float(n.split("-")[1]), c)
            for n, c in cases.items()
            if n.count("-") == 1 and n.split("-")[0] == scheme
        ]
        if not found:
            continue
        x = [0.0, *(100 * sparsity for sparsity, _ in found)]
        y = [dense, *(case["cosine"] for _, case in found)]
        error = [cases["dense"]["reach"], *(case["reach"] for _, case in found)]
        axes.errorbar(x, y, error, color=colour, marker=MARKS[scheme], capsize=3, label=scheme, lw=1.3, ms=5)
    for name, case in cases.items():
        if name.endswith("-distilled"):
            axes.errorbar(
                [100 * float(name.split("-")[1])], [case["cosine"]], [case["reach"]],
                color=COLOURS["hp"], marker="*", ms=12, capsize=3, ls="", label="hp, distilled",
            )  # fmt: skip
    axes.set_xlabel("sparsity, %")
    axes.set_ylabel("cosine to the float model")
    axes.set_title(
        "MiniLM, integers, held-out sentences: one shot and reconstruction; 95 % intervals", fontsize=10
    )
    _legend(axes)


HIGHEST = 13.5
"""Bits beside a weight that the plot shows."""


def bits(axes: Axes, data: dict[str, Any]) -> None:
    """Index bits per weight against sparsity, for the largest matrix."""
    rows = largest(data)
    x = [100 * row["actual_sparsity"] for row in rows]
    for name in rows[0]["formats"]:
        y = [row["formats"][name] - 8 for row in rows]
        label = name if min(y) <= HIGHEST else f"{name} ({min(y):.0f}, outside)"
        axes.plot(x, y, marker=".", lw=1.0, label=label)
    axes.set_ylim(0, HIGHEST)
    axes.plot(x, [row["total"] - 8 for row in rows], marker="o", color="black", lw=2.0, label="flow")
    limit = [row["structure_limit"] for row in rows]
    axes.plot(x, limit, color="black", lw=1.0, ls="--", label="limit, HP structure")
    axes.plot(
        x, [row["information_limit"] - 8 for row in rows], color="black", ls=":", label="limit, any zeros"
    )
    axes.set_xlabel("sparsity, %")
    axes.set_ylabel("bits per non-zero weight beside its value")
    axes.set_title(
        f"Index of a 768 x 3072 matrix, B = {rows[0]['banks']}, R = {rows[0]['block_rows']}", fontsize=10
    )
    _legend(axes)
