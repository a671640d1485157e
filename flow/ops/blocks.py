"""The blocks of the Verilog engine, by the operator that owns them: what `flow.cost` counts and calibrates.

A block is an instance in `templates/rtl/flow_engine.v.j2`. Multipliers follow the widths of its products and memories
the geometry of its RAM modules, exactly; of its logic stand here the few amounts with which it grows. What a unit of
each costs on a family is fitted to Yosys by `tools/bench/resources.py`. The engine in C++ is assumed to be built alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from flow.engine import Engine
from flow.engine.timing import Timing
from flow.ops.hardware import Memory, Multiplier, Resources, Term

RING_LOG2 = 9
"""Words of the row buffer's ring, at least (flow_engine.v.j2)."""
BURST_LOG2, CODE_LOG2, MAP_LOG2, QUEUE_LOG2 = 9, 8, 5, 5
"""Beats that wait in memory_reader, weight_loader (codes, maps) and norm_collect."""
WINDOW = 16
"""Kept columns that one code chooses from: a word of a column list."""


def clog2(count: int) -> int:
    """Verilog's $clog2."""
    return max(0, (count - 1).bit_length())


def bits(count: int) -> int:
    """Bits that address so many places; at least one."""
    return max(1, clog2(count))


def look_ups(engine: Engine) -> int:
    """Rows whose codes weight_loader expands at a time: `max(1, min(P, W/B))`."""
    return max(1, min(engine.rows, engine.beat_bytes // engine.banks))


def has(engine: Engine, *stages: str) -> bool:
    """Whether one of the stages is compiled in."""
    return any(stage in engine.features for stage in stages)


def _block(
    terms: Mapping[str, Mapping[str, int]],
    memories: tuple[Memory, ...] = (),
    dsp: int = 0,
    products: int = 0,
    wide: tuple[Multiplier, ...] = (),
) -> Resources:
    flat = tuple(
        Term(block, name, amount) for block, amounts in terms.items() for name, amount in amounts.items()
    )
    return Resources(products, wide, (), 0, (), 0, memories, dsp, flat)


def control(engine: Engine) -> Resources:
    """Registers, sequencer, memory reader, the store and its ports: what no single operator owns.

    step_checker has five products of 17 bits and more, linear_issue (counted here: every engine has it) six of 16,
    result_writer one.
    """
    T, B, W = engine.tokens, engine.banks, engine.beat_bytes
    logs = bits(engine.steps)
    return _block(
        {
            "registers": {"one": 1},
            "control": {"one": 1},
            "reader": {"one": 1, "beat": W},
            "loader": {"one": 1, "beat": W},
            "program_memory": {},
            "front": {"one": 1, "steps": logs},
            "check": {"one": 1},
            "dispatch": {"one": 1},
            "queue": {"one": 1},
            "store": {"one": 1, "line": T * B},
            "store_readers": {"one": 1},
            "writers": {"one": 1, "line": T * B},
            "top": {"one": 1, "line": T * B, "operands": engine.rows * B},
        },
        (
            Memory("store", engine.store_depth, 8 * T, 1, B, block="store", ultra=True),
            Memory("program", 16 * engine.steps, 64, 1, 1, block="program_memory", ultra=True),
            Memory("bursts", 1 << BURST_LOG2, 8 * W, 1, 1, block="reader"),
        ),
        dsp=5,
    )


def linear(engine: Engine) -> Resources:
    """The array, its operands and weights, and what issues its slots.

    T*B*P products; two halves of B operand banks in P copies each; the ring of decoded row groups; the loader with
    its queues, code tables (two look-ups a block) and column lists.
    """
    T, B, P, W = engine.tokens, engine.banks, engine.rows, engine.beat_bytes
    H = engine.heads
    offset, lanes = bits(engine.depth), look_ups(engine)
    weight_lanes = min(P * B, W)
    ring = 1 << max(bits(engine.row_cycles) + 1, RING_LOG2)
    words = (4 * engine.depth + 31) // WINDOW
    return _block(
        {
            "array": {
                "one": 1,
                "products": T * B * P,
                "addresses": P * B,
                "sums": T * P,
                "heads": T * P * (H - 1),
            },
            "operand0": {"one": 1, "line": T * B * P},
            "operand1": {"one": 1, "line": T * B * P},
            "linear": {"one": 1},
            "rows": {},
            "weights": {"one": 1, "beat": W, "banks": B, "look_ups": lanes * B * offset, "weights": P * B},
            "results": {"one": 1, "line": T * B},
        },
        (
            Memory("operand0", engine.operand_depth, 8 * T, 1, B * P, block="operand0", ultra=True),
            Memory("operand1", engine.operand_depth, 8 * T, 1, B * P, block="operand1", ultra=True),
            Memory("weights", ring, 8 * weight_lanes, 1, P * B // weight_lanes, block="rows"),
            Memory("offsets", ring, B * offset, 1, P, block="rows"),
            Memory("codes", 1 << CODE_LOG2, 8 * W, 1, 1, block="weights"),
            Memory("maps", 1 << MAP_LOG2, 8 * W, 1, 1, block="weights"),
            Memory("code page", 1024, 16, 2, -(-lanes * B // 2), block="weights"),
            Memory("column lists", words, WINDOW * offset, 1, lanes * B, asynchronous=True, block="weights"),
        ),
        dsp=6 + 1 + (B * P if T == 1 else 0),
        # Two tokens share a primitive; a single one has its own.
        products=engine.multipliers if T > 1 else 0,
    )


def requantise(engine: Engine) -> Resources:
    """T*P lanes for each of H heads behind the array: a product of the accumulator and 18 bits takes two primitives;
    the constants of 64 row groups."""
    T, P, H = engine.tokens, engine.rows, engine.heads
    constants = Memory("constants", 64, 54, 1, P, block="constants")
    terms = {"one": 1, "lanes": T * P, "heads": T * P * (H - 1)}
    return _block({"post": terms, "constants": {}}, (constants,), dsp=2 * T * P * H)


def add(engine: Engine) -> Resources:
    """The residual of T*P lanes: a second product, which an engine with attention has, and the choice of their bank
    group."""
    T, B, P = engine.tokens, engine.banks, engine.rows
    products = 0 if has(engine, "attention") else T * P
    return _block({"post": {"second": products, "residual": T * P, "line": T * B}}, dsp=products)


def table(engine: Engine) -> Resources:
    """T*P look-ups a cycle in two banks of 2^table_bits entries, four a word, one copy for each lane."""
    T, P = engine.tokens, engine.rows
    entries = Memory("table", 2 << (engine.table_bits - 2), 64, 1, T * P, block="post")
    return _block({"post": {"table": T * P}}, (entries,))


def attention(engine: Engine) -> Resources:
    """Operands of the array beside the weights, softmax over T*P lanes of each of H heads, and their lanes behind
    the array; every one has a second product."""
    T, B, P, H = engine.tokens, engine.banks, engine.rows, engine.heads
    groups = B // P
    abreast = min(H, groups)
    lines = -(-engine.sequence // (B // abreast))
    tiles = bits(-(-engine.sequence // P))
    memories = (
        Memory("values", engine.values_depth, 8 * P, 1, B, block="values", ultra=True),
        Memory("queries", 2 << bits(engine.depth), 8 * T * B, 1, 1, block="attention"),
        Memory("scores", 4 << tiles, 16 * T * P, 1, abreast, block="attention"),
        Memory("numerators", 2 << bits(lines), 8 * T * P, 1, 2 * groups, block="attention"),
        Memory("exponentials", 256, 16, 2, -(-T * P * abreast // 2), block="attention"),
        Memory(
            "exp beats",
            512 // engine.beat_bytes,
            8 * engine.beat_bytes,
            1,
            1,
            block="attention",
        ),
    )
    return _block(
        {
            "attention": {
                "one": 1,
                "lanes": T * P * abreast,
                "line": T * B,
                "tokens": T * abreast,
                "weights": P * B,
            },
            "values": {"one": 1, "line": P * B},
            "array": {"attention": T * B * P},
            "post": {"second": T * P * H},
        },
        memories,
        dsp=T * P * H,
    )


def norm(engine: Engine) -> Resources:
    """Statistics of T tokens, one root and reciprocal, T*L lanes with two results each.

    Products: six in norm_deviation (one of them too narrow for a primitive up to 64 channels), three in norm_unit, a
    square a lane in norm_moments, two a lane in norm_lane and one in each of its two norm_gain.
    """
    T, B, W = engine.tokens, engine.banks, engine.beat_bytes
    L = min(engine.norm_lanes, B)
    count = clog2(engine.depth * B + 1) if engine.depth * B > 1 else 2
    row, group = max(W // 8, L), min(W // 8, L)
    rows = -(-engine.depth * B // row)
    # Stages of the root and of the division; a token that stays in one for some cycles needs choices there.
    fold = Timing(engine).norm_fold
    digits = -(-32 // fold) + -(-17 // fold)
    roots = {"digits": digits if fold == 1 else 0, "folded": digits if fold > 1 else 0}
    ahead = 1 << max(clog2(T) + 2, 7)
    memories = (
        Memory("norm constants", rows, 64 * group, 1, 2 * (row // group), block="norm", ultra=True),
        Memory("norm results", 1 << QUEUE_LOG2, 32 * T * L, 1, 1, block="norm"),
        Memory("norm centres", ahead, count + 16, 1, 1, block="norm"),
        Memory("norm factors", ahead, 2 * count + 55, 1, 1, block="norm"),
    )
    return _block(
        {"norm": {"one": 1, **roots, "lanes": T * L, "tokens": T, "line": T * B, "constants": L}},
        memories,
        dsp=5 + 3 + T * L + 2 * T * L,
        wide=(Multiplier(1, count, count - 4), Multiplier(2 * T * L, 15 + (count + 1) // 2, 16)),
    )


def pool(engine: Engine) -> Resources:
    """Sums over tokens of L channels, a mean and a requantiser with two products each."""
    lanes = min(engine.norm_lanes, engine.banks)
    terms = {"one": 1, "lanes": lanes * engine.tokens, "line": engine.tokens * engine.banks}
    return _block({"pool": terms}, dsp=4)


def reader(engine: Engine) -> Resources:
    """Beats to words of the token memories, from the stream or from memory."""
    beat, line = max(engine.stream_bytes, engine.beat_bytes), engine.tokens * engine.banks
    return _block({"tensor_in": {"one": 1, "beat": beat, "line": line}})


def writer(engine: Engine) -> Resources:
    """Words of the token memories to beats of the stream."""
    line = engine.tokens * engine.banks
    return _block({"tensor_out": {"one": 1, "beat": engine.stream_bytes, "line": line}})
