"""Tensors in and out, constants, several frames, and what the kernel refuses."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from flow.engine import STAGES, Engine, Opcode, Space, Status
from flow.formats import constants, encode, pack
from flow.ir import Array
from flow.sim.kernel import Kernel

if TYPE_CHECKING:
    from tests.hls.conftest import Bench

    NewBench = Callable[[Engine, int], Bench]

TOKEN_SPACES = (Space.OPERAND0, Space.OPERAND1, Space.STORE)


def test_tensors_pass_through_every_memory(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32)
    for length in (1, engine.sequence, max(1, engine.sequence - engine.tokens - 1)):
        program = bench(engine, length)
        tensors, base = [], 0
        for trial in range(6):
            planes, depth, space = (
                1 + trial % 2,
                int(rng.integers(1, engine.depth + 1)),
                TOKEN_SPACES[trial % 3],
            )
            single = trial > 3
            tensor = rng.integers(
                -(1 << (8 * planes - 1)), 1 << (8 * planes - 1), (length, depth * engine.banks)
            )
            program.input(tensor, space, base, planes=planes, single=single)
            tensors.append((tensor[:1] if single else tensor, space, base, planes, depth, single))
            base += engine.tiles(length) * planes * depth
        for _, space, base, planes, depth, single in reversed(tensors):
            program.output(space, base, depth, planes=planes, single=single)
        found = program.check()
        for (tensor, *_), result in zip(reversed(tensors), found, strict=True):
            np.testing.assert_array_equal(result, tensor)


def test_constants_come_from_the_image(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32 + 1)
    for planes, space in ((1, Space.OPERAND0), (2, Space.STORE)):
        depth, length = int(rng.integers(1, engine.depth + 1)), engine.sequence
        program = bench(engine, length)
        tensor = rng.integers(-100, 100, (length, depth * engine.banks))
        data = program.port(depth, planes, True).pack(engine, tensor, length)
        program.step(
            Opcode.CONSTANT,
            planes=planes,
            depth=depth,
            space=space,
            base=2,
            data=data,
            tiles=engine.tiles(length),
        )
        program.output(space, 2, depth, planes=planes)
        (found,) = program.check()
        np.testing.assert_array_equal(found, tensor)


def test_frames_follow_each_other(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32 + 2)
    program = bench(engine, 3)
    tensor = rng.integers(-128, 128, (3, engine.banks))
    program.input(tensor, Space.STORE, 0)
    program.output(Space.STORE, 0, 1)
    result = program.run(frames=5)  # compares every frame with the first
    assert result.outcome.status is Status.OK
    np.testing.assert_array_equal(result.outputs[0], tensor)


def identity_words(engine: Engine) -> dict[str, int | bytes]:
    size = engine.banks
    encoded = encode(np.eye(size, dtype=np.int64), banks=size, rows_per_group=engine.rows)
    stream = pack(
        encoded, constants(np.zeros(size, int), np.full(size, 2**14), np.full(size, 14)), engine.beat_bytes
    )
    return {
        "source_space": Space.OPERAND0, "source_base": 0, "source_planes": 1, "source_signed": 1, "depth": 1,
        "row_groups": len(encoded.row_groups), "weight_bits": 8, "page": encoded.page.pack(engine.beat_bytes),
        "weights": stream, "weight_beats": len(stream) // engine.beat_bytes, "out_bits": 8, "out_signed": 1,
        "space": Space.OPERAND1, "base": 0, "out_depth": 1,
    }  # fmt: skip


GOOD: Mapping[Opcode, Mapping[str, int | bytes]] = {
    Opcode.INPUT: {"planes": 1, "depth": 1, "space": 0, "base": 0},
    Opcode.CONSTANT: {"planes": 1, "depth": 1, "space": 0, "base": 0, "data": 1, "tiles": 1},
    Opcode.NORM: {
        "source_base": 0, "depth": 1, "channels": 1, "centred": 1, "outputs": 1, "shift0": 8, "bits0": 8,
        "space0": 0, "base0": 0, "constants0": bytes(64),
    },
    Opcode.ATTENTION: {
        "query_base": 0, "key_base": 0, "value_base": 0, "depth": 1, "heads": 1, "pitch": 8, "score_multiplier": 1,
        "score_shift": 1, "exp": bytes(512), "exp_bits": 8, "multiplier": 1, "shift": 1, "space": 0, "base": 0,
    },
    Opcode.POOL: {"source_base": 0, "depth": 1, "mean": 1, "multiplier": 1, "shift": 1, "bits": 8, "base": 0},
    Opcode.OUTPUT: {"source_space": 0, "source_base": 0, "planes": 1, "depth": 1},
}  # fmt: skip
HUGE = 2**32 - 1
# Words out of range: cases by `|`.
HOSTILE = {
    Opcode.INPUT: "planes=0 | planes=3 | depth=0 | depth=HUGE | space=3 | space=9 | base=HUGE | base=1024",
    Opcode.CONSTANT: "tiles=HUGE | data=HUGE | data=100000 | depth=0 | space=3 | base=1024",
    Opcode.LINEAR: """
        source_space=2 | source_space=7 | source_planes=0 | source_planes=3 | source_base=1024 | depth=0 | depth=HUGE
        | row_groups=0 | row_groups=2 | row_groups=HUGE | weight_bits=5 | page=HUGE | weights=HUGE | weight_beats=HUGE
        | weight_beats=1 | out_bits=0 | out_bits=17 | out_depth=0 | out_depth=HUGE | table_bits=9 table=0
        | has_residual=1 | has_residual=1 out_bits=16 residual_base=HUGE | space=5 | base=1024
        | space=3 heads=1 pitch=0 | space=3 heads=0 pitch=8 | space=3 heads=1 pitch=12 | space=3 heads=HUGE pitch=8
        | space=3 heads=1 pitch=8 base=1024
    """,
    Opcode.NORM: """
        depth=0 | depth=HUGE | channels=0 | channels=9 | outputs=0 | outputs=2 | outputs=3 | constants0=HUGE | bits0=0
        | bits0=17 | space0=3 | base0=1024 | source_base=1023
    """,
    Opcode.ATTENTION: """
        depth=0 | pitch=0 | pitch=3 | pitch=16 | heads=0 | heads=2 | heads=HUGE | exp=HUGE | exp_bits=9
        | query_base=1024 | key_base=HUGE | value_base=1024 | space=3 | base=1024
    """,
    Opcode.POOL: "depth=0 | bits=1 | bits=32 | source_base=1023 | space=3 | base=1024",
    Opcode.OUTPUT: "source_space=3 | source_base=1024 | planes=0 | depth=HUGE",
}
CASES = [(opcode, " ".join(case.split())) for opcode, cases in HOSTILE.items() for case in cases.split("|")]


@pytest.mark.parametrize(("opcode", "case"), CASES, ids=lambda value: getattr(value, "name", value))
def test_records_out_of_range_are_refused(
    engines: Mapping[str, Engine], bench: NewBench, opcode: Opcode, case: str
) -> None:
    pairs = (pair.split("=") for pair in case.split())
    words = {name: HUGE if value == "HUGE" else int(value) for name, value in pairs}
    engine = engines["square"]

    def program(changes: Mapping[str, int]) -> Bench:
        made = bench(engine, 5)
        made.input(np.zeros((5, engine.banks), np.int64), Space.OPERAND0, 0)
        good = identity_words(engine) if opcode is Opcode.LINEAR else GOOD[opcode]
        made.step(opcode, **{**good, **changes})
        if opcode is Opcode.INPUT:
            made.frame += bytes(64)
        if opcode is Opcode.OUTPUT:
            made.ports.append(made.port(1, 1, signed=True))
        else:
            made.output(Space.OPERAND0, 0, 1)
        return made

    good = program({}).run().outcome
    assert good.status is Status.OK
    assert good.info["failed_step"] == HUGE
    result = program(words).run().outcome
    assert result.status is Status.BAD_STEP
    assert (result.info["failed_step"], result.info["frames_done"]) == (1, 0)
    assert result.output == b""


def damaged_streams(engine: Engine) -> dict[str, dict[str, int | bytes]]:
    """Weight data that a record names but no encoder writes."""
    good = identity_words(engine)
    stream, page = good["weights"], good["page"]
    assert isinstance(stream, bytes)
    assert isinstance(page, bytes)

    def header(**fields: int) -> bytes:
        word = int.from_bytes(stream[:8], "little")
        places = {"groups": (0, 12), "shape": (12, 4), "map": (16, 2), "columns": (18, 12), "beats": (32, 32)}
        for name, value in fields.items():
            at, width = places[name]
            word = word & ~(((1 << width) - 1) << at) | value << at
        return word.to_bytes(8, "little") + stream[8:]

    def shape(**fields: int) -> bytes:
        values = {"take": 1, "code_bits": 0, "stride": 1, "first": 0xFFFF, "entries": 0} | fields
        return (struct.pack("<HHI", 1, 0, 0) + struct.pack("<BBHHH", *values.values())).ljust(
            len(page), b"\0"
        )

    streams = {
        "groups beyond the buffers": header(groups=4095), "unknown shape": header(shape=3), "no map": header(map=0),
        "columns beyond the buffers": header(map=2, columns=4095), "record too short": header(beats=1),
        "bitmap of more columns than it says": header(map=3, columns=0), "record of no beats": header(beats=0),
        "groups beyond the columns": header(groups=3),
        "noise": bytes(np.random.default_rng(3).integers(0, 256, len(stream), np.uint8)),
        "empty": b"",
    }  # fmt: skip
    pages = {
        "too many shapes": struct.pack("<HHI", 5, 0, 0).ljust(len(page), b"\0"),
        "too many entries": struct.pack("<HHI", 1, 257, 0).ljust(len(page), b"\0"),
        "no shapes": bytes(len(page)), "nothing taken": shape(take=0), "too much taken": shape(take=17),
        "long codes": shape(code_bits=13), "two columns without a table": shape(take=2),
        "a table beyond the page": shape(first=0, entries=2), "an empty table": shape(first=0),
    }  # fmt: skip
    return {
        **{
            name: {"weights": data, "weight_beats": len(data) // engine.beat_bytes}
            for name, data in streams.items()
        },
        **{name: {"page": data} for name, data in pages.items()},
    }


def test_damaged_weights_are_refused(engine: Engine, bench: NewBench) -> None:
    damaged = damaged_streams(engine)
    assert len(damaged) == 19
    for name, words in damaged.items():
        program = bench(engine, 5)
        program.input(np.zeros((5, engine.banks), np.int64), Space.OPERAND0, 0)
        program.step(Opcode.LINEAR, **{**identity_words(engine), **words})
        program.output(Space.OPERAND1, 0, 1)
        result = program.run().outcome
        assert (result.status, result.info["failed_step"]) == (Status.BAD_STEP, 1), name


def run_image(
    bench: NewBench, engine: Engine, change: Callable[[bytearray], None], length: int = 2
) -> Status:
    program = bench(engine, length)
    tensor: Array = np.zeros((length, engine.banks), np.int64)
    program.input(tensor, Space.STORE, 0)
    program.output(Space.STORE, 0, 1)
    image = bytearray(program.image())
    change(image)
    return Kernel.of(engine).run(bytes(image), program.stream()).status


def poke(at: int, value: int, size: int = 4) -> Callable[[bytearray], None]:
    def change(image: bytearray) -> None:
        image[at : at + size] = value.to_bytes(size, "little")

    return change


def test_images_are_checked_before_they_are_loaded(engine: Engine, bench: NewBench) -> None:
    assert run_image(bench, engine, poke(0, 0, 0)) is Status.OK
    assert run_image(bench, engine, poke(0, 0)) is Status.BAD_MAGIC
    assert run_image(bench, engine, poke(4, 2)) is Status.BAD_VERSION
    assert run_image(bench, engine, poke(8, engine.hash ^ 1, 8)) is Status.WRONG_ENGINE
    assert run_image(bench, engine, poke(16, engine.steps + 1)) is Status.TOO_MANY_STEPS
    assert run_image(bench, engine, poke(20, 68)) is Status.BAD_STEP  # records off their words
    assert run_image(bench, engine, poke(20, 2**31)) is Status.BAD_STEP  # records outside the image
    assert run_image(bench, engine, poke(24, 1)) is Status.BAD_STEP  # an image without room for its records
    assert run_image(bench, engine, poke(64, 99)) is Status.BAD_STEP  # no such opcode


def test_lengths_are_checked(engine: Engine, bench: NewBench) -> None:
    program = bench(engine, 1)
    program.input(np.zeros((1, engine.banks), np.int64), Space.STORE, 0)
    program.output(Space.STORE, 0, 1)
    kernel = Kernel.of(engine)
    for length in (0, engine.sequence + 1, 2**32 - 1):
        header = struct.pack("<I", length).ljust(engine.stream_bytes, b"\0")
        assert kernel.run(program.image(), program.stream() + header).status is Status.BAD_LENGTH


def test_stages_left_out_are_refused(bare: Engine, bench: NewBench) -> None:
    kernel = Kernel.of(bare)
    for stage, opcode in (("attention", Opcode.ATTENTION), ("norm", Opcode.NORM), ("pool", Opcode.POOL)):
        assert stage in STAGES
        program = bench(bare, 1)
        program.step(Opcode.OUTPUT, **GOOD[Opcode.OUTPUT])
        program.step(opcode, **GOOD[opcode])
        outcome = kernel.run(program.image(), b"")
        assert (outcome.status, outcome.info["failed_step"], outcome.info["steps_loaded"]) == (
            Status.BAD_STEP,
            1,
            0,
        )
    for words in (
        {"has_residual": 1, "out_bits": 16},
        {"table_bits": 8, "table": 0},
        {"space": 3, "heads": 1, "pitch": 8},
    ):
        program = bench(bare, 1)
        program.step(Opcode.LINEAR, **{**identity_words(bare), **words})
        assert kernel.run(program.image(), program.stream()).status is Status.BAD_STEP
    program = bench(bare, 1)
    program.step(Opcode.LINEAR, **identity_words(bare))
    assert kernel.run(program.image(), program.stream()).status is Status.OK
