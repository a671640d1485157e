"""Programs written by hand at the edges of what a record, a weight stream or an image may say, on both sides.

Whether the kernel takes them is known from docs/program-format.md; what it sends is what the unchanged kernel sends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from flow.engine import Engine, ImageBuilder, Opcode, Port, Record, Space, Status
from flow.formats import constants, encode, pack
from flow.formats.synthetic import Hierarchy, random_hp
from mutation.case import Case

HUGE = 2**32 - 1
DATA = {
    "STAGE": struct.pack("<16i", 40, 120, 20000, 22, *range(12)),
    "TABLE": np.random.default_rng(7).integers(-(2**15), 2**15, 2**12).astype("<i2").tobytes(),
}
"""What a word that is an offset may stand for: parameters of hard swish for inputs of all 8 bits, a table for 12."""
Words = dict[str, int | bytes]
Step = tuple[Opcode, Words]
OK_EDGES = {
    Opcode.INPUT: "base=OD-2*T2 space=1 | base=SD-4*T2 space=2 planes=2 | depth=D base=0 space=2",
    Opcode.CONSTANT: "tiles=ST base=OD-2*ST | depth=1 space=2 base=SD-T2 | tiles=1 planes=2 space=1",
    Opcode.LINEAR: """
        base=OD-T2 | base=SD-T2 space=2 | source_base=1 | out_bits=2 | out_bits=16 base=OD-2*T2 | row_groups=1
        | first_tile=1 | tiles=1 | first_tile=T2 tiles=4 | first_tile=99 | out_depth=D base=0 | out_signed=0
        | out_zero=9 | has_residual=1 out_bits=16 space=2 base=SD-2*T2 residual_base=0 residual_shift=1
          residual_multiplier=20000
        | has_residual=1 out_bits=9 space=2 residual_base=SD-2*T2 residual_shift=3 residual_multiplier=-20000 out_zero=7
        | table_bits=11 table=TABLE | table_bits=8 table=TABLE out_bits=16 base=OD-2*T2
        | space=3 heads=B/pitch pitch=P2 base=0 | space=3 heads=1 pitch=P2 base=VD-VL | space=3 heads=1 pitch=B base=3
    """,
    Opcode.NORM: """
        depth=1 | channels=B | source_base=SD-2*T2 | outputs=2 bits1=16 space1=2 base1=8 shift1=5 | bits0=2
        | bits0=16 base0=OD-2*T2 | centred=0 | epsilon_low=HUGE | epsilon_high=9 | base0=OD-T2 space0=1
    """,
    Opcode.ATTENTION: """
        query_base=SD-T2 | key_base=SD-T2 | base=OD-T2 space=1 | causal=1 | exp_bits=16 | value_base=VD-VL | pitch=B
        | heads=B/pitch | space=2 base=9 | score_shift=46
    """,
    Opcode.POOL: "bits=2 | bits=16 base=OD-2 | base=OD-1 | source_base=SD-2*T2 | mean=0 | space=2 base=SD-1 | space=1",
    Opcode.OUTPUT: "source_base=OD-T2 | planes=2 | source_space=2 source_base=SD-T2 | source_space=1",
}
BAD_EDGES = {
    Opcode.INPUT: """
        base=OD-2*T2+1 space=1 | base=OD-2*T2+1 space=0 | base=SD-4*T2+1 space=2 planes=2 | planes=0 | planes=3
        | depth=0 | depth=D+1 | space=3 | base=HUGE
    """,
    Opcode.CONSTANT: """
        tiles=ST+1 base=0 | tiles=ST base=OD-2*ST+1 | data=HUGE | depth=0 | data=99999 | space=3 | planes=0
    """,
    Opcode.LINEAR: """
        base=OD-T2+1 | base=SD-T2+1 space=2 | source_base=OD | source_base=OD-T2+1 | source_space=2 | source_planes=0
        | source_planes=3 | depth=0 | depth=D+1 | row_groups=D*BG+1 out_depth=HUGE | row_groups=0 | row_groups=BG+1
        | weight_bits=5 | weight_bits=7 | out_bits=1 | out_bits=17 | out_depth=0 | out_depth=D+1 base=0
        | table_bits=12 table=TABLE
        | has_residual=1 out_bits=8 | has_residual=1 out_bits=16 residual_base=SD-2*T2+1 | has_residual=1 table_bits=8
        | space=3 heads=0 pitch=P2 | space=3 heads=1 pitch=0 | space=3 heads=1 pitch=B+1 | space=3 heads=1 pitch=3
        | space=3 heads=HUGE pitch=P2 | space=3 heads=1 pitch=P2 base=VD-VL+1 | space=3 heads=1 pitch=P2 out_bits=9
        | space=4 | page=HUGE | weights=HUGE | weight_beats=HUGE | weight_beats=1
        | space=3 heads=1 pitch=D*B+B | space=3 heads=D+1 pitch=B | stage=1
    """,
    Opcode.NORM: """
        depth=0 | depth=D+1 | channels=0 | channels=B+1 | outputs=0 | outputs=3 | bits0=1 | bits0=17 | space0=3
        | base0=OD-T2+1 | source_base=SD-2*T2+1 | constants0=HUGE | outputs=2 bits1=1
        | outputs=2 bits1=8 constants1=HUGE
    """,
    Opcode.ATTENTION: """
        depth=0 | depth=D+1 | pitch=0 | pitch=3 | heads=0 | heads=B/pitch+1 | heads=HUGE | exp=HUGE | exp_bits=9
        | query_base=SD-T2+1 | key_base=SD-T2+1 | value_base=VD-VL+1 | space=3 | base=OD-T2+1
    """,
    Opcode.POOL: """
        depth=0 | depth=D+1 | bits=1 | bits=17 | source_base=SD-2*T2+1 | space=3 | base=OD | bits=16 base=OD-1
    """,
    Opcode.OUTPUT: "source_space=3 | source_base=OD-T2+1 | planes=0 | planes=3 | depth=0 | depth=D+1",
}


class Edges:
    """Programs of a few records on an engine; LENGTH tokens a frame."""

    length = 9

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rng = np.random.default_rng(5)
        e, tiles = engine, engine.tiles(self.length)
        width = e.banks // e.heads_abreast(max(e.rows, 2))
        self.names = {
            "OD": e.operand_depth, "SD": e.store_depth, "VD": e.values_depth, "D": e.depth, "B": e.banks, "T2": tiles,
            "ST": e.tiles(e.sequence), "BG": e.banks // e.rows, "P2": max(e.rows, 2), "HUGE": HUGE,
            "VL": -(-self.length // width) * (max(e.rows, 2) // e.rows), "pitch": max(e.rows, 2),
        }  # fmt: skip

    def cases(self) -> Iterator[Case]:
        """Each opcode as it should be, then at the edges of its words on both sides."""
        for opcode in OK_EDGES:
            yield self.case(opcode, "", Status.OK)
            for edges, status in ((OK_EDGES, Status.OK), (BAD_EDGES, Status.BAD_STEP)):
                for words in edges[opcode].split("|"):
                    yield self.case(opcode, " ".join(words.split()), status)
        yield from self.damaged()
        yield from self.images()
        yield from self.damaged_later()
        yield self.full_page()
        yield self.cut_page()
        yield self.widest_code()
        yield from self.tables()
        # Offsets that the rest of the record makes meaningless.
        yield self.case(Opcode.NORM, "constants1=HUGE", Status.OK)
        yield self.case(Opcode.LINEAR, "table=HUGE", Status.OK)

    def value(self, text: str) -> int:
        """A sum of products and quotients of names and numbers."""
        total = 0
        for term in text.replace("-", "+-").split("+"):
            if term:
                sign, value = (-1, 1) if term[0] == "-" else (1, 1)
                head, _, divisor = term.lstrip("-").partition("/")
                for factor in head.split("*"):
                    value *= self.names[factor] if factor in self.names else int(factor)
                total += sign * (value // self.names[divisor] if divisor else value)
        return total

    def case(self, opcode: Opcode, text: str, status: Status) -> Case:
        """One program: inputs everywhere, the record, and what it may have written sent back."""
        pairs = dict(pair.split("=") for pair in text.split())
        changes: Words = {
            name: DATA[value] if value in DATA else self.value(value) for name, value in pairs.items()
        }
        words = {**self.good(opcode), **changes}
        steps, frame = self.inputs()
        failing = len(steps)
        steps.append((opcode, words))
        if opcode is Opcode.INPUT:
            frame += self.tensor(int(words["planes"]), int(words["depth"])) if status is Status.OK else b""
        for space in (Space.OPERAND0, Space.OPERAND1, Space.STORE):
            steps.append((Opcode.OUTPUT, {"source_space": space, "source_base": 0, "planes": 1, "depth": 1}))
            base = self.names["SD" if space is Space.STORE else "OD"] - 2 * self.names["T2"]
            steps.append(
                (Opcode.OUTPUT, {"source_space": space, "source_base": base, "planes": 2, "depth": 1})
            )
        failed = failing if status is not Status.OK else None
        name = f"{opcode.name} {text}"
        return Case(name, self.image(steps), self.header() + frame, status, b"" if failed else None, failed)

    def stages(self) -> Iterator[Case]:
        """Linear steps with the stage of a plug-in, and with what may not stand beside it."""
        words = "stage=1 base=OD-T2 stage_data=STAGE"
        for more, status in (
            ("", Status.OK), ("out_signed=0 out_zero=40", Status.OK), ("out_bits=16 base=OD-2*T2", Status.OK),
            ("out_bits=2", Status.OK), ("stage=2", Status.BAD_STEP), ("table_bits=8", Status.BAD_STEP),
            ("has_residual=1 out_bits=16 base=0", Status.BAD_STEP), ("stage_data=HUGE", Status.BAD_STEP),
        ):  # fmt: skip
            yield self.case(Opcode.LINEAR, f"{words} {more}".strip(), status)

    def header(self, length: int | None = None) -> bytes:
        """The beat before a frame."""
        return struct.pack("<I", self.length if length is None else length).ljust(
            self.engine.stream_bytes, b"\0"
        )

    def tensor(self, planes: int, depth: int) -> bytes:
        """A random tensor as it travels."""
        port = Port("x", tuple(range(depth * self.engine.banks)), depth, planes, True, False)
        top = 1 << (8 * planes - 1)
        return port.pack(
            self.engine, self.rng.integers(-top, top, (self.length, depth * self.engine.banks)), self.length
        )

    def inputs(self) -> tuple[list[Step], bytes]:
        """Steps that fill the beginning and the end of every memory, values by a linear step, and their data."""
        steps: list[Step] = []
        frame = b""
        tiles = self.names["T2"]
        for space, name in ((Space.OPERAND0, "OD"), (Space.OPERAND1, "OD"), (Space.STORE, "SD")):
            for base in (0, self.names[name] - 2 * tiles):
                steps.append((Opcode.INPUT, {"planes": 2, "depth": 1, "space": space, "base": base}))
                frame += self.tensor(2, 1)
        into = {
            "space": Space.VALUES,
            "heads": self.names["B"] // self.names["pitch"],
            "pitch": self.names["pitch"],
        }
        steps.append((Opcode.LINEAR, {**self.good(Opcode.LINEAR), **into}))
        return steps, frame

    def good(self, opcode: Opcode) -> Words:
        """Words of a record that is in range."""
        e = self.engine
        lines = 4 * e.tiles(e.sequence)
        exp = np.arange(255, -1, -1).astype("<u2").tobytes()  # every entry another
        gains = (
            (self.rng.integers(-60, 60, e.banks) & 0xFFFF | self.rng.integers(0, 99, e.banks) << 16)
            .astype("<u8")
            .tobytes()
        )
        plain: dict[Opcode, Words] = {
            Opcode.INPUT: {"planes": 1, "depth": 2, "space": 0, "base": 0},
            Opcode.CONSTANT: {
                "planes": 1, "depth": 2, "space": 0, "base": 0, "tiles": 1,
                "data": self.rng.integers(0, 256, lines * e.banks * e.tokens).astype(np.uint8).tobytes(),
            },
            Opcode.LINEAR: self.identity(),
            Opcode.NORM: {
                "source_base": 0, "depth": 1, "channels": e.banks, "centred": 1, "outputs": 1, "shift0": 9, "bits0": 8,
                "epsilon_low": 1000, "space0": 0, "base0": 0, "constants0": gains, "constants1": gains[::-1],
            },
            Opcode.ATTENTION: {
                "query_base": 0, "key_base": 0, "value_base": 0, "depth": 1, "heads": 1, "pitch": self.names["pitch"],
                "score_multiplier": 20000, "score_shift": 20, "exp": exp, "exp_bits": 8, "multiplier": 20000,
                "shift": 20, "space": 0, "base": 0,
            },
            Opcode.POOL: {"source_base": 0, "depth": 1, "mean": 1, "multiplier": 20000, "shift": 34, "bits": 8},
            Opcode.OUTPUT: {"source_space": 0, "source_base": 0, "planes": 1, "depth": 1},
        }  # fmt: skip
        return plain[opcode]

    def identity(self) -> Words:
        """A linear step that keeps its input, with a table that it may be told to use."""
        size = self.engine.banks
        encoded = encode(np.eye(size, dtype=np.int64), banks=size, rows_per_group=self.engine.rows)
        scales = constants(np.zeros(size, int), np.full(size, 2**14), np.full(size, 14))
        stream = pack(encoded, scales, self.engine.beat_bytes)
        return {
            "source_space": Space.OPERAND0, "source_base": 0, "source_planes": 1, "source_signed": 1, "depth": 1,
            "row_groups": len(encoded.row_groups), "weight_bits": 8, "page": encoded.page.pack(self.engine.beat_bytes),
            "weights": stream, "weight_beats": len(stream) // self.engine.beat_bytes, "out_bits": 8, "out_signed": 1,
            "space": Space.OPERAND1, "base": 0, "out_depth": 1,
        }  # fmt: skip

    def image(self, steps: list[Step]) -> bytes:
        """The memory image of some steps."""
        builder = ImageBuilder(self.engine, len(steps))
        return builder.finish(
            [
                Record(
                    op, {k: builder.place(v) if isinstance(v, bytes) else int(v) for k, v in words.items()}
                )
                for op, words in steps
            ]
        )

    def damaged(self) -> Iterator[Case]:
        """Weight streams and code pages that no encoder writes."""
        good = self.identity()
        stream, page = good["weights"], good["page"]
        assert isinstance(stream, bytes)
        assert isinstance(page, bytes)
        word = int.from_bytes(stream[:8], "little")
        places = {"groups": (0, 12), "shape": (12, 4), "map": (16, 2), "columns": (18, 12), "beats": (32, 32)}
        entries = self.engine.column_entries
        for name, value in (
            ("groups", 4095), ("groups", self.engine.row_cycles + 1), ("groups", 3), ("shape", 1), ("shape", 3),
            ("map", 0), ("beats", 0), ("beats", 1), ("beats", HUGE), ("columns", entries + 1), ("columns", 4095),
        ):  # fmt: skip
            if name == "beats" and value == word >> 32:
                continue  # it has one
            at, width = places[name]
            changed = word & ~(((1 << width) - 1) << at) | value << at
            if name == "columns":
                changed = changed & ~(3 << 16) | 2 << 16
            yield self._damage(f"{name}={value}", {"weights": changed.to_bytes(8, "little") + stream[8:]})
        for shape in (
            (1, 0, 0, 1, 0, 0xFFFF, 0), (5, 0, 1, 0, 1, 0xFFFF, 0), (0, 0, 1, 0, 1, 0xFFFF, 0),
            (1, 257, 1, 0, 1, 0xFFFF, 0),
            (1, 0, 0, 0, 1, 0xFFFF, 0), (1, 0, 17, 0, 1, 0xFFFF, 0), (1, 0, 1, 13, 1, 0xFFFF, 0),
            (1, 0, 2, 0, 1, 0xFFFF, 0),
            (1, 0, 1, 0, 1, 0, 1), (1, 0, 1, 0, 1, 0, 0), (1, 1, 1, 0, 1, 0, 2), (1, 1, 1, 0, 1, 1, 1),
            (1, 1, 1, 0, 1, 0, 0),
        ):  # fmt: skip
            shapes, count, take, bits, stride, first, named = shape
            data = struct.pack("<HHIBBHHH", shapes, count, 0, take, bits, stride, first, named)
            yield self._damage(f"page {shape}", {"page": data.ljust(max(len(page), 256), b"\0")})

    def damaged_later(self) -> Iterator[Case]:
        """Damage in the second record, when the first has filled lists and buffers."""
        stream = self.identity()["weights"]
        assert isinstance(stream, bytes)
        at = (int.from_bytes(stream[:8], "little") >> 32) * self.engine.beat_bytes
        word = int.from_bytes(stream[at : at + 8], "little")
        entries = self.engine.column_entries
        for name, changed in (
            ("columns", word & ~(0xFFF << 18 | 3 << 16) | (entries + 1) << 18 | 2 << 16),
            ("bitmap columns", word & ~(0xFFF << 18 | 3 << 16) | (entries + 1) << 18 | 3 << 16),
            ("groups", word | 0xFFF),
            ("shape", word | 0xF << 12),
            ("beats", word | 0xFFFF << 32),
        ):
            yield self._damage(
                f"later {name}", {"weights": stream[:at] + changed.to_bytes(8, "little") + stream[at + 8 :]}
            )

    def full_page(self) -> Case:
        """A code page of as many entries as there may be."""
        steps, frame = self.inputs()
        page = struct.pack("<HHIBBHHH", 1, 256, 0, 1, 0, 1, 0xFFFF, 0).ljust(8 * 258, b"\0")
        steps.append((Opcode.LINEAR, {**self.identity(), "page": page}))
        steps.append(
            (Opcode.OUTPUT, {"source_space": Space.OPERAND1, "source_base": 0, "planes": 1, "depth": 1})
        )
        return Case("full page", self.image(steps), self.header() + frame, Status.OK, None)

    def cut_page(self) -> Case:
        """A code page that goes on beyond the end of the image, where zeros stand for its entries."""
        steps, frame = self.inputs()
        page = struct.pack("<HHIBBHHH", 1, 256, 0, 1, 0, 1, 0xFFFF, 0)
        words = {name: word for name, word in self.identity().items() if name != "page"}
        words["page"] = page.ljust(-(-len(page) // self.engine.beat_bytes) * self.engine.beat_bytes, b"\0")
        steps.append((Opcode.LINEAR, words))
        steps.append(
            (Opcode.OUTPUT, {"source_space": Space.OPERAND1, "source_base": 0, "planes": 1, "depth": 1})
        )
        return Case("cut page", self.image(steps), self.header() + frame, Status.OK, None)

    def widest_code(self) -> Case:
        """A shape of the widest codes and most weights, which a matrix without weights may name."""
        size, beat = self.engine.banks, self.engine.beat_bytes
        encoded = encode(np.zeros((size, size), np.int64), banks=size, rows_per_group=self.engine.rows)
        stream = pack(
            encoded, constants(np.arange(size) * 100, np.full(size, 2**14), np.full(size, 14)), beat
        )
        page = struct.pack("<HHIBBHHH", 1, 1, 0, 16, 12, 1, 0, 1).ljust(3 * max(8, beat), b"\0")
        steps, frame = self.inputs()
        words: Words = {"weights": stream, "weight_beats": len(stream) // beat, "page": page}
        words["row_groups"] = len(encoded.row_groups)
        steps.append((Opcode.LINEAR, {**self.identity(), **words}))
        steps.append(
            (Opcode.OUTPUT, {"source_space": Space.OPERAND1, "source_base": 0, "planes": 1, "depth": 1})
        )
        return Case("widest code", self.image(steps), self.header() + frame, Status.OK, None)

    def tables(self) -> Iterator[Case]:
        """A matrix with a code table: as it is, at the end of a full page, and without its last entry."""
        size, beat, depth = self.engine.banks, self.engine.beat_bytes, 3
        # As many rows as a tensor has channels: tables pay where many rows share them.
        out_depth = self.engine.depth
        rows = out_depth * size
        structure = Hierarchy(depth, depth, 2)
        weight = random_hp(self.rng, rows, depth * size, banks=size, block_rows=rows, hierarchy=structure)
        encoded = encode(weight.astype(np.int64), banks=size, rows_per_group=self.engine.rows)
        (shape,) = encoded.page.shapes
        assert shape.table is not None
        stream = pack(encoded, constants(np.zeros(rows, int), np.full(rows, 2**14), np.full(rows, 21)), beat)
        words: Words = {
            **self.identity(), "weights": stream, "weight_beats": len(stream) // beat, "depth": depth,
            "row_groups": len(encoded.row_groups), "out_depth": out_depth,
        }  # fmt: skip
        table = [sum(m << 4 * k for k, m in enumerate(entry)) for entry in shape.table]
        count = len(table)
        for name, entries, first, named, status in (
            ("as it is", table, 0, count, Status.OK),
            ("at the end", [0] * (256 - count) + table, 256 - count, count, Status.OK),
            ("cut short", table, 0, count - 1, Status.BAD_STEP),
        ):
            descriptor = (shape.take, shape.code_bits, shape.stride, first, named)
            page = struct.pack("<HHIBBHHH", 1, len(entries), 0, *descriptor)
            page += struct.pack(f"<{len(entries)}Q", *entries)
            steps: list[Step] = [
                (Opcode.INPUT, {"planes": 1, "depth": depth, "space": Space.OPERAND0, "base": 0}),
                (Opcode.LINEAR, {**words, "page": page.ljust(-(-len(page) // beat) * beat, b"\0")}),
                (
                    Opcode.OUTPUT,
                    {"source_space": Space.OPERAND1, "source_base": 0, "planes": 1, "depth": out_depth},
                ),
            ]
            failed = 1 if status is not Status.OK else None
            frame = self.header() + self.tensor(1, depth)
            yield Case(f"table {name}", self.image(steps), frame, status, b"" if failed else None, failed)

    def _damage(self, name: str, words: Words) -> Case:
        steps, frame = self.inputs()
        steps.append((Opcode.LINEAR, {**self.identity(), **words}))
        failing = len(steps) - 1
        return Case(
            f"damaged {name}", self.image(steps), self.header() + frame, Status.BAD_STEP, None, failing
        )

    def images(self) -> Iterator[Case]:
        """Headers, lengths and programs that LOAD or RUN refuses, and an END before the last record."""
        steps: list[Step] = [
            (Opcode.INPUT, {"planes": 1, "depth": 1, "space": Space.STORE, "base": 0}),
            (Opcode.OUTPUT, {"source_space": Space.STORE, "source_base": 0, "planes": 1, "depth": 1}),
        ]
        image, frame = self.image(steps), self.header() + self.tensor(1, 1)
        size = struct.unpack_from("<I", image, 24)[0]
        for at, value, width, status in (
            (0, 0, 4, Status.BAD_MAGIC), (4, 2, 4, Status.BAD_VERSION),
            (8, self.engine.hash ^ 1, 8, Status.WRONG_ENGINE), (8, self.engine.hash ^ 1 << 63, 8, Status.WRONG_ENGINE),
            (16, self.engine.steps + 1, 4, Status.TOO_MANY_STEPS),
            (16, self.engine.steps, 4, Status.BAD_STEP), (20, 68, 4, Status.BAD_STEP), (20, 56, 4, Status.BAD_STEP),
            (20, 2**31, 4, Status.BAD_STEP), (20, HUGE - 7, 4, Status.BAD_STEP), (24, 1, 4, Status.BAD_STEP),
            (24, size, 4, Status.OK), (64, 8, 4, Status.BAD_STEP), (64, 99, 4, Status.BAD_STEP),
        ):  # fmt: skip
            changed = image[:at] + value.to_bytes(width, "little") + image[at + width :]
            stream = frame if status is Status.OK else b""
            yield Case(f"image {at}={value}", changed, stream, status, None)
        yield from self.frames(steps, image, frame)

    def frames(self, steps: list[Step], image: bytes, frame: bytes) -> Iterator[Case]:
        """Lengths out of range, several frames, the longest, one token, and an END before the last record."""
        for length, status in (
            (0, Status.BAD_LENGTH),
            (self.engine.sequence + 1, Status.BAD_LENGTH),
            (HUGE, Status.BAD_LENGTH),
        ):
            yield Case(f"length {length}", image, frame + self.header(length) + bytes(64), status, None)
        yield self.longest(steps)
        after_end: list[Step] = [
            *steps,
            (Opcode.END, {}),
            (Opcode.OUTPUT, {"source_space": 9, "planes": 1, "depth": 1}),
        ]
        yield Case("END in the middle", self.image(after_end), frame, Status.OK, None)
        yield Case("several frames", self.image(steps), frame * 5, Status.OK, None)
        single: list[Step] = [(op, {**words, "single_token": 1}) for op, words in steps]
        port = Port("x", tuple(range(self.engine.banks)), 1, 1, True, True)
        one = port.pack(self.engine, self.rng.integers(-128, 128, (1, self.engine.banks)), self.length)
        yield Case("one token", self.image(single), self.header() + one, Status.OK, None)

    def longest(self, steps: list[Step]) -> Case:
        """A frame of as many tokens as the engine takes, and a program of as many steps."""
        most = self.engine.sequence
        port = Port("x", tuple(range(self.engine.banks)), 1, 1, True, False)
        data = port.pack(self.engine, self.rng.integers(-128, 128, (most, self.engine.banks)), most)
        filled = steps[:1] + steps[1:] * (self.engine.steps - 1)
        return Case("longest", self.image(filled), self.header(most) + data, Status.OK, None)
