"""Board files: `boards/*.toml`, or a user's own, to a `Board`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast, get_args

from flow.boards.board import (
    DSP_KINDS,
    NOMINAL,
    Board,
    FlowTarget,
    Level,
    Memory,
    Power,
    Vendor,
    WeightStore,
)
from flow.boards.reader import Reader
from flow.errors import FlowError, near, raise_all
from flow.resources import asset_dir

_BANDWIDTH_TOLERANCE = 0.01

# Every number of a board file, and the part itself, needs a document behind it.
FIGURES = (
    "part",
    "clock_mhz",
    "axi_beat_bytes",
    "max_utilisation",
    "resources.logic_cells",
    "resources.lut",
    "resources.lut_inputs",
    "resources.ff",
    "resources.bram",
    "resources.bram_kbit",
    "resources.uram",
    "resources.dsp",
    "resources.dsp_kind",
    "resources.slrs",
    "memory.channels",
    "memory.width_bits",
    "memory.data_rate_mt_s",
    "memory.bandwidth_gb_s",
    "memory.capacity_mib",
)

# And of its power table, where it has one.
POWER_FIGURES = ("power.vccint_v", "power.static_w", "power.rest_w")
MEMORY_ENERGY, LEVELS = "power.memory_pj_per_bit", "power.levels"
MOST_VOLTS, MOST_WATTS = 1.5, 1000.0


def figures_of(board: Board) -> tuple[str, ...]:
    """Every figure that a board's file must prove."""
    if board.power is None:
        return FIGURES
    memory = (MEMORY_ENERGY,) if board.weights != "on-chip" else ()
    return (*FIGURES, *POWER_FIGURES, *memory, *((LEVELS,) if board.power.levels else ()))


def _power(reader: Reader, weights: str) -> Power | None:
    """The table `[power]`, if there is one; where weights lie on chip it says nothing of the memory."""
    if not reader.has("power"):
        return None
    return Power(
        vccint_v=reader.real("power.vccint_v", maximum=MOST_VOLTS),
        static_w=reader.real("power.static_w", maximum=MOST_WATTS),
        rest_w=reader.real("power.rest_w", maximum=MOST_WATTS),
        memory_pj_per_bit=0.0 if weights == "on-chip" else reader.real(MEMORY_ENERGY, maximum=1000.0),
        levels=tuple(_level(reader, name) for name in reader.tables(LEVELS)),
    )


def _level(reader: Reader, name: str) -> Level:
    if name == NOMINAL or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        reader.fault(f"{LEVELS}.{name}", name, f"small letters, digits and dashes, and not {NOMINAL!r}")
    return Level(
        name,
        reader.real(f"{LEVELS}.{name}.clock_share", maximum=1.0),
        reader.real(f"{LEVELS}.{name}.vccint_v", maximum=MOST_VOLTS),
    )


def _memory(reader: Reader) -> Memory:
    memory = Memory(
        kind=reader.text("memory.kind"),
        channels=reader.integer("memory.channels"),
        width_bits=reader.integer("memory.width_bits"),
        data_rate_mt_s=reader.integer("memory.data_rate_mt_s"),
        bandwidth_gb_s=reader.real("memory.bandwidth_gb_s", maximum=10_000.0),
        capacity_mib=reader.integer("memory.capacity_mib"),
        port=reader.text("memory.port", may_be_empty=True),
    )
    product = memory.channels * memory.width_bits * memory.data_rate_mt_s / 8000.0
    if not reader.faults and abs(memory.bandwidth_gb_s - product) > _BANDWIDTH_TOLERANCE * product:
        reader.faults.append(
            f"memory.bandwidth_gb_s: found {memory.bandwidth_gb_s:g}; expected {product:g} within 1 %, "
            "which is channels * width_bits * data_rate_mt_s / 8000; correct one of the four"
        )
    return memory


def _board(reader: Reader) -> Board:
    weights = cast(WeightStore, reader.choice("weights", get_args(WeightStore)))
    board = Board(
        name=reader.text("name"),
        title=reader.text("title"),
        vendor=cast(Vendor, reader.choice("vendor", get_args(Vendor))),
        family=reader.text("family"),
        device=reader.text("device"),
        part=reader.text("part"),
        platform=reader.text("platform", may_be_empty=True),
        flow_target=cast(FlowTarget, reader.choice("flow_target", get_args(FlowTarget))),
        weights=weights,
        clock_mhz=reader.real("clock_mhz", maximum=1000.0),
        axi_beat_bytes=reader.integer("axi_beat_bytes", minimum=8),
        max_utilisation=reader.real("max_utilisation", maximum=1.0),
        logic_cells=reader.integer("resources.logic_cells"),
        lut=reader.integer("resources.lut"),
        lut_inputs=reader.integer("resources.lut_inputs", minimum=4),
        ff=reader.integer("resources.ff"),
        bram=reader.integer("resources.bram"),
        bram_kbit=reader.integer("resources.bram_kbit", minimum=18),
        uram=reader.integer("resources.uram", minimum=0),
        dsp=reader.integer("resources.dsp"),
        dsp_kind=reader.choice("resources.dsp_kind", DSP_KINDS),
        slrs=reader.integer("resources.slrs"),
        memory=_memory(reader),
        sources=(),
        power=_power(reader, weights),
    )
    board = replace(board, sources=reader.sources(list(figures_of(board))))
    # The packing of words into beats counts in powers of two, and sections of the weight stream in 8 bytes.
    beat, bram = board.axi_beat_bytes, board.bram_kbit
    if beat & (beat - 1):
        reader.faults.append(f"axi_beat_bytes: found {beat}; expected a power of two; correct the value")
    if bram not in (18, 36):
        reader.faults.append(f"resources.bram_kbit: found {bram}; expected 18 or 36; correct the value")
    if board.flow_target == "vitis" and not board.platform:
        reader.faults.append("platform: empty; expected a platform for the vitis flow; name the platform")
    reader.unknown_keys()
    return board


def read_board(path: Path) -> Board:
    """Read one board file.

    Raises:
        FlowError: the file cannot be read, is no TOML, or has faults; all faults are listed at once, each by its key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "no text"
        raise FlowError(f"{path}: {found}; expected a readable board file; check the path") from error
    return parse_board(text, path)


def parse_board(text: str, path: Path) -> Board:
    """Parse the text of a board file; `path` is for messages, and its stem is what the board must be called.

    Raises:
        FlowError: it is no TOML, or has faults; all faults are listed at once, each by its key.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FlowError(f"{path}: {error}; expected a TOML file; correct the syntax") from error
    reader = Reader(table)
    board = _board(reader)
    if board.name and board.name != path.stem:
        reader.faults.append(
            f"name: found {board.name!r}; expected {path.stem!r} as the file; rename one of them"
        )
    raise_all(FlowError, f"{path}: the board file is not valid", reader.faults)
    return replace(board, text=text, bundled=path.parent == asset_dir("boards"))


def list_boards(directory: Path | None = None) -> tuple[str, ...]:
    """Return the names of all boards, in alphabetical order."""
    folder = asset_dir("boards") if directory is None else directory
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def load_board(name: str, directory: Path | None = None) -> Board:
    """Return the board called `name`, case does not matter; a name that ends in `.toml` is the path of a board file.

    Raises:
        FlowError: no such board (the nearest names are offered), or its file has faults.
    """
    return read_board(Path(name)) if name.endswith(".toml") else _listed(name, directory)


@cache
def _listed(name: str, directory: Path | None) -> Board:
    folder = asset_dir("boards") if directory is None else directory
    names = list_boards(folder)
    if name.lower() not in names:
        hint = near(name.lower(), names)
        raise FlowError(f"board {name!r}: unknown; expected one of {', '.join(names)}{hint}")
    return read_board(folder / f"{name.lower()}.toml")
