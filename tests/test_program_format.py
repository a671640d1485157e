"""docs/program-format.md and the emitted config.hpp state what flow/engine/ does."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from flow.emit.contexts import camel, signed_words
from flow.emit.hls import kernel_files
from flow.engine import (
    HEADER_BYTES,
    INFO,
    INFO_WORDS,
    MAX_CODE_ENTRIES,
    MAX_SHAPES,
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    RECORD_BYTES,
    RECORD_WORDS,
    RECORDS,
    REGISTERS,
    STAGES,
    Command,
    Engine,
    Opcode,
    Space,
    Status,
    interfaces,
)

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "program-format.md").read_text()
ENGINE = Engine(4, 8, 2, 2, 1, features=("add", "norm"), sequence=40)
CONFIG = kernel_files(ENGINE)["config.hpp"].decode()


def table(after: str, heading: str) -> list[list[str]]:
    """Rows of the first table below `after` whose header row begins with `heading`."""
    text = DOCUMENT[DOCUMENT.index(after) :]
    lines = text[text.index(f"| {heading} |") :].splitlines()
    rows = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    assert rows
    return rows


@pytest.mark.parametrize("opcode", list(Opcode), ids=lambda opcode: opcode.name)
def test_the_document_names_every_word_of_every_record(opcode: Opcode) -> None:
    rows = table(f"### {opcode.name}\n", "word")
    assert [(int(row[0]), row[1]) for row in rows] == list(enumerate(RECORDS[opcode]))
    assert re.match(rf"{int(opcode)}\b", rows[0][2])
    assert {row[1] for row in rows if row[2].startswith("signed")} == signed_words(opcode)


def test_the_document_names_every_word_of_the_information_block() -> None:
    rows = table("Every command fills", "word")
    assert [(int(row[0]), row[1]) for row in rows] == list(enumerate(INFO))
    assert ", ".join(STAGES) in rows[INFO.index("features")][2]


@pytest.mark.parametrize(("kind", "heading"), [(Status, "status"), (Command, "command"), (Space, "space")])
def test_the_document_names_every_number(kind: type[IntEnum], heading: str) -> None:
    assert [(row[0], int(row[1])) for row in table("# The program format", heading)] == [
        (m.name, int(m)) for m in kind
    ]


def test_the_document_names_every_register() -> None:
    rows = table("## Commands and registers", "register")
    assert [(r[0], int(r[1], 16), int(r[2]), r[3]) for r in rows] == list(REGISTERS)


def test_the_document_states_the_formats_numbers() -> None:
    for text in (
        f"0x{PROGRAM_MAGIC:08X}", f"Version {PROGRAM_VERSION}.", f"zero up to byte {HEADER_BYTES}",
        f"{RECORD_BYTES} bytes each", f"A record is {RECORD_WORDS} words",
        f"up to {MAX_SHAPES} *shapes* and {MAX_CODE_ENTRIES} table entries",
    ):  # fmt: skip
        assert text in DOCUMENT, text
    assert "M at most 4 * `depth` + 16" in DOCUMENT
    assert ENGINE.column_entries == 4 * ENGINE.depth + 16


def constant(name: str) -> int:
    found = re.search(rf"constexpr \w+ {name} = (\w+);", CONFIG)
    assert found is not None, name
    return {"true": 1, "false": 0}[found[1]] if found[1] in ("true", "false") else int(found[1], 0)


def test_the_configuration_states_the_engine() -> None:
    names = {
        "Tokens": "tokens", "Banks": "banks", "Rows": "rows", "NormLanes": "norm_lanes", "Heads": "heads",
        "BeatBytes": "beat_bytes", "StreamBytes": "stream_bytes", "Sequence": "sequence", "Depth": "depth",
        "OperandDepth": "operand_depth", "StoreDepth": "store_depth", "ValuesDepth": "values_depth",
        "RowCycles": "row_cycles", "MaxSteps": "steps", "TableBits": "table_bits", "EngineHash": "hash",
        "FeatureBits": "feature_bits",
    }  # fmt: skip
    for name, attribute in names.items():
        assert constant(name) == getattr(ENGINE, attribute), name
    assert {stage for stage in STAGES if constant(f"Has{camel(stage)}")} == set(ENGINE.features)


def test_the_configuration_states_the_format() -> None:
    numbers = {
        "ProgramMagic": PROGRAM_MAGIC, "ProgramVersion": PROGRAM_VERSION, "HeaderBytes": HEADER_BYTES,
        "RecordWords": RECORD_WORDS, "MaxShapes": MAX_SHAPES, "MaxCodeEntries": MAX_CODE_ENTRIES,
        "InfoWords": INFO_WORDS,
        **{f"Info{camel(name)}": index for index, name in enumerate(INFO)},
    }  # fmt: skip
    for name, value in numbers.items():
        assert constant(name) == value, name
    for kind in (Opcode, Space, Status, Command):
        body = CONFIG[CONFIG.index(f"enum class {kind.__name__} ") :].split("}")[0]
        assert re.findall(r"(\w+) = (\d+),", body) == [(camel(m.name), str(int(m))) for m in kind]


@pytest.mark.parametrize("opcode", [o for o in Opcode if o is not Opcode.END], ids=lambda opcode: opcode.name)
def test_the_configuration_decodes_every_record(opcode: Opcode) -> None:
    signed = signed_words(opcode)
    body = CONFIG[CONFIG.index(f"struct {camel(opcode.name)}Record {{") :].split("};")[0]
    kinds = [("int32_t" if name in signed else "uint32_t", name) for name in RECORDS[opcode]]
    assert re.findall(r"^    (\w+) (\w+);$", body, re.MULTILINE) == kinds
    decoder = CONFIG[CONFIG.index(f"decode_{opcode.name.lower()}(") :].split("}")[0]
    found = re.findall(r"record\.(\w+) = (int32_t\()?step\.word\[(\d+)\]", decoder)
    assert [(name, int(index)) for name, _, index in found] == [(n, i) for i, n in enumerate(RECORDS[opcode])]
    assert {name for name, cast, _ in found if cast} == signed


def test_the_document_names_every_port() -> None:
    """Single ports by name and width, buses by their prefix; widths that depend on the engine as B and T."""
    rows = {row[0]: row[1:] for row in table("## Ports\n", "port")}
    widths = {"B": 8 * ENGINE.beat_bytes, "T": 8 * ENGINE.stream_bytes}
    for interface in interfaces(ENGINE):
        for signal in interface.signals:
            names = [name for cell in rows for name in cell.replace("`", "").split(", ")]
            (name,) = [
                n for n in names if n == signal.name or (n[-1] == "*" and signal.name.startswith(n[:-1]))
            ]
            _, bits, _ = next(
                cells for cell, cells in rows.items() if name in cell.replace("`", "").split(", ")
            )
            if name == signal.name:
                assert bits == str(signal.bits)
            elif signal.name.endswith("DATA") and bits:
                assert widths[bits] == signal.bits
    assert len(rows) == 7
