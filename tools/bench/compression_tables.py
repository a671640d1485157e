"""Tables of the evidence about compression, from `results/` into `docs/compression.md` between its markers.

A table stands between `<!-- table NAME -->` and `<!-- end -->`; what is between them is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from evidence import RESULTS, ROOT

DOCUMENT = ROOT / "docs" / "compression.md"


def results(name: str) -> dict[str, Any] | None:
    """One file of evidence, None where there is none yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def largest(data: dict[str, Any], block_rows: int = 16) -> list[dict[str, Any]]:
    """Results of the 768x3072 matrix with blocks of so many rows."""
    wanted = (768, 3072, block_rows)
    return [row for row in data["matrices"] if (row["rows"], row["columns"], row["block_rows"]) == wanted]


def write() -> None:
    """Renew every table that there are results for."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, (source, make) in TABLES.items():
        data = results(source)
        if data is not None:
            text = replaced(text, name, make(data))
    DOCUMENT.write_text(text, encoding="utf-8")


def replaced(text: str, name: str, table: str) -> str:
    """The text with another table between the markers of `name`.

    Raises:
        ValueError: there are no such markers, or several.
    """
    pattern = re.compile(rf"(<!-- table {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    found = len(pattern.findall(text))
    if found != 1:
        raise ValueError(f"{DOCUMENT.name}: found {found} places for table {name}; expected one")
    return pattern.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text)


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    first = list(head)
    lines = [first, ["---"] * len(first), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _points(found: dict[str, float]) -> str:
    return f"{found['mean']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})"


def digits(data: dict[str, Any]) -> str:
    """Accuracy and loss of every model."""
    head = (
        "scheme",
        "sparsity",
        "density",
        "accuracy %",
        "loss, points: over images",
        "over folds",
        "more than hp's",
    )
    dense = data["dense"]["accuracy"]
    rows = [("dense", "", "1", f"{dense:.2f}", "", "", "")]
    for row in sorted(data["models"], key=lambda row: row["sparsity"]):
        more = "" if row["scheme"] == "hp" else _points(row["loss_over_hp"]["images"])
        rows.append(
            (
                row["scheme"],
                f"{row['sparsity']:.0%}",
                f"{row['promised_density']:.4f}",
                f"{row['accuracy']:.2f}",
                _points(row["images"]),
                _points(row["folds"]),
                more,
            )
        )
    return markdown(head, rows)


def structures(data: dict[str, Any]) -> str:
    """Structures of the first fold's models, by the kind of matrix."""
    kinds = {"q, k, v, output, FFN in (64 columns)": ".linear1", "FFN out (256 columns)": ".linear2"}
    rows = []
    for row in data["models"]:
        if row["scheme"] != "unstructured":
            found = [
                ", ".join(dict.fromkeys(s for m, s in row["structures"].items() if m.endswith(end)))
                for end in kinds.values()
            ]
            rows.append((row["scheme"], f"{row['sparsity']:.0%}", *found))
    return markdown(("scheme", "sparsity", *kinds), rows)


def minilm(data: dict[str, Any]) -> str:
    """Cosine of every case."""
    head = (
        "case",
        "tokens",
        "density",
        "cosine",
        "least",
        "cycles",
        "CPU-seconds of prune",
        "of quantize",
        "criterion",
    )
    rows = []
    for case in data["cases"]:
        least = case["least"]
        verdict = "" if least is None else f">= {least}: {'holds' if case['cosine'] >= least else 'missed'}"
        rows.append(
            (
                case["name"],
                str(case["tokens"]),
                f"{case['pruning']['density']:.4f}" if "pruning" in case else "1",
                f"{case['cosine']:.4f} ± {case['reach']:.4f}",
                f"{case['least_cosine']:.3f}",
                f"{case['quantizing']['cycles']:,}",
                f"{case['prune_seconds']:.0f}" if "prune_seconds" in case else "",
                f"{case['quantize_seconds']:.0f}",
                verdict,
            )
        )
    return markdown(head, rows)


def bits(data: dict[str, Any]) -> str:
    """Bits per weight of 768x3072."""
    rows = [*largest(data, 16), *largest(data, 64)]
    names = list(rows[0]["formats"])
    head = (
        "R",
        "sparsity",
        "structure",
        "flow",
        "its index",
        "index / its limit",
        *names,
        "limit, any zeros",
    )
    return markdown(
        head,
        (
            (
                str(row["block_rows"]),
                f"{row['actual_sparsity']:.3f}",
                row["structure"],
                f"{row['total']:.2f}",
                f"{row['index']:.2f}",
                f"{row['index_over_limit']:.3f}",
                *(f"{row['formats'][name]:.2f}" for name in names),
                f"{row['information_limit']:.2f}",
            )
            for row in rows
        ),
    )


def widths(data: dict[str, Any]) -> str:
    """Cases with an error budget: what was bought."""
    head = ("budget", "cosine", "cycles", "over default widths", "edges widened")
    rows = []
    for case in data["cases"]:
        chosen = case["quantizing"].get("widths")
        if chosen:
            more = chosen["cycles"] / chosen["narrow_cycles"] - 1
            bought = ", ".join(f"{b['edge']} {b['bits'][0]} to {b['bits'][1]}" for b in chosen["bought"])
            rows.append(
                (chosen["budget"], f"{case['cosine']:.4f}", f"{chosen['cycles']:,}", f"{more:+.1%}", bought)
            )
    return markdown(head, rows)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "digits": ("compression_digits", digits),
    "structures": ("compression_digits", structures),
    "minilm": ("compression_minilm", minilm),
    "widths": ("compression_minilm", widths),
    "bits": ("bits_per_weight", bits),
}
