"""The chip around an engine: what is emitted, and how it behaves at its pins."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from flow.boards import load_board
from flow.cost.image import shell_bram18
from flow.cost.resources import engine_usage
from flow.emit import chip as emitted
from flow.emit.build import Build, write_build
from flow.emit.chip import SHELLS, ChipContext, Pll, chip_files, pll_for, preset_files
from flow.emit.lower import LowerOptions, lower
from flow.engine import Engine
from flow.errors import FitError, FlowError
from flow.sim.chip import clock_loop, description, run_module
from flow.sim.kernel import run_tool
from flow.sim.verilator import Tools

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "models"
ENGINE = Engine(2, 4, 1, 1, 1, beat_bytes=8, stream_bytes=8, sequence=16, depth=8)
IMAGE = bytes(range(256)) * 90


def test_dividers_of_the_clock() -> None:
    """Frequencies of the loop lie in their ranges, and 80 MHz come out exactly."""
    pll = pll_for(25.0, 80.0)
    assert pll.output_mhz == 80.0
    for clock in (50.0, 62.5, 80.0, 83.3, 100.0, 125.0):
        pll = pll_for(25.0, clock)
        assert abs(pll.output_mhz / clock - 1) < 0.01
        assert 400.0 <= pll.vco_mhz <= 800.0
        assert pll.detector_mhz >= 10.0
    with pytest.raises(
        FlowError,
        match=re.escape(
            "clock_mhz: found 900; expected what a phase-locked loop makes of 25 MHz within 1 %; the nearest is 800"
        ),
    ):
        pll_for(25.0, 900.0)
    assert Pll(25.0, 1, 2, 16, 10).output_mhz == 80.0


def test_a_clock_without_the_baud_rate() -> None:
    """A UART's bit is a whole number of cycles within 2 %."""
    board = load_board("ulx3s-85f")
    context = ChipContext(ENGINE, board, SHELLS[board.name], 1)
    assert context.divider == round(board.clock_mhz)
    slow = replace(context, shell=replace(context.shell, baud=55_000_000))
    with pytest.raises(
        FlowError,
        match=re.escape(
            f"ulx3s-85f: found {context.pll.output_mhz:g} MHz for 55000000 baud; expected a multiple of it within 2 %; "
            "choose another clock_mhz"
        ),
    ):
        slow.divider  # noqa: B018


def test_presets_hold_the_image() -> None:
    """Whole blocks, a beat a line, most significant byte first."""
    files = preset_files(IMAGE, 8)
    assert sorted(files) == [f"image_{n:02d}.hex" for n in range(2)]
    lines = b"".join(files[name] for name in sorted(files)).split()
    assert len(lines) == 2 * 2048
    assert b"".join(bytes.fromhex(line.decode())[::-1] for line in lines) == IMAGE.ljust(8 * 2 * 2048, b"\0")


def test_boards_without_a_shell_have_no_chip(tmp_path: Path) -> None:
    """Nothing is emitted, and whoever asks is told."""
    assert chip_files(ENGINE, load_board("u250"), IMAGE) == {}
    build = Build(tmp_path, {"files": {}, "board": "u250"})
    with pytest.raises(
        FlowError,
        match=re.escape(
            f"{tmp_path}: found no chip for u250; expected a board with a shell; lower the model with --board ulx3s-85f"
        ),
    ):
        description(build)


def test_an_image_that_does_not_fit_beside_the_engine() -> None:
    """The largest that does is taken."""
    board = load_board("ulx3s-85f")
    own, shell = engine_usage(ENGINE, board).bram18, shell_bram18(ENGINE)
    blocks = (board.bram18 - own - shell) // 8
    largest = bytes(blocks * 2048 * 8)
    assert len(chip_files(ENGINE, board, largest)) > blocks > 9
    with pytest.raises(FitError) as caught:
        chip_files(ENGINE, board, largest + b"\1")
    held = 8 * (blocks + 1)
    assert str(caught.value) == (
        f"ulx3s-85f: found {own + held + shell} block RAM of 18 Kibit needed: {own} by the engine, {held} by the image "
        f"of {len(largest) + 1} bytes, 5 by the shell; expected at most 208; use a smaller model, or an engine with "
        "fewer banks"
    )


def test_lint(tmp_path: Path) -> None:
    """The chip around the engine's ports, all of Verilator's warnings; the engine itself is linted elsewhere."""
    from flow.emit.rtl import rtl_files

    rtl = rtl_files(ENGINE)
    text = rtl["rtl/flow_engine.v"].decode()
    ports = text[: text.index("\n);") + 3]
    assert len(re.findall(r"put +wire", ports)) > 40
    stub = f"/* verilator lint_off UNUSED */\n/* verilator lint_off UNDRIVEN */\n{ports}\nendmodule\n"
    files = chip_files(ENGINE, load_board("ulx3s-85f"), IMAGE) | clock_loop()
    files |= {f"rtl/{name}.v": rtl[f"rtl/{name}.v"] for name in ("fifo", "ram_1r1w")}
    files["rtl/flow_engine.v"] = stub.encode()
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    tools = Tools.find()
    command = ["perl", str(tools.verilator / "bin" / "verilator"), "--lint-only", "-Wall", "-Wno-fatal"]
    command += ["--top-module", "ulx3s", *(path for path in sorted(files) if path.endswith(".v"))]
    done = run_tool(command, 300.0, None, tools.build_environment(), tmp_path)
    assert [line for line in done.stderr.splitlines() if line.startswith("%")] == []
    assert done.returncode == 0


def test_every_pin_has_a_place() -> None:
    """Ports of the top and pins of the constraints are the same."""
    files = chip_files(ENGINE, load_board("ulx3s-85f"), IMAGE)
    text = files["chip/ulx3s.v"].decode()
    header = text[text.index("module ulx3s") : text.index(");")]
    ports = {
        name if not width else f"{name}[{bit}]"
        for width, name in re.findall(r"(?:input|output)\s+wire\s+(?:\[(\d+):0\]\s+)?(\w+)", header)
        for bit in range(int(width or 0) + 1)
    }
    located = re.findall(
        r'^LOCATE COMP "([^"]+)" SITE "([^"]+)";$', files["chip/ulx3s.lpf"].decode(), re.MULTILINE
    )
    assert {name for name, _ in located} == ports
    assert len({site for _, site in located}) == len(ports) == 12


@pytest.mark.slow
def test_through_the_uart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole chip with the digits model, driven through its two wires by the driver that runs on a desk."""
    board = load_board("ulx3s-85f")
    baud = round(board.clock_mhz * 1e6) // 8
    shell = replace(SHELLS[board.name], baud=baud, idle_log2=15)
    monkeypatch.setitem(emitted.SHELLS, board.name, shell)
    options = LowerOptions(overrides={"tokens": 2, "banks": 4, "rows": 1})
    made = lower(MODELS / "digits_vit_hp80.pt2", board, options=options)
    write_build(tmp_path / "build", made.files, made.manifest)
    build = Build.open(tmp_path / "build")
    assert json.loads(build.read("chip/chip.json"))["baud"] == baud
    place = tmp_path / "run"
    place.mkdir()
    (place / "bench_chip.py").write_bytes((HERE / "benches" / "bench_chip.py").read_bytes())
    run_module(build, "bench_chip", place)
    tests = (place / "results.xml").read_text().count("<testcase")
    assert tests == 5


def test_the_driver_speaks_what_is_described() -> None:
    """Opcodes and statuses of the driver are those of docs/chip.md."""
    import importlib.util

    source = HERE.parents[1] / "templates" / "driver" / "flow_uart.py"
    spec = importlib.util.spec_from_file_location("flow_uart", source)
    assert spec is not None
    assert spec.loader is not None
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    text = (HERE.parents[1] / "docs" / "chip.md").read_text()
    opcodes = dict(re.findall(r"^\| (0x[0-9A-F]{2}) \| ([A-Z_]+) \|", text, re.MULTILINE))
    assert len(opcodes) == 8
    for number, name in opcodes.items():
        assert getattr(driver, name) == int(number, 16)
    statuses = re.findall(r"^\| (\d) \| ([A-Z_]+) \|", text, re.MULTILINE)
    assert tuple(name for _, name in statuses) == driver.STATUSES
