"""What a pruned model keeps, matrix by matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flow.compress.plan import Plan
from flow.compress.schemes import kept_energy
from flow.ir import Array


@dataclass(frozen=True)
class Row:
    """One matrix: `density` is its share of weights that are not zero, `kept_energy` that of its dense weights'
    squares which the mask keeps."""

    module: str
    shape: tuple[int, int]
    structure: str
    density: float
    kept_energy: float

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self) | {"shape": list(self.shape)}


@dataclass(frozen=True)
class Summary:
    """`promised` is the plan's density over all matrices, `density` the share of their weights that are not zero."""

    plan: Plan
    rows: tuple[Row, ...]
    density: float

    @property
    def promised(self) -> float:
        """Of the plan."""
        return self.plan.density

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {
            "scheme": self.plan.options.scheme,
            "banks": self.plan.banks,
            "block_rows": self.plan.options.block_rows,
            "sparsity": 1 - self.density,
            "density_promised": self.promised,
            "density": self.density,
            "matrices": [row.to_json() for row in self.rows],
        }


def summarise(plan: Plan, dense: Mapping[str, Array], pruned: Mapping[str, Array]) -> Summary:
    """The summary of a plan's matrices, from their weights [N, C] before and after, by name."""
    rows, kept, size = [], 0, 0
    for matrix in plan.matrices:
        mask = pruned[matrix.name] != 0
        kept, size = kept + int(mask.sum()), size + mask.size
        rows.append(
            Row(
                matrix.module,
                (matrix.rows, matrix.columns),
                str(plan.structures[matrix.name]),
                float(mask.mean()),
                kept_energy(dense[matrix.name], mask),
            )
        )
    return Summary(plan, tuple(rows), kept / size)
