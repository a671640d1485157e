"""A plan of pruning: which structure every matrix takes for one overall sparsity, and the masks that it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flow.compress.allocate import Choice, Curve, by_sensitivity, uniform
from flow.compress.matrices import Matrix, find_matrices, physical_columns, physical_rows
from flow.compress.schemes import NM, SCHEMES, Grid, Mask, Pattern, Scheme, Structure
from flow.compress.scores import SCORES, scores_of
from flow.errors import UnsupportedError
from flow.ir import Array, Graph

ALLOCATIONS = ("uniform", "sensitivity")
MOST_BANKS = 64
LEAST_DEPTH = 8
"""Columns of a bank that the default B leaves in the narrowest matrix, so that density has eight steps there."""
TOLERANCE = 0.0075
"""A plan promises the sparsity asked for to three quarters of a point, or refuses."""

TRIED = 400
"""Targets at which the expressible sparsities are found that a refusal offers."""


@dataclass(frozen=True)
class PruneOptions:
    """What `flow prune` was asked for.

    `sparsity` is the share of the weights of all chosen matrices that go. `banks` is B, a power of two; balance for B
    is balance for every divisor of it; None takes `default_banks`. `block_rows` is R. `nm_group` is M of N:M (0:
    chosen), `patterns` the patterns of a table (2 to 128).
    """

    scheme: str = "hp"
    sparsity: float = 0.5
    banks: int | None = None
    block_rows: int = 16
    score: str = "magnitude"
    allocation: str = "uniform"
    permute: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seed: int = 0
    nm_group: int = 0
    patterns: int = 16

    def __post_init__(self) -> None:
        checks = {
            f"scheme: found {self.scheme!r}; expected {_one_of(SCHEMES)}": self.scheme in SCHEMES,
            f"sparsity: found {self.sparsity}; expected at least 0 and less than 1": 0 <= self.sparsity < 1,
            f"banks: found {self.banks}; expected a power of two": _is_power(self.banks),
            f"block_rows: found {self.block_rows}; expected at least 1": self.block_rows >= 1,
            f"score: found {self.score!r}; expected {_one_of(SCORES)}": self.score in SCORES,
            f"allocation: found {self.allocation!r}; expected {_one_of(ALLOCATIONS)}": self.allocation
            in ALLOCATIONS,
            f"nm_group: found {self.nm_group}; expected 0 (chosen) to 16": 0 <= self.nm_group <= 16,
            f"patterns: found {self.patterns}; expected 2 to 128": 2 <= self.patterns <= 128,
        }
        faults = [f"  - {fault}" for fault, fine in checks.items() if not fine]
        if faults:
            raise UnsupportedError(
                f"prune options: found {len(faults)} values out of range; choose others\n" + "\n".join(faults)
            )


@dataclass(frozen=True, eq=False)
class Plan:
    """The structure of every matrix, by name. `banks` is B as chosen, `matrices` what the plan was made for."""

    options: PruneOptions
    banks: int
    matrices: tuple[Matrix, ...]
    structures: Mapping[str, Structure]

    @property
    def density(self) -> float:
        """Share of the weights of all matrices that stay: what the plan promises."""
        return _overall(self.structures)

    def grid(self, name: str) -> Grid:
        """Where the named matrix lies on B banks."""
        return grid_of(next(m for m in self.matrices if m.name == name), self.banks)

    @property
    def scheme(self) -> Scheme:
        """The scheme, with its options."""
        return scheme_of(self.options)

    def to_json(self) -> dict[str, Any]:
        """For reports: module, shape, density and structure of every matrix."""
        return {
            "scheme": self.options.scheme,
            "banks": self.banks,
            "block_rows": self.options.block_rows,
            "density": self.density,
            "matrices": [
                {
                    "module": m.module,
                    "shape": [m.rows, m.columns],
                    "density": self.structures[m.name].density,
                    "cycles": self.structures[m.name].cycles,
                    "structure": str(self.structures[m.name]),
                }
                for m in self.matrices
            ],
        }


def make_plan(
    graph: Graph,
    options: PruneOptions,
    *,
    norms: Mapping[str, Array] | None = None,
    sensitivity: Mapping[str, Curve] | None = None,
    nearest: bool = False,
) -> Plan:
    """The plan for the matrices of a recognised float graph.

    Structures are chosen by the scores of the present weights (`norms` [C] by matrix name for Wanda). `sensitivity`
    holds measured (density, error) by matrix name for that allocation. With `nearest`, a sparsity that the structures
    cannot express gives the nearest that they can (the stages of a schedule); without, it is refused.

    Raises:
        UnsupportedError: no matrices, unknown globs, no norms or curves where they are needed, scores that are not
            finite, or a sparsity that cannot be expressed within `TOLERANCE`: the nearest that can are offered.
    """
    matrices = find_matrices(graph, options.include, options.exclude)
    banks = options.banks or default_banks(matrices)
    scheme, grids = scheme_of(options), {m.name: grid_of(m, banks) for m in matrices}
    _check_curves(graph, matrices, options, sensitivity)
    scores = scores_of(matrices, options.score, norms)
    _check_scores(matrices, scores)
    choices = [Choice(n, g.size, scheme.densities(g, options.block_rows)) for n, g in grids.items()]

    def planned(density: float) -> dict[str, float]:
        if options.allocation == "sensitivity" and sensitivity is not None:
            return by_sensitivity(choices, sensitivity, density)
        return uniform(choices, density)

    sizes = {name: grid.size for name, grid in grids.items()}
    densities = planned(1 - options.sparsity)
    structures = {
        m.name: scheme.structure(scores[m.name], grids[m.name], densities[m.name], options.block_rows)
        for m in matrices
    }
    plan = Plan(options, banks, matrices, structures)
    if not nearest and abs(plan.density - (1 - options.sparsity)) > TOLERANCE:
        tried = [planned(i / TRIED) for i in range(1, TRIED)]
        total = sum(sizes.values())
        raise _inexpressible(graph, plan, [sum(d[n] * sizes[n] for n in d) / total for d in tried])
    return plan


def masks_of(plan: Plan, scores: Mapping[str, Array]) -> dict[str, Mask]:
    """The masks [N, C] (logical order, True stays) of the plan's matrices for scores [N, C] by matrix name.

    Raises:
        UnsupportedError: lists every matrix whose scores are missing, of another shape, or not finite.
    """
    _check_scores(plan.matrices, scores)
    scheme = plan.scheme
    found: dict[str, Mask] = {}
    for matrix in plan.matrices:
        grid = grid_of(matrix, plan.banks)
        found[matrix.name] = scheme.mask(scores[matrix.name], grid, plan.structures[matrix.name])
    return found


def grid_of(matrix: Matrix, banks: int) -> Grid:
    """Where a matrix lies on B banks, as the compiler will place it."""
    return Grid(physical_rows(matrix, banks), physical_columns(matrix, banks), banks)


def scheme_of(options: PruneOptions) -> Scheme:
    """The scheme with its options."""
    if options.scheme == "nm":
        return NM(options.nm_group)
    if options.scheme == "pattern":
        return Pattern(options.patterns)
    return SCHEMES[options.scheme]()


def default_banks(matrices: tuple[Matrix, ...]) -> int:
    """The largest power of two, at most 64, that leaves 8 columns a bank in the narrowest matrix (1 at least)."""
    narrowest = min(matrix.columns for matrix in matrices)
    return min(MOST_BANKS, 1 << max((narrowest // LEAST_DEPTH).bit_length() - 1, 0))


def _overall(structures: Mapping[str, Structure]) -> float:
    return sum(s.kept for s in structures.values()) / sum(s.size for s in structures.values())


def _check_curves(
    graph: Graph,
    matrices: tuple[Matrix, ...],
    options: PruneOptions,
    sensitivity: Mapping[str, Curve] | None,
) -> None:
    if options.allocation != "sensitivity":
        return
    missing = [m.module for m in matrices if not (sensitivity or {}).get(m.name)]
    if missing:
        raise UnsupportedError(
            f"{graph.name}: found no measured sensitivity of {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''}; expected errors at some densities for every matrix; "
            "give data with --data, or choose --allocation uniform"
        )


def _check_scores(matrices: tuple[Matrix, ...], scores: Mapping[str, Array]) -> None:
    faults = []
    for m in matrices:
        found = scores.get(m.name)
        if found is None or np.shape(found) != m.weight.shape:
            shape = "none" if found is None else f"shape {np.shape(found)}"
            faults.append(f"  - {m.module}: found {shape}; expected shape {m.weight.shape}")
        elif not np.isfinite(found).all():
            faults.append(f"  - {m.module}: found values that are not finite")
    if faults:
        raise UnsupportedError(
            f"pruning: found {len(faults)} matrices without usable scores; expected a finite score for every weight; "
            "check the weights and the calibration data\n" + "\n".join(faults)
        )


def _inexpressible(graph: Graph, plan: Plan, reachable: Iterable[float]) -> UnsupportedError:
    """The refusal that offers the nearest overall sparsities on both sides."""
    wanted = plan.options.sparsity
    found = sorted({round(1 - density, 4) for density in reachable} | {round(1 - plan.density, 4)})
    near = [*[s for s in found if s < wanted][-1:], *[s for s in found if s > wanted][:1]]
    return UnsupportedError(
        f"{graph.name}, --sparsity {wanted:g}: found {1 - plan.density:.4f} as the nearest that scheme "
        f"{plan.options.scheme} gives on {plan.banks} banks; expected a sparsity that it can express; choose one "
        f"(expressible: {', '.join(f'{s:.4f}' for s in near)}) or other --banks"
    )


def _one_of(names: Any) -> str:
    return ", ".join(names)


def _is_power(banks: int | None) -> bool:
    return banks is None or (banks >= 1 and not banks & (banks - 1))
