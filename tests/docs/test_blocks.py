"""The figures of the Verilog: as the tool draws them, true to the modules, readable, and shown."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import draw_blocks
import pytest
from blocks.check import faults, missing
from blocks.description import Box, Figure, Frame, Wire
from blocks.figures.every import FIGURES
from blocks.geometry import NoWayError, Placed, Rect, when_rect
from blocks.layout import place
from blocks.verilog import Module, modules

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NAMES = [figure.name for figure in FIGURES]
BY_NAME = dict(zip(NAMES, FIGURES, strict=True))


@cache
def verilog() -> dict[str, Module]:
    return modules()


@cache
def placed(name: str) -> Placed:
    return place(BY_NAME[name], verilog())


# ---- the files


def test_files_are_as_they_would_be_drawn() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 30
    assert draw_blocks.stale() == []


def test_stale_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw_blocks, "drawn", lambda: {"a.svg": "a", "b.svg": "b", "c.svg": "c"})
    for name, text in (("a.svg", "a"), ("b.svg", "old"), ("left-over.svg", "x")):
        (tmp_path / name).write_text(text)
    assert draw_blocks.stale(tmp_path) == ["b.svg", "c.svg", "left-over.svg"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_stands_by_itself(name: str) -> None:
    """No fonts, pictures or scripts from elsewhere, a background of its own, and words for those who do not see it."""
    text = (DOCS / "images" / "blocks" / f"{name}.svg").read_text()
    assert re.findall(r"https?://[^\"'\s)]*", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"href|url\(|@import|@font-face|<script|<image|<foreignObject", text)
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title") is not None
    panel = next(root.iter(f"{space}rect"))
    assert panel.get("class") == "panel"
    assert len(text) < 40_000


# ---- what they say


def test_every_module_stands_in_a_figure() -> None:
    written = {
        path.name.partition(".")[0]
        for folder in ("rtl", "chip")
        for path in (ROOT / "templates" / folder).glob("*.v*")
    }
    assert len(written) > 80
    assert written == set(verilog())
    assert missing(FIGURES, verilog()) == []
    assert missing(FIGURES, {"nobody": verilog()["fifo"]} | verilog()) == ["nobody"]


@pytest.mark.parametrize("name", NAMES)
def test_the_verilog_is_as_drawn(name: str) -> None:
    figure = BY_NAME[name]
    assert figure.boxes
    assert figure.wires
    assert faults(figure, verilog()) == []


SMALL = Figure(
    "small",
    "fifo",
    "A queue",
    (Box("in", (0, 0), ports="data_i valid_i", title="in"), Box("words", (0, 1), module="ram_1r1w")),
    (Wire("in", "words", "data_i"),),
)


def broken(**changes: object) -> Figure:
    return replace(SMALL, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (SMALL, []),
        (broken(module="queue"), ["small: found the module 'queue'; expected one that flow writes"]),
        (
            broken(boxes=(SMALL.boxes[0], Box("words", (0, 1), module="ram_2rw"))),
            ["small: box 'words': found ram_1r1w in fifo; expected ram_2rw"],
        ),
        (
            broken(boxes=(*SMALL.boxes, Box("more", (1, 0), module="ram_1r1w"))),
            ["small: box 'more': found None in fifo; expected ram_1r1w"],
        ),
        (
            broken(boxes=(*SMALL.boxes, Box("part", (1, 0), signals="nothing_q"))),
            ["small: box 'part': found no wire or register 'nothing_q' in fifo"],
        ),
        (
            broken(boxes=(*SMALL.boxes, Box("out", (1, 0), ports="dato_*"))),
            ["small: box 'out': found no port 'dato_*' of fifo"],
        ),
        (
            broken(boxes=(*SMALL.boxes, Box("out", (1, 0), ports="data_o", beyond="queue"))),
            ["small: box 'out': found no 'queue' beside fifo, nor beside what holds it"],
        ),
        (
            broken(boxes=(*SMALL.boxes, Box("out", (1, 0), ports="data_o", signals="data_o"))),
            ["small: box 'out': expected one of module, signals and ports"],
        ),
        (
            broken(boxes=(SMALL.boxes[0], replace(SMALL.boxes[1], supposes="Width=Width Depth=3 Lanes=1"))),
            [
                "small: box 'words': supposes Depth = 3; found 1<<DepthLog2",
                "small: box 'words': supposes Lanes = 1; found None",
            ],
        ),
        (broken(boxes=(*SMALL.boxes, SMALL.boxes[0])), ["small: found two boxes 'in'"]),
        (
            broken(boxes=SMALL.boxes[:1], wires=(), leaves_out="nobody"),
            ["small: found no box for 'words' of fifo", "small: 'nobody' is left out, but not there"],
        ),
        (
            broken(wires=(Wire("words", "in"),)),
            ["small: wire from 'words' to 'in': found no way in fifo"],
        ),
        (
            broken(wires=(Wire("in", "words", "nothing"),)),
            ["small: wire from 'in' to 'words': found no net 'nothing' in fifo"],
        ),
        (
            broken(wires=(Wire("in", "words", "data_o"),)),
            [
                "small: wire from 'in' to 'words': 'data_o' does not come from there; from there come data_i valid_i"
            ],
        ),
        (
            broken(frames=(Frame("a", "in nobody", key="no"),)),
            [
                "small: found no box 'nobody' for a frame",
                "small: found a frame of 'no', which is no instance",
            ],
        ),
    ],
)
def test_what_is_not_so_is_named(figure: Figure, said: list[str]) -> None:
    assert faults(figure, verilog()) == said


def test_a_wire_to_a_box_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="small: found the box 'nobody' named; expected one of its boxes"):
        faults(broken(wires=(Wire("in", "nobody"),)), verilog())


TEXT = """
module some #(parameter Tokens = 2, parameter Banks = 4, parameter Depth = 8, parameter Bits = 3) (
    input  wire clk_i, input wire [8*Tokens-1:0] a_i, output wire [Bits-1:0] b_o
);
    localparam WordBits = 8 * Tokens;
    localparam OffsetBits = Depth > 1 ? $clog2(Depth) : 1;
    reg [Banks*WordBits-1:0] line_q, other_q;
    wire [Banks*OffsetBits-1:0] offset = line_q[0] ? other_q : 0;
    wire [Bits:0] more; wire [5:0] six; wire [8*Bits-1:0] bytes;
    wire one = a_i[0] && more != 2'd3;
    always @(posedge clk_i) begin
        for (i = 0; i < 4; i = i + 1) line_q[i] <= a_i;
        if (one) begin other_q <= line_q; end
    end
    assign {b_o} = offset;
    other #(.Width(2)) inner (.clk_i(clk_i), .x_i({one, six[1:0]}), .y_o(more));
endmodule
"""


def test_widths_and_ways() -> None:
    module = Module("some", TEXT, frozenset({"some", "other"}))
    widths = {
        name: module.width(name) for name in ("a_i", "line_q", "offset", "more", "six", "bytes", "one", "b_o")
    }
    assert widths == {
        "a_i": "8T", "line_q": "8TB", "offset": "B·log₂Depth", "more": "Bits+1", "six": "6", "bytes": "8·Bits",
        "one": "", "b_o": "Bits",
    }  # fmt: skip
    assert module.directions == {"clk_i": "input", "a_i": "input", "b_o": "output"}
    (inner,) = module.instances.values()
    assert inner.module == "other"
    assert inner.parameters == {"Width": "2"}
    assert inner.ports == {"clk_i": {"clk_i"}, "x_i": {"one", "six"}, "y_o": {"more"}}
    start, end = frozenset({"a_i"}), frozenset({"b_o"})
    assert module.reaches(start, end, 3)
    assert not module.reaches(start, end, 2)
    assert not module.reaches(end, start, 9)


# ---- where it stands


def segments(figure: Placed) -> Iterator[tuple[int, tuple[float, float], tuple[float, float]]]:
    for number, route in enumerate(figure.routes):
        for branch in route.branches:
            for a, b in pairwise(branch.points):
                yield number, a, b


def on_border(rect: Rect, point: tuple[float, float]) -> bool:
    x, y = point
    inside = rect.x <= x <= rect.x + rect.width and rect.y <= y <= rect.y + rect.height
    return inside and (x in {rect.x, rect.x + rect.width} or y in {rect.y, rect.y + rect.height})


@pytest.mark.parametrize("name", NAMES)
def test_arrows_go_from_box_to_box(name: str) -> None:
    figure = placed(name)
    for route in figure.routes:
        targets = route.wire.targets.split()
        assert len(route.branches) == len(targets) > 0
        assert on_border(figure.boxes[route.wire.source], route.branches[0].points[0])
        for branch, target in zip(route.branches, targets, strict=True):
            assert on_border(figure.boxes[target], branch.points[-1])
    for _, a, b in segments(figure):
        assert (a[0] == b[0]) != (a[1] == b[1])
        for rect in figure.boxes.values():
            inner = Rect(rect.x + 1, rect.y + 1, rect.width - 2, rect.height - 2)
            assert not inner.meets(Rect(min(a[0], b[0]), min(a[1], b[1]), abs(a[0] - b[0]), abs(a[1] - b[1])))


@pytest.mark.parametrize("name", NAMES)
def test_wires_only_cross(name: str) -> None:
    """No two wires lie on each other for a stretch."""
    for (first, a, b), (second, c, d) in combinations(segments(placed(name)), 2):
        if first == second:
            continue
        for axis, other in ((0, 1), (1, 0)):
            if a[axis] == b[axis] == c[axis] == d[axis]:
                low = max(min(a[other], b[other]), min(c[other], d[other]))
                high = min(max(a[other], b[other]), max(c[other], d[other]))
                assert low >= high, (first, second)


@pytest.mark.parametrize("name", NAMES)
def test_words_lie_on_nothing_else(name: str) -> None:
    figure = placed(name)
    labels = [route.label.rect for route in figure.routes if route.label]
    labels += [when_rect(figure.boxes[box.key], box.when) for box in figure.figure.boxes if box.when]
    paper = Rect(0.0, 0.0, *figure.size)
    for one, other in combinations([*labels, *figure.boxes.values()], 2):
        assert not one.meets(other)
    for label in labels:
        assert paper.holds(label)
        for _, a, b in segments(figure):
            assert not label.meets(Rect(min(a[0], b[0]), min(a[1], b[1]), abs(a[0] - b[0]), abs(a[1] - b[1])))


def test_what_has_no_place_is_named() -> None:
    long = Wire("in", "words", "data_i", "a word\n" * 40, sides="tt")
    with pytest.raises(NoWayError, match="small: found no place for the label"):
        place(broken(wires=(long,)), verilog())
    many = tuple(Wire("in", "words", "data_i", sides="rl") for _ in range(9))
    with pytest.raises(NoWayError, match="small: found no way from in to words"):
        place(broken(wires=many), verilog())


# ---- where they are shown


def test_every_figure_is_shown_with_words() -> None:
    shown: list[str] = []
    for page in ("microarchitecture.md", "chip.md"):
        for words, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", (DOCS / page).read_text()):
            assert len(words) > 5, path
            assert (DOCS / path).is_file(), path
            shown.append(path)
    assert sorted(shown) == sorted(f"images/blocks/{name}.svg" for name in NAMES)


def test_the_table_names_modules_that_there_are() -> None:
    """Of the first column, in docs/microarchitecture.md's table of modules and in docs/chip.md's."""
    named: list[str] = []
    for page in ("microarchitecture.md", "chip.md"):
        rows = (DOCS / page).read_text().split("| module | what it does |")[1].split("\n\n")[0]
        named += [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]
    assert len(named) > 30
    assert set(named) - set(verilog()) == {"NAME_stage"}


def test_no_drawing_in_letters_is_left() -> None:
    for page in ("microarchitecture.md", "chip.md"):
        assert not re.search("[─═│└├▼►]", (DOCS / page).read_text()), page
