"""`flow lower`: boards, engines, settings and destinations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Flow = Callable[..., Any]


@pytest.fixture
def model(models: Path) -> Path:
    return models / "digits_vit_hp80.pt2"


def refuse(flow: Flow, *arguments: object) -> str:
    """The message of a command that has to refuse."""
    outcome = flow(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    message: str = outcome.err
    assert message.startswith("error: ")
    assert message.endswith("\n")
    return message.removeprefix("error: ").removesuffix("\n")


def test_summary(flow: Flow, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "on the way"
    outcome = flow("lower", model, "--board", "pynq-z2", "-o", output, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    summary = outcome.json()
    assert list(summary) == ["build", "board", "engine", "multipliers", "steps", "image_bytes", "estimate"]
    assert (summary["build"], summary["board"]) == (str(output), "pynq-z2")
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["engine"] == summary["engine"]
    assert len(manifest["steps"]) == summary["steps"]
    shown = flow("lower", model, "--board", "pynq-z2", "-o", output)  # replaces its own build
    assert shown.out.splitlines()[0] == f"{output}: {summary['steps']} steps on TUL PYNQ-Z2"
    assert shown.out.splitlines()[-1] == f"next      flow sim {output}    |    flow report {output}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "u2500",
            (
                "board 'u2500': unknown; expected one of kv260, pynq-z2, u200, u250, u280, u50, u55c, "
                "ultra96-v2, ulx3s-25f, ulx3s-45f, ulx3s-85f, vcu118, vcu128, zcu102, zcu104, zcu111, zedboard; "
                "did you mean u250 or u200?"
            ),
        ),
        (
            "",
            (
                "board '': unknown; expected one of kv260, pynq-z2, u200, u250, u280, u50, u55c, "
                "ultra96-v2, ulx3s-25f, ulx3s-45f, ulx3s-85f, vcu118, vcu128, zcu102, zcu104, zcu111, zedboard"
            ),
        ),
    ],
)
def test_unknown_board(flow: Flow, model: Path, tmp_path: Path, name: str, message: str) -> None:
    assert refuse(flow, "lower", model, "--board", name, "-o", tmp_path / "build") == message
    assert list(tmp_path.iterdir()) == []


def test_board_or_engine(flow: Flow, model: Path, digits_build: Path) -> None:
    rest = "expected one of them; name a board, or a build whose engine to use"
    assert (
        refuse(flow, "lower", model) == f"flow lower: found none of --board, --board-file, --engine; {rest}"
    )
    assert (
        refuse(flow, "lower", model, "--board", "u250", "--engine", digits_build)
        == f"flow lower: found --board and --engine; {rest}"
    )


def test_too_big_for_the_board(flow: Flow, model: Path, tmp_path: Path) -> None:
    """Block RAM falls short by what the message says."""
    message = refuse(
        flow,
        "lower",
        model,
        "--board",
        "pynq-z2",
        "-o",
        tmp_path / "b",
        "--set",
        "engine.store_depth=1000000",
    )
    needed = int(message.partition("needs ")[2].partition(" ")[0])
    assert needed > 224
    size = message.partition("(")[2].partition(")")[0]
    assert message == (
        f"digits_vit_hp80.pt2 on pynq-z2: found no engine that fits: the nearest ({size}) needs {needed} "
        f"block RAM of 18 Kibit, expected at most 224 (80% of 280), {needed - 224} too many; "
        "choose a larger board, a shorter sequence or a smaller model"
    )


def test_too_big_for_the_engine(flow: Flow, model: Path, tmp_path: Path) -> None:
    small, big = tmp_path / "small", tmp_path / "big"
    setting = ("--set", "engine.values_depth=16")
    message = refuse(flow, "lower", model, "--board", "pynq-z2", "-o", small, *setting)
    assert message == (
        "digits_vit_hp80.pt2: values of attention: found 64 words per bank needed; expected at most 16 words per "
        "bank (engine capacity 'values_depth'), 48 too many; use a larger engine, board or "
        "--set engine.values_depth=64"
    )
    assert flow("lower", model, "--board", "pynq-z2", "-o", big).status == 0
    assert refuse(flow, "lower", model, "--engine", big, "-o", small, *setting) == (
        "--set: found it together with --engine; expected an engine as it is; drop one of the two"
    )


PARAMETERS = (
    "tokens, banks, rows, norm_lanes, heads, beat_bytes, stream_bytes, sequence, operand_depth, store_depth, "
    "values_depth, depth, row_cycles, steps, table_bits"
)
SETTINGS = {
    ("engine.tokens=3",): "engine 3x4x1: found 1 faults\n  - tokens = 3: expected a power of two",
    ("engine.table_bits=20",): "engine 1x1x1: found 1 faults\n  - table_bits = 20: expected 8 to 12",
    ("engine.foo=3",): f"--set engine.foo: unknown parameter; expected one of {PARAMETERS}",
    (
        "engine.row=3",
    ): f"--set engine.row: unknown parameter; expected one of {PARAMETERS}; did you mean rows?",
    ("engine.tokens=-1", "tokens=4", "engine.tokens=４", "engine.rows=2", "engine.rows=1"): (
        "--set: found settings that cannot be used\n"
        "  - found 'engine.tokens=-1'; expected engine.NAME=NUMBER, such as engine.tokens=16\n"
        "  - found 'tokens=4'; expected engine.NAME=NUMBER, such as engine.tokens=16\n"
        "  - found 'engine.tokens=４'; expected engine.NAME=NUMBER, such as engine.tokens=16\n"
        "  - found engine.rows twice; expected it once"
    ),
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings(flow: Flow, model: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    options = [part for setting in settings for part in ("--set", setting)]
    found = refuse(flow, "lower", model, "--board", "pynq-z2", "-o", tmp_path / "build", *options)
    assert found == SETTINGS[settings]


def test_settings_are_kept(flow: Flow, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "build"
    settings = ("--set", "engine.tokens=2", "--set", "engine.banks=8")
    summary = flow("lower", model, "--board", "pynq-z2", "-o", output, "--json", *settings).json()
    assert (summary["engine"]["tokens"], summary["engine"]["banks"]) == (2, 8)
    options = json.loads((output / "manifest.json").read_text())["options"]
    assert options == {"allow_int8_residual": False, "exp_bits": None, "set": {"banks": 8, "tokens": 2}}


def test_destinations(flow: Flow, model: Path, tmp_path: Path) -> None:
    """What is no build stays as it is, and the message says what is in the way."""
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.write_text("mine")
    (folder / "sub").mkdir(parents=True)
    link.symlink_to(folder)
    long = tmp_path / ("x" * 300)
    cases = {
        file: "a file; expected a build directory or nothing; choose another with -o",
        folder: "a directory that is not a flow build; expected one with our manifest.json, or nothing; "
        "choose another with -o",
        link: "a symbolic link; expected a build directory or nothing; name what it points to with -o",
        file / "build": f"a file at {file}; expected a writable directory; choose another with -o",
        long: "File name too long; expected a writable place with room; choose another with -o",
    }
    for output, rest in cases.items():
        assert refuse(flow, "lower", model, "--board", "pynq-z2", "-o", output) == f"{output}: found {rest}"
    assert file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "link", "sub"]


def test_unwritable_place(flow: Flow, model: Path) -> None:
    """Nobody can make files in /proc, root included."""
    assert refuse(flow, "lower", model, "--board", "pynq-z2", "-o", "/proc/flow/build") == (
        "/proc/flow/build: found No such file or directory; expected a writable place with room; "
        "choose another with -o"
    )


def test_engine_of_no_build(flow: Flow, model: Path, tmp_path: Path) -> None:
    assert refuse(flow, "lower", model, "--engine", tmp_path, "-o", tmp_path / "b") == (
        f"{tmp_path}: found no manifest.json (No such file or directory); expected a build directory; "
        "run `flow lower` first"
    )


def test_config_beside_an_archive(flow: Flow, model: Path, tmp_path: Path) -> None:
    found = refuse(flow, "lower", model, "--board", "u250", "--config", "c.json", "-o", tmp_path / "b")
    assert found == (
        f"{model}: found a .pt2 archive, which holds its architecture; expected no --config; leave it out"
    )


def test_estimate_and_report(flow: Flow, model: Path, digits_build: Path) -> None:
    rows = flow("estimate", model, "--board", "pynq-z2", "--board", "ulx3s-85f", "--json").json()["boards"]
    assert [row["board"] for row in rows] == ["pynq-z2", "ulx3s-85f"]
    report = flow("report", digits_build, "--json").json()
    assert report["estimate"]["cycles"] == rows[0]["cycles"] > 0
    assert len(report["matrices"]) == 26
    shown = flow("report", digits_build)
    assert shown.status == 0
    assert f"total {rows[0]['cycles']:,} cycles" in shown.out
    table = flow("estimate", model, "--board", "pynq-z2")
    assert f"{rows[0]['cycles']:,}" in table.out
    assert (
        refuse(flow, "estimate", model)
        == "flow estimate: found no board; expected --board NAME, --board-file FILE or --all-boards"
    )
