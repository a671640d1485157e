"""Properties that hold for every matrix: exact round trips, the cycle bound, agreement of the size figures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flow.formats import (
    constants,
    cycle_bound,
    decode,
    describe,
    encode,
    pack,
    record_beats,
    sizes,
    stream_beats,
    unpack,
)
from flow.formats.blocking import SLACK
from flow.formats.encoded import EncodedMatrix
from flow.formats.synthetic import Hierarchy, random_hp, random_patterns, random_unstructured, random_weights

Bytes = npt.NDArray[np.int8]
Case = tuple[Bytes, int, int, int]

seeds = st.integers(0, 2**32 - 1)


@st.composite
def engines(draw: st.DrawFn) -> tuple[int, int, int]:
    """Banks, rows of a group, weight bits."""
    return (
        draw(st.sampled_from([1, 2, 3, 8])),
        draw(st.sampled_from([1, 2, 4])),
        draw(st.sampled_from([4, 8])),
    )


@st.composite
def hierarchies(draw: st.DrawFn) -> Case:
    """Hierarchically pruned blocks of different R, N:M and block-column among them, with weights lost to zero."""
    banks, height, bits = draw(engines())
    rng = np.random.default_rng(draw(seeds))
    width = draw(st.integers(1, 9))
    take = draw(st.integers(1, width))
    groups = draw(st.integers(1, 4))
    spare = draw(st.integers(0, 5))
    size = height * draw(st.sampled_from([1, 2, 3, 4, 8]))
    rows = size * draw(st.integers(1, 4))
    matrix = random_hp(
        rng,
        rows,
        (width * groups + spare) * banks,
        banks=banks,
        block_rows=size,
        hierarchy=Hierarchy(width * groups, width, take),
        weight_bits=bits,
    )
    matrix *= rng.random(matrix.shape) >= draw(st.sampled_from([0.0, 0.0, 0.02, 0.2, 0.6]))
    if draw(st.booleans()):
        matrix[:, rng.random(matrix.shape[1]) < 0.2] = 0
    if draw(st.booleans()):
        matrix[rng.random(rows) < 0.3] = 0
    return matrix, banks, height, bits


@st.composite
def unstructured(draw: st.DrawFn) -> Case:
    banks, height, bits = draw(engines())
    rng = np.random.default_rng(draw(seeds))
    rows = height * draw(st.integers(1, 12))
    columns = banks * draw(st.integers(1, 20))
    density = draw(st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.8, 0.97, 1.0]))
    return random_unstructured(rng, rows, columns, density, bits), banks, height, bits


@st.composite
def patterned(draw: st.DrawFn) -> Case:
    banks, height, _ = draw(engines())
    rng = np.random.default_rng(draw(seeds))
    width = draw(st.integers(2, 16))
    take = draw(st.integers(1, width - 1))
    rows = height * draw(st.integers(1, 8))
    columns = banks * width * draw(st.integers(1, 3))
    patterns = draw(st.integers(1, 12))
    matrix = random_patterns(rng, rows, columns, banks=banks, width=width, take=take, patterns=patterns)
    matrix *= rng.random(matrix.shape) >= draw(st.sampled_from([0.0, 0.1]))
    return matrix, banks, height, 8


@st.composite
def permuted_n_m(draw: st.DrawFn) -> Case:
    """2:4 in logical order, moved to the physical order in which the bank of column c is (c div 4) mod B."""
    banks, height, bits = draw(engines())
    rng = np.random.default_rng(draw(seeds))
    rows, vectors = height * draw(st.integers(1, 8)), draw(st.integers(1, 4))
    columns = 4 * banks * vectors
    picked = rng.random((rows, columns // 4, 4)).argsort(axis=2) < 2
    logical = random_weights(rng, (rows, columns), bits) * picked.reshape(rows, columns)
    column = np.arange(columns)
    vector, member = column // 4, column % 4
    physical = (vector // banks * 4 + member) * banks + vector % banks
    matrix = np.zeros_like(logical)
    matrix[:, physical] = logical
    return matrix, banks, height, bits


cases = st.one_of(hierarchies(), unstructured(), patterned(), permuted_n_m())


def check(case: Case, beat_bytes: int) -> EncodedMatrix:
    matrix, banks, height, bits = case
    encoded = encode(matrix, banks=banks, rows_per_group=height, weight_bits=bits)
    bound = cycle_bound(matrix, banks, height)
    assert bound <= encoded.cycles <= bound / SLACK
    if encoded.cycles > bound:
        assert all(encoded.shapes[group.shape].stride for group in encoded.row_groups if group.groups)
    assert np.array_equal(decode(encoded), matrix)

    rng = np.random.default_rng(matrix.size)
    rows = len(matrix)
    given_constants = constants(
        rng.integers(-(2**31), 2**31, rows), rng.integers(-(2**15), 2**15, rows), rng.integers(0, 256, rows)
    )
    stream = pack(encoded, given_constants, beat_bytes)
    assert len(stream) == stream_beats(encoded, beat_bytes) * beat_bytes
    assert len(record_beats(encoded, beat_bytes)) == rows // height
    back, back_constants = unpack(
        stream,
        encoded.page.pack(beat_bytes),
        rows=rows,
        banks=banks,
        depth=matrix.shape[1] // banks,
        rows_per_group=height,
        weight_bits=bits,
        beat_bytes=beat_bytes,
    )
    assert back == encoded
    assert np.array_equal(back_constants, given_constants)
    assert pack(back, back_constants.tobytes(), beat_bytes) == stream

    found = sizes(encoded, beat_bytes)
    page_bytes = len(encoded.page.pack(beat_bytes))
    assert found.total + found.constants == 8 * (len(stream) + page_bytes)
    assert found.padding >= 0
    assert found.nonzeros == np.count_nonzero(matrix)
    return encoded


@settings(max_examples=150, deadline=None)
@given(cases, st.sampled_from([1, 8, 64]))
def test_any_matrix_is_stored_exactly_at_the_bound(case: Case, beat_bytes: int) -> None:
    encoded = check(case, beat_bytes)
    event(describe(encoded).scheme)


@settings(max_examples=100, deadline=None)
@given(hierarchies())
def test_hierarchies_keep_their_structure(case: Case) -> None:
    event(describe(check(case, 16)).scheme)


def test_round_trips_reach_every_scheme_and_map() -> None:
    """The strategies above are only worth something if they reach each path."""
    rng = np.random.default_rng(0)
    lost = random_hp(rng, 32, 96, banks=8, block_rows=16, hierarchy=Hierarchy(6, 3, 2))
    lost[:, 3::16] = 0
    sparse = random_hp(rng, 512, 512, banks=8, block_rows=256, hierarchy=Hierarchy(4, 4, 1))
    mixed = np.concatenate([random_weights(rng, (8, 96), 8), random_unstructured(rng, 40, 96, 0.3)])
    matrices = [
        lost,
        sparse,
        mixed,
        random_unstructured(rng, 32, 256, 0.2),
        random_weights(rng, (16, 16), 8),
        random_hp(rng, 64, 96, banks=8, block_rows=16, hierarchy=Hierarchy(6, 6, 6)),
        random_hp(rng, 64, 128, banks=8, block_rows=64, hierarchy=Hierarchy(16, 4, 2)),
        random_patterns(rng, 64, 256, banks=8, width=16, take=4, patterns=8),
        np.zeros((8, 16), dtype=np.int8),
    ]
    schemes, kinds = set(), set()
    for matrix in matrices:
        encoded = check((matrix, 8, 4, 8), 16)
        schemes.add(describe(encoded).scheme)
        kinds |= {group.map.kind.name if group.map else "KEEP" for group in encoded.row_groups}
    assert schemes == {"empty", "dense", "block-column", "hp", "n:m", "pattern", "unstructured"}
    assert kinds == {"KEEP", "IDENTITY", "LIST", "BITMAP"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (4095, 1), (2, 4095)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    for density in (0.0, 0.3, 1.0):
        check((random_unstructured(rng, *shape, density), 1, 1, 8), 8)


def test_full_int8_and_int4_ranges_survive() -> None:
    check((np.arange(-128, 128, dtype=np.int8).reshape(16, 16), 4, 4, 8), 8)
    check((np.tile(np.arange(-8, 8, dtype=np.int8), (4, 2)), 4, 4, 4), 8)


def test_encoding_is_deterministic_and_indifferent_to_the_memory_layout() -> None:
    rng = np.random.default_rng(5)
    matrix = random_hp(rng, 64, 96, banks=8, block_rows=16, hierarchy=Hierarchy(6, 6, 3))
    first = encode(matrix, banks=8, rows_per_group=4)
    assert encode(np.asfortranarray(matrix), banks=8, rows_per_group=4) == first
    assert encode(matrix.astype(np.int64), banks=8, rows_per_group=4) == first
