"""Dense int8 matrix to the engine's storage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow.errors import FlowError
from flow.formats.blocking import Occupancy
from flow.formats.detect import Plan, detect
from flow.formats.encoded import ColumnMap, EncodedMatrix, RowGroup
from flow.formats.partition import Ints
from flow.formats.shapes import MAX_DEPTH, GroupShape, covering_codes

Bytes = npt.NDArray[np.int8]
Codes = npt.NDArray[np.uint16]


def encode(
    weights: npt.NDArray[np.integer], *, banks: int, rows_per_group: int, weight_bits: int = 8
) -> EncodedMatrix:
    """Store `weights` [N', C'] (physical order, N' a multiple of P, C' of B) for an engine of B banks and P rows.

    Structure is detected from the zeros, never declared. The cycles are `cycle_bound(weights, banks,
    rows_per_group)`, the fewest that this storage allows; among such encodings one of few bits is found: blocks
    of R = P*2^k or N' rows, disjoint groups (V, K), pattern tables, shared groups, explicit indices. Where kept
    weights are zero themselves, a row group may take the cycles of its neighbours instead, an eighth of those more
    at most, if that saves bits: storage then stays that of the structure.

    Weights are -128..127 (or -8..7 for `weight_bits` = 4). `decode` gives them back exactly.
    Raises `FlowError` for weights out of range or sizes that the format cannot hold (C'/B above 4095).
    """
    matrix = np.asarray(weights)
    _check(matrix, banks, rows_per_group, weight_bits)
    rows, columns = matrix.shape
    depth = columns // banks
    values = np.ascontiguousarray(
        matrix.astype(np.int8, copy=False).reshape(rows, depth, banks).transpose(1, 0, 2)
    )
    occupancy = Occupancy.of((values != 0).view(np.uint8), rows_per_group)
    plan = detect(occupancy, weight_bits)
    grouped = values.reshape(depth, -1, rows_per_group, banks)
    contents = _contents(grouped, plan)
    return EncodedMatrix(
        rows=rows,
        banks=banks,
        depth=depth,
        rows_per_group=rows_per_group,
        weight_bits=weight_bits,
        shapes=plan.shapes,
        row_groups=_row_groups(plan, depth, contents),
    )


def _check(matrix: npt.NDArray[np.integer], banks: int, rows_per_group: int, weight_bits: int) -> None:
    where = f"weight matrix {list(matrix.shape)}"
    if matrix.ndim != 2 or not matrix.size or not np.issubdtype(matrix.dtype, np.integer):
        raise FlowError(
            f"{where}: found {matrix.ndim}-D {matrix.dtype}; expected a 2-D, non-empty integer matrix"
        )
    if weight_bits not in (4, 8):
        raise FlowError(
            f"{where}: found {weight_bits} weight bits; expected 4 or 8; quantize to int8 or int4"
        )
    if banks < 1 or rows_per_group < 1 or matrix.shape[0] % rows_per_group or matrix.shape[1] % banks:
        raise FlowError(
            f"{where}: found {rows_per_group} rows a group and {banks} banks; expected divisors of the rows and "
            "columns; pad the physical matrix with zeros"
        )
    if matrix.shape[1] // banks > MAX_DEPTH:
        raise FlowError(
            f"{where}: found {matrix.shape[1] // banks} columns a bank; expected at most {MAX_DEPTH}; use more banks"
        )
    limit = 1 << (weight_bits - 1)
    if int(matrix.max()) >= limit or int(matrix.min()) < -limit:
        raise FlowError(
            f"{where}: found weights {matrix.min()}..{matrix.max()}; expected {-limit}..{limit - 1} for "
            f"{weight_bits} bits; quantize the weights to this range"
        )


def _row_groups(plan: Plan, depth: int, contents: list[tuple[Codes, Bytes]]) -> tuple[RowGroup, ...]:
    maps: dict[int, ColumnMap] = {}
    current: ColumnMap | None = None
    found = []
    for index, (codes, weights) in enumerate(contents):
        replaced = None
        if len(weights):
            block = index // plan.groups_per_block
            if block not in maps:
                offsets = plan.lists[block, : plan.entries[block]].T.astype(np.uint16)
                maps[block] = ColumnMap(np.ascontiguousarray(offsets), depth)
            if current is None or (maps[block] is not current and maps[block] != current):
                current = replaced = maps[block]
        shape = int(plan.shape_of[index]) if len(weights) else 0
        found.append(RowGroup(int(plan.groups[index]), shape, replaced, codes, weights))
    return tuple(found)


def _contents(values: Bytes, plan: Plan) -> list[tuple[Codes, Bytes]]:
    """Codes [G, P, B] and weights [G*K, P, B] of every row group; `values` [D, N'/P, P, B]."""
    _, count, rows, banks = values.shape
    nothing = np.zeros((0, rows, banks), dtype=np.uint16), np.zeros((0, rows, banks), dtype=np.int8)
    found: list[tuple[Codes, Bytes]] = [nothing] * count
    kinds = plan.shape_of * (MAX_DEPTH + 1) + plan.groups
    for kind in np.unique(kinds[plan.groups > 0]):
        chosen = np.flatnonzero((kinds == kind) & (plan.groups > 0))
        shape, groups = plan.shapes[plan.shape_of[chosen[0]]], int(plan.groups[chosen[0]])
        listed = _listed(values, plan, chosen, groups * shape.width if shape.stride else None)
        codes, weights = _coded(listed, shape, groups)
        codes = np.ascontiguousarray(codes.astype(np.uint16).transpose(1, 0, 2, 3))
        weights = np.ascontiguousarray(weights.transpose(1, 0, 2, 3))
        codes.flags.writeable = weights.flags.writeable = False
        for at, index in enumerate(chosen):
            found[index] = codes[at], weights[at]
    return found


def _listed(values: Bytes, plan: Plan, chosen: Ints, entries: int | None) -> Bytes:
    """The chosen row groups' values in list order, [entries, chosen, P, B], zero at repetitions."""
    blocks = chosen // plan.groups_per_block
    used = int(plan.entries[blocks].max()) if entries is None else entries
    subset = values if len(chosen) == values.shape[1] else values[:, chosen]
    lists = plan.lists[:, :used]
    if used == len(values) and bool((lists[np.unique(blocks)] == np.arange(used)[:, None]).all()):
        return subset
    index = lists[blocks].transpose(1, 0, 2)[:, :, None, :].clip(min=0)
    listed = np.take_along_axis(subset, index, axis=0)
    real = plan.real[blocks, :used].transpose(1, 0, 2)[:, :, None, :]
    return listed if real.all() else listed * real


def _coded(listed: Bytes, shape: GroupShape, groups: int) -> tuple[Ints, Bytes]:
    """Codes [G, …] and weights [G*K, …] of values [entries, …] in list order."""
    rest = listed.shape[1:]
    if shape.is_columns and shape.table is None:
        return np.zeros((groups, *rest), dtype=np.int64), listed
    if shape.stride:
        split = listed.reshape(groups, shape.width, *rest)
        if shape.table is None:
            codes = (split != 0).argmax(axis=1)
            return codes, np.take_along_axis(split, codes[:, None], axis=1)[:, 0]
        masks = np.zeros((groups, *rest), dtype=np.int64)
        for member in range(shape.width):
            masks |= (split[:, member] != 0).astype(np.int64) << member
        codes = covering_codes(shape.width, shape.table)[masks].astype(np.int64)
        entries = shape.members[codes]
        weights = [
            np.take_along_axis(split, entries[:, None, ..., k], axis=1)[:, 0] for k in range(shape.take)
        ]
        return codes, np.stack(weights, axis=1).reshape(-1, *rest)
    return _coded_shared(listed, shape, groups)


def _coded_shared(listed: Bytes, shape: GroupShape, groups: int) -> tuple[Ints, Bytes]:
    """As `_coded` for groups that see the same columns: the non-zeros in order, K to a group."""
    rest = listed.shape[1:]
    nonzero = listed != 0
    rank = np.cumsum(nonzero, axis=0, dtype=np.int64) - 1
    entry, *at = np.nonzero(nonzero)
    order = rank[(entry, *at)]
    if shape.table is None:
        codes, weights = np.zeros((groups, *rest), dtype=np.int64), np.zeros((groups, *rest), dtype=np.int8)
        codes[(order, *at)] = entry
        weights[(order, *at)] = listed[(entry, *at)]
        return codes, weights
    masks = np.zeros((groups, *rest), dtype=np.int64)
    np.add.at(masks, (order // shape.take, *at), 1 << entry)
    codes = covering_codes(shape.width, shape.table)[masks].astype(np.int64)
    entries = shape.members[codes]
    found = []
    for k in range(shape.take):
        member = entries[..., k]
        found.append(np.take_along_axis(listed, member, axis=0) * (masks >> member & 1).astype(np.int8))
    return codes, np.stack(found, axis=1).reshape(-1, *rest)
