"""Every scheme keeps what its structure promises, on every grid, and the storage finds it again."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flow.compress.schemes import SCHEMES, Block, Grid, Hp, Mask, Pattern, Scheme, Structure, kept_energy
from flow.compress.schemes.hp import HpPattern, candidates, expected_energy, index_overhead, useful_steps
from flow.compress.schemes.nm import NM
from flow.compress.schemes.pattern import learn
from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.formats import describe, encode, sizes
from flow.passes.order_channels import by_head

Real = npt.NDArray[np.float64]
STRUCTURED = [name for name in SCHEMES if name != "unstructured"]


class Case(NamedTuple):
    """A grid with scores on it, and what is asked of a scheme."""

    scores: Real
    grid: Grid
    density: float
    block_rows: int


def by_heads(rows: int, heads: int, width: int, banks: int) -> Grid:
    """Columns of an attention's context."""
    return Grid(
        np.arange(rows),
        by_head(Engine(1, banks, 1, 1, 1), heads * width, heads).physical.astype(np.int64),
        banks,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Odd sizes, heads with padding between them, ties, zero rows and zero columns."""
    rows, banks = draw(st.integers(1, 40)), 1 << draw(st.integers(0, 4))
    if draw(st.booleans()):
        grid = by_heads(rows, draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([5, 8, 12])), banks)
    else:
        grid = Grid.natural(rows, draw(st.integers(banks, 130)), banks)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.normal(size=grid.shape)
    kind = draw(st.sampled_from(["normal", "ties", "zero rows", "zero columns", "zero"]))
    event(kind)
    if kind == "ties":
        scores = np.round(scores)
    elif kind == "zero rows":
        scores[:: draw(st.integers(1, 3))] = 0.0
    elif kind == "zero columns":
        scores[:, draw(st.integers(0, 3)) :: 2] = 0.0
    elif kind == "zero":
        scores[:] = 0.0
    return Case(scores, grid, draw(st.floats(0.02, 1.0)), draw(st.sampled_from([1, 3, 4, 16])))


def counts(mask: Mask, grid: Grid) -> npt.NDArray[np.int64]:
    """[N, B] kept weights."""
    found = np.zeros((len(grid.rows), grid.banks), np.int64)
    np.add.at(found.T, grid.columns % grid.banks, mask.T)
    return found


def chosen(scheme: Scheme, case: Case) -> tuple[Structure, Mask]:
    structure = scheme.structure(case.scores, case.grid, case.density, case.block_rows)
    return structure, scheme.mask(case.scores, case.grid, structure)


def stored(case: Case, mask: Mask, rows_per_group: int) -> npt.NDArray[np.int8]:
    """The physical int8 matrix with weight 1 where the mask is set, rows padded to whole groups."""
    grid = case.grid
    height = -(-grid.height // rows_per_group) * rows_per_group
    physical = np.zeros((height, grid.depth * grid.banks), np.int8)
    physical[np.ix_(grid.rows, grid.columns)] = mask
    return physical


@pytest.mark.parametrize("name", STRUCTURED)
@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_every_row_and_bank_holds_what_was_promised(name: str, case: Case) -> None:
    scheme, grid = SCHEMES[name](), case.grid
    structure, mask = chosen(scheme, case)
    assert mask.shape == grid.shape
    assert structure.size == mask.size
    assert int(mask.sum()) == structure.kept
    found = counts(mask, grid)
    assert (found == found[0]).all()
    assert int(found.max()) == structure.cycles
    assert (found[0] >= np.minimum(grid.real, 1)).all()  # no row and bank is pruned to nothing
    if grid.real.min() == grid.real.max():
        nearest = min(abs(d - case.density) for d in scheme.densities(grid, case.block_rows))
        assert abs(structure.density - case.density) == pytest.approx(nearest)
    again, same = chosen(scheme, case)
    assert again == structure
    assert np.array_equal(same, mask)
    assert Structure.from_json(structure.to_json()) == structure
    energies = grid.energies(case.scores)
    kept = float(np.square(case.scores)[mask].sum())
    by_bank = float(scheme.kept_by_bank(energies, structure).sum())
    if name == "pattern":  # a few rows give way, so that every kept column is used
        assert kept <= by_bank * (1 + 1e-9) + 1e-12
    else:
        assert kept == pytest.approx(by_bank)


@given(case=cases(), name=st.sampled_from(STRUCTURED))
@settings(max_examples=50, deadline=None)
def test_the_engine_takes_the_promised_cycles(case: Case, name: str) -> None:
    structure, mask = chosen(SCHEMES[name](), case)
    encoded = encode(stored(case, mask, 2), banks=case.grid.banks, rows_per_group=2)
    assert structure.cycles is not None
    assert encoded.cycles == structure.cycles * -(-case.grid.height // 2)


@given(case=cases())
@settings(max_examples=80, deadline=None)
def test_hp_keeps_no_less_than_block_pruning(case: Case) -> None:
    structure, mask = chosen(Hp(), case)
    blocked = Block().structure(case.scores, case.grid, structure.weights / case.grid.most, case.block_rows)
    if blocked.kept == structure.kept:
        event("equal density")
        other = Block().mask(case.scores, case.grid, blocked)
        assert kept_energy(case.scores, mask) >= kept_energy(case.scores, other) - 1e-12


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_unstructured_keeps_the_largest(case: Case) -> None:
    structure, mask = chosen(SCHEMES["unstructured"](), case)
    assert int(mask.sum()) == structure.kept == max(round(case.density * mask.size), 1)
    energy = np.square(case.scores)
    if structure.kept < mask.size:
        assert energy[mask].min() >= energy[~mask].max()


@pytest.mark.parametrize("name", list(SCHEMES))
def test_ties_go_to_the_lower_column_and_row(name: str) -> None:
    scheme, grid = SCHEMES[name](), Grid.natural(4, 32, 4)
    structure = scheme.structure(np.ones(grid.shape), grid, 0.25, 4)
    mask = scheme.mask(np.ones(grid.shape), grid, structure)
    if name == "unstructured":
        assert mask[0].all()
        assert not mask[1:].any()
    else:
        assert structure.cycles == 2
        if name != "pattern":  # where each kept column is taken by some row
            assert mask[0].nonzero()[0][0] < 4
            assert (mask == mask[0]).all()
        if name == "block":
            assert mask[0].nonzero()[0].tolist() == list(range(8))


@pytest.mark.parametrize("name", list(SCHEMES))
def test_density_one_keeps_everything(name: str) -> None:
    for grid in (Grid.natural(17, 60, 8), by_heads(17, 5, 12, 8)):
        scheme, scores = SCHEMES[name](), np.random.default_rng(0).normal(size=grid.shape)
        assert scheme.densities(grid, 16)[-1] == 1.0
        structure = scheme.structure(scores, grid, 1.0, 16)
        assert scheme.mask(scores, grid, structure).all()
        assert structure.density == 1.0


@pytest.mark.parametrize("sparsity", [0.75, 0.83, 0.9])
def test_index_bits_stay_near_the_information_limit(sparsity: float) -> None:
    rng = np.random.default_rng(5)
    scores, grid, block_rows = rng.normal(size=(768, 3072)), Grid.natural(768, 3072, 64), 16
    structure = Hp().structure(scores, grid, 1 - sparsity, block_rows)
    mask = Hp().mask(scores, grid, structure)
    assert abs(structure.density - (1 - sparsity)) <= 0.02
    found = sizes(encode(mask.astype(np.int8), banks=64, rows_per_group=8), 64)
    groups, blocks = 768 * 64 * structure.groups, 768 // block_rows * 64
    limit = groups * math.log2(math.comb(structure.vector, structure.keep))
    limit += blocks * math.log2(math.comb(grid.depth, structure.columns))
    assert found.nonzeros == structure.kept
    assert limit <= found.codes + found.maps <= 1.2 * limit


def test_expected_energy_is_that_of_normal_weights() -> None:
    squares = np.sort(np.random.default_rng(0).normal(size=(200_000, 12)) ** 2, axis=1)
    for keep in (1, 3, 6, 12):
        assert expected_energy(12, keep) == pytest.approx(
            float(squares[:, 12 - keep :].sum(axis=1).mean()), rel=0.005
        )
    assert expected_energy(2, 1) == pytest.approx(1 + 2 / math.pi, rel=1e-3)


def test_candidates_are_within_the_limit_and_fit_the_table() -> None:
    for depth in (8, 12, 24, 48, 96):
        for weights in useful_steps(depth, 16):
            first, *others = candidates(weights, depth, 16)
            assert first == HpPattern(weights, 1, 1)
            for pattern in others:
                assert pattern.weights == weights
                assert pattern.columns <= depth
                assert pattern.vector <= 16
                assert math.comb(pattern.vector, pattern.keep) <= 256
            assert all(index_overhead(p, depth, 16) <= 1.2 for p in others) or len(others) == 1


def test_a_step_that_a_lower_one_beats_is_not_offered() -> None:
    assert useful_steps(8, 16) == tuple(range(1, 9))
    assert 13 not in useful_steps(48, 16)  # prime, and 13 of 16 has too many subsets: only 13 groups of 1
    assert {12, 48} <= set(useful_steps(48, 16))
    assert useful_steps(1, 16) == (1,)


@pytest.mark.parametrize("count", [4, 8, 16])
def test_a_pattern_matrix_is_stored_with_its_patterns(count: int) -> None:
    scores = np.random.default_rng(count).normal(size=(64, 384))
    grid = Grid.natural(64, 384, 16)
    structure = Pattern(count).structure(scores, grid, 0.25, 16)
    assert len(structure.patterns) <= count
    assert {i for pattern in structure.patterns for i in pattern} == set(range(structure.vector))
    mask = Pattern(count).mask(scores, grid, structure)
    encoded = encode(mask.astype(np.int8), banks=16, rows_per_group=4)
    assert describe(encoded).scheme == "pattern"
    assert max(shape.entries for shape in encoded.shapes) <= count
    assert str(structure).endswith(f"in {len(structure.patterns)} patterns")


def test_one_weight_to_a_bank_takes_single_columns_for_patterns() -> None:
    scores, grid = np.random.default_rng(0).normal(size=(32, 96)), Grid.natural(32, 96, 8)
    structure = Pattern().structure(scores, grid, 1 / 12, 16)
    assert structure.keep == structure.groups == 1
    assert structure.patterns == tuple((i,) for i in range(structure.vector))
    whole = Block().mask(scores, grid, Block().structure(scores, grid, 1 / 12, 16))
    kept = kept_energy(scores, Pattern().mask(scores, grid, structure))
    assert kept > 1.2 * kept_energy(scores, whole)


def test_patterns_are_learned_by_energy_whatever_the_signs() -> None:
    rng = np.random.default_rng(0)
    planted = [(0, 1, 2), (3, 4, 5), (0, 3, 5)]
    vectors = 0.01 * rng.normal(size=(300, 6)) ** 2
    for row, vector in enumerate(vectors):
        vector[list(planted[row % 3])] += 1.0 + rng.random(3)
    assert set(learn(vectors, 3, 3)) == set(planted)
    assert learn(vectors[:, :5], 1, 2) == ()  # two patterns of one cannot cover five columns


@pytest.mark.parametrize(("name", "found"), [("block", "block-column"), ("nm", "n:m"), ("hp", "hp")])
def test_the_storage_names_the_scheme(name: str, found: str) -> None:
    scores = np.random.default_rng(0).normal(size=(64, 384))
    if name != "nm":
        scores[:, ::3] *= 0.05  # columns worth dropping
    scheme, grid = SCHEMES[name](), Grid.natural(64, 384, 16)
    mask = scheme.mask(scores, grid, scheme.structure(scores, grid, 0.25, 16))
    assert describe(encode(mask.astype(np.int8), banks=16, rows_per_group=4)).scheme == found


def test_n_m_with_a_given_group() -> None:
    scores, grid = np.random.default_rng(0).normal(size=(16, 64)), Grid.natural(16, 64, 4)
    structure = NM(4).structure(scores, grid, 0.5, 16)
    assert str(structure) == "4 x 2 of 4"
    mask = NM(4).mask(scores, grid, structure)
    assert (mask.reshape(16, 4, 4, 4).sum(axis=2) == 2).all()


def test_scores_that_do_not_belong_are_refused() -> None:
    grid = Grid.natural(4, 8, 2)
    for scores, found in (
        (np.ones((4, 9)), "shape (4, 9)"),
        (np.full((4, 8), np.nan), "values that are not finite"),
    ):
        message = (
            f"pruning: found scores of {found}; expected finite scores of shape (4, 8); check the weights and the "
            "calibration data"
        )
        with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
            Hp().mask(scores, grid, Hp().structure(np.ones((4, 8)), grid, 0.5, 4))
