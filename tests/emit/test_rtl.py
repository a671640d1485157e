"""The emitted Verilog: what Verilator's lint, pyverilog and the engine's description say of it."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from flow.boards import DSP_KINDS, load_board
from flow.cost.resources import bram18_of, stages, ultra_memories
from flow.emit.lower import lower
from flow.emit.rtl import RtlContext, rtl_files
from flow.engine import RECORDS, Engine, Opcode, interfaces, parameters
from tests.rtl.harness import lint

SMALL = Engine(2, 4, 1, 1, 1, beat_bytes=8, stream_bytes=4, sequence=16, depth=8)
ENGINES = {
    "small": SMALL,
    "single": Engine(1, 1, 1, 1, 1, beat_bytes=8, stream_bytes=4, sequence=1, depth=1, row_cycles=1),
    "wide": Engine(8, 64, 8, 16, 4, beat_bytes=64, stream_bytes=16, sequence=128, depth=48),
    "many tokens": Engine(
        16, 8, 8, 8, 8, beat_bytes=128, stream_bytes=64, sequence=32, depth=12, table_bits=12
    ),
    "array alone": replace(SMALL, features=()),
    "no attention": replace(SMALL, features=("add", "norm", "table")),
}


@cache
def parser() -> Any:
    """pyverilog's; to make its tables takes longer than most files."""
    from pyverilog.vparser.parser import VerilogParser

    with tempfile.TemporaryDirectory() as folder:  # it leaves its tables there
        return VerilogParser(outputdir=folder, debug=False)


@cache
def parsed(name: str, text: str) -> Any:
    """Definition of the one module in a file, by pyverilog."""
    from pyverilog.vparser.ast import ModuleDef

    tree = parser().parse(text)
    modules = [item for item in tree.description.definitions if isinstance(item, ModuleDef)]
    assert [module.name for module in modules] == [name]
    return modules[0]


@pytest.mark.parametrize("name", ENGINES)
def test_lint(name: str, tmp_path: Path) -> None:
    """Every module under the top, with the engine's parameters and all of Verilator's warnings."""
    packing = DSP_KINDS["DSP48E1" if name == "small" else "DSP48E2"]
    files = rtl_files(ENGINES[name], packing=packing, ultra=frozenset({"store"} if name == "wide" else ()))
    assert lint(files, tmp_path) == []


@pytest.mark.parametrize("features", [SMALL.features, ()], ids=["all", "array alone"])
def test_lint_of_wide_lines(features: tuple[str, ...], tmp_path: Path) -> None:
    """Verilator takes no replication of more than 8,192 bits: a line of 16,384 is zeroed in another way."""
    files = rtl_files(replace(SMALL, tokens=32, banks=64, rows=1, heads=1, beat_bytes=64, features=features))
    assert lint(files, tmp_path) == []


def test_static_files_are_plain_verilog() -> None:
    """pyverilog reads every file: one module each, of the file's name, with ports that end in _i, _o, _ni or _no."""
    files = rtl_files(SMALL)
    assert len(files) > 40
    for path, content in files.items():
        module = parsed(Path(path).stem, content.decode())
        if module.name == "flow_engine":
            continue
        ports = [getattr(port, "first", port).name for port in module.portlist.ports]
        assert [port for port in ports if not port.endswith(("_i", "_o", "_ni", "_no"))] == []


def test_the_top_has_the_ports_of_the_description() -> None:
    """Names, directions and widths, in order, as for the C++ kernel."""
    from pyverilog.vparser.ast import Input

    module = parsed("flow_engine", rtl_files(SMALL)["rtl/flow_engine.v"].decode())
    found = []
    for port in module.portlist.ports:
        width = int(port.first.width.msb.value) + 1 if port.first.width else 1
        found.append((port.first.name, "input" if isinstance(port.first, Input) else "output", width))
    expected = [(s.name, s.direction, s.bits) for i in interfaces(SMALL) for s in i.signals]
    assert found == expected


@pytest.mark.parametrize("name", ["wide", "no attention", "array alone"])
def test_instances(name: str) -> None:
    """Stages that an engine lacks have no instance; every other unit has one, with every port of its module."""
    from pyverilog.vparser.ast import InstanceList

    files = rtl_files(ENGINES[name])
    top = parsed("flow_engine", files["rtl/flow_engine.v"].decode())
    instances = [i for item in top.items if isinstance(item, InstanceList) for i in item.instances]
    staged = {"norm": "norm_unit", "attention": "attention_unit", "pool": "pool_unit"}
    found = {instance.module for instance in instances}
    for stage, unit in staged.items():
        assert (unit in found) == (stage in ENGINES[name].features)
    for instance in instances:
        module = parsed(instance.module, files[f"rtl/{instance.module}.v"].decode())
        ports = {getattr(port, "first", port).name for port in module.portlist.ports}
        assert {port.portname for port in instance.portlist} == ports


def test_memories_are_told_what_to_lie_in() -> None:
    """Every memory that the estimate may move to UltraRAM has an instance whose style says so, and no other has."""
    memories = [m for part in stages(SMALL).values() for m in part.memories if m.ultra]
    assert len(memories) == 6
    for memory in memories:
        text = rtl_files(SMALL, ultra=frozenset({memory.name}))["rtl/flow_engine.v"].decode()
        (place,) = re.finditer(r"\.Style\(\"ultra\"\)[^;]*?\n    \) (\w+) \(", text)
        assert place[1] == memory.block
        assert text.count(".Style(") == 6
    assert '"ultra"' not in rtl_files(SMALL)["rtl/flow_engine.v"].decode()


def test_a_build_for_a_board_that_is_short_of_block_ram(models: Path) -> None:
    """What the estimate counts as UltraRAM is what Verilog and C++ ask for; a board with room asks for none."""
    rich, model = load_board("u250"), models / "digits_vit_hp80.pt2"
    deep: dict[str, Any] = dict.fromkeys(("operand_depth", "store_depth", "values_depth"), 4096)
    plain = lower(model, rich, engine=replace(lower(model, rich).engine, **deep))
    used = plain.estimate.resources["bram18"].used
    movable = [m for part in stages(plain.engine).values() for m in part.memories if m.ultra]
    fixed = used - sum(bram18_of(memory) for memory in movable)
    poor = replace(rich, bram=int((fixed + 8) / 2 / rich.max_utilisation), slrs=1)
    for board in (rich, poor):
        made = lower(model, board, engine=plain.engine)
        ultra = ultra_memories(made.engine, board)
        assert bool(ultra) == (made.estimate.resources["uram"].used > 0) == (board is poor)
        verilog, storage = (made.files[path].decode() for path in ("rtl/flow_engine.v", "hls/storage.hpp"))
        assert verilog.count('.Style("ultra")') == len(ultra)
        for name in ("operand0", "operand1", "store", "values"):
            assert (name in ultra) == (board is poor)
            pragma = re.search(rf"BIND_STORAGE variable={name} type=\w+ impl=(\w+)\n", storage)
            assert pragma is not None
            assert pragma[1] == ("uram" if name in ultra else "bram")


def test_words_of_records() -> None:
    """The bits that the templates wire are those of the words' places."""
    context = RtlContext(SMALL)
    for opcode in Opcode:
        for index, word in enumerate(RECORDS[opcode]):
            assert context.word(opcode.name, word) == f"record_i[{32 * index} +: 32]"
    assert context.opcode_mask == 0xFF
    assert RtlContext(replace(SMALL, features=("norm",))).opcode_mask == 0xFF & ~(1 << 5) & ~(1 << 6)


def test_stages_without_verilog_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker must not let a step pass that asks for one."""
    monkeypatch.setitem(parameters._OUTSIDE, "swish", None)
    engine = replace(SMALL, features=(*SMALL.features, "swish"))
    assert engine.outside == ("swish",)
    assert dict(RtlContext(engine).parameters)["OutsideStages"] == 0
