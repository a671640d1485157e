"""FPGA boards as data: `boards/*.toml` to a frozen `Board`, every figure with the document behind it.

A board file has five parts: the head (names, flow, clock target), `[resources]`, `[memory]` and a list of
`[[sources]]`, each of which names a document and the figures taken from it. A figure without a source is refused,
and so is a source for a figure that does not exist: nobody can add an unproven number.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from flow.errors import FlowError, raise_all
from flow.resources import asset_dir

Vendor = Literal["amd", "lattice"]
FlowTarget = Literal["open", "vivado", "vitis"]
WeightStore = Literal["ddr", "hbm", "sdram", "on-chip"]

_URAM_KBIT = 288
_BANDWIDTH_TOLERANCE = 0.01


@dataclass(frozen=True)
class DspKind:
    """How a hardware multiplier takes the engine's product of an activation and an 8-bit weight.

    With two products, the wide port holds `a1 * 2**spacing + a0` and the narrow one the shared weight w, so that
    the result is `a1*w * 2**spacing + a0*w`; the upper product is `(p >> spacing) + p[spacing - 1]`. Activations
    are int8 or unsigned bytes: -128 <= a <= 255 of the 9-bit range. (Below -128 the packed operand would leave the
    port: -256 * 2**18 - 1 takes 28 bits.)

    Attributes:
        name: the primitive's name.
        wide_bits: width of the wider signed operand.
        narrow_bits: width of the other signed operand.
        products: products per primitive and cycle.
        spacing: bits between the two packed products; 0 with one product.
        source: the document that gives the operand widths.
    """

    name: str
    wide_bits: int
    narrow_bits: int
    products: int
    spacing: int
    source: str

    @property
    def packed_terms(self) -> int:
        """How many packed results may be added before they are unpacked.

        The sum of n lower products must stay a signed number of `spacing` bits: `n * 255 * 128 < 2**(spacing - 1)`.
        It is 0 where nothing is packed.
        """
        return 2 ** (self.spacing - 1) // (255 * 128) if self.products > 1 else 0


DSP_KINDS: dict[str, DspKind] = {
    kind.name: kind
    for kind in (
        DspKind("DSP48E2", 27, 18, 2, 18, "UG579, UltraScale Architecture DSP Slice User Guide"),
        DspKind("DSP48E1", 25, 18, 2, 16, "UG479, 7 Series DSP48E1 Slice User Guide"),
        DspKind("MULT18X18D", 18, 18, 1, 0, "FPGA-DS-02012, ECP5 and ECP5-5G Family Data Sheet"),
    )
}


@dataclass(frozen=True)
class Source:
    """A document and the figures of one board that it proves.

    Attributes:
        document: the publisher's document number, or "flow" for a choice of this project.
        title: the document's title.
        place: table, section or reason.
        figures: keys of the board file, such as `resources.lut`.
    """

    document: str
    title: str
    place: str
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """The memory off the FPGA that holds program and weights.

    Attributes:
        kind: the DRAM technology, for people.
        channels: independent channels; an AXI4 master reaches one of them at a time.
        width_bits: data bits of one channel.
        data_rate_mt_s: million transfers a second on each data bit.
        bandwidth_gb_s: peak of all channels together, in 10^9 bytes a second.
        capacity_mib: size of all channels together, in MiB.
        port: what the engine's AXI4 master connects to: a v++ memory tag, or the processor's slave port.
    """

    kind: str
    channels: int
    width_bits: int
    data_rate_mt_s: int
    bandwidth_gb_s: float
    capacity_mib: int
    port: str

    @property
    def channel_gb_s(self) -> float:
        """Peak bandwidth of one channel, in 10^9 bytes a second."""
        return self.bandwidth_gb_s / self.channels


@dataclass(frozen=True)
class Board:
    """One FPGA board.

    Attributes:
        name: what `--board` takes.
        title: the name on the box.
        vendor: whose tools build for it.
        family: device family.
        device: the die, as its data sheet calls it.
        part: ordering code as the vendor's tools take it.
        platform: Vitis platform that `v++ --platform` takes; empty where there is none.
        flow_target: which HLS flow packs the engine; "open" is Yosys and nextpnr.
        weights: where program and weights live.
        clock_mhz: the engine clock that is aimed at; a target, not a measurement.
        axi_beat_bytes: bytes of one beat of the AXI4 master.
        max_utilisation: the share of each resource that an engine may take, 0 to 1.
        logic_cells: the vendor's logic cell count, which is no LUT count.
        lut: look-up tables.
        lut_inputs: inputs of each look-up table.
        ff: flip-flops.
        bram: block RAMs of `bram_kbit` each.
        bram_kbit: Kibit of one block RAM, parity bits included: 36 (AMD) or 18 (ECP5's EBR).
        uram: UltraRAMs of 288 Kibit.
        dsp: hardware multipliers of `dsp_kind`.
        dsp_kind: key of `DSP_KINDS`.
        slrs: super logic regions (dies side by side); 1 on a single die.
        memory: off-chip memory.
        sources: the proof of every figure.
        text: the board file; a build on a user's own board carries it.
        bundled: whether flow brings the board, so that its name is enough.
    """

    name: str
    title: str
    vendor: Vendor
    family: str
    device: str
    part: str
    platform: str
    flow_target: FlowTarget
    weights: WeightStore
    clock_mhz: float
    axi_beat_bytes: int
    max_utilisation: float
    logic_cells: int
    lut: int
    lut_inputs: int
    ff: int
    bram: int
    bram_kbit: int
    uram: int
    dsp: int
    dsp_kind: str
    slrs: int
    memory: Memory
    sources: tuple[Source, ...]
    text: str = field(default="", repr=False, compare=False)
    bundled: bool = field(default=True, compare=False)

    @property
    def bram18(self) -> int:
        """Block RAM in units of 18 Kibit; an AMD block of 36 Kibit splits into two."""
        return self.bram * (self.bram_kbit // 18)

    @property
    def products_per_dsp(self) -> int:
        """Products of an activation and a weight that one hardware multiplier makes in a cycle."""
        return DSP_KINDS[self.dsp_kind].products

    @property
    def product_spacing(self) -> int:
        """Bits between the two products packed into one multiplier; 0 where there is one."""
        return DSP_KINDS[self.dsp_kind].spacing

    @property
    def multipliers(self) -> int:
        """Products a cycle if every hardware multiplier were in the array."""
        return self.dsp * self.products_per_dsp

    @property
    def on_chip_bytes(self) -> int:
        """Bytes of block RAM and UltraRAM together, parity bits counted as data."""
        return (self.bram * self.bram_kbit + self.uram * _URAM_KBIT) * 1024 // 8

    def weight_bytes_per_cycle(self, clock_mhz: float | None = None) -> float:
        """Bytes of weights that one AXI4 master can fetch in an engine cycle, at peak.

        It is `min(axi_beat_bytes, channel bandwidth / clock)`: one master reaches one channel at a time.
        """
        clock = self.clock_mhz if clock_mhz is None else clock_mhz
        return min(float(self.axi_beat_bytes), self.memory.channel_gb_s * 1000.0 / clock)

    def source(self, figure: str) -> Source:
        """Return the document behind `figure`, a key of the board file such as `resources.lut`.

        Raises:
            FlowError: the board has no such figure.
        """
        for source in self.sources:
            if figure in source.figures:
                return source
        known = [name for source in self.sources for name in source.figures]
        hint = _near(figure, known)
        raise FlowError(f"board {self.name}: no figure {figure!r}; expected one of {', '.join(known)}{hint}")


class _Reader:
    """Takes typed values out of a parsed TOML table by dotted key and collects every fault on the way."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table
        self.faults: list[str] = []
        self.seen: list[str] = []

    def _get(self, key: str, expected: str) -> Any:
        self.seen.append(key)
        value: Any = self._table
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                self.faults.append(f"{key}: missing; expected {expected}; add the key")
                return None
            value = value[part]
        return value

    def _fault(self, key: str, value: object, expected: str) -> None:
        self.faults.append(f"{key}: found {value!r}; expected {expected}; correct the value")

    def text(self, key: str, *, may_be_empty: bool = False) -> str:
        expected = "a string" if may_be_empty else "a string that is not empty"
        value = self._get(key, expected)
        if isinstance(value, str) and (value or may_be_empty):
            return value
        if value is not None:
            self._fault(key, value, expected)
        return ""

    def choice(self, key: str, choices: Iterable[str]) -> str:
        options = tuple(choices)
        expected = f"one of {', '.join(options)}"
        value = self._get(key, expected)
        if value in options:
            return str(value)
        if value is not None:
            self._fault(key, value, expected)
        return options[0]

    def integer(self, key: str, minimum: int = 1) -> int:
        expected = f"an integer of at least {minimum}"
        value = self._get(key, expected)
        # bool is an int to Python; a TOML boolean is no count.
        if isinstance(value, int) and not isinstance(value, bool) and value >= minimum:
            return value
        if value is not None:
            self._fault(key, value, expected)
        return minimum

    def real(self, key: str, maximum: float) -> float:
        expected = f"a number above 0 and at most {maximum:g}"
        value = self._get(key, expected)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= maximum:
            return float(value)
        if value is not None:
            self._fault(key, value, expected)
        return maximum

    def unknown_keys(self) -> None:
        known = [*self.seen, "sources"]
        for key in _leaves(self._table):
            if key not in known:
                self.faults.append(
                    f"{key}: unknown key; expected a key of another board file{_near(key, known)}"
                )

    def sources(self, figures: list[str]) -> tuple[Source, ...]:
        """Read `[[sources]]` and check that together they prove exactly `figures`."""
        entries = self._get("sources", "a list of [[sources]] tables")
        if not isinstance(entries, list):
            return ()
        read = [self._source(index, entry) for index, entry in enumerate(entries)]
        sources = tuple(source for source in read if source is not None)
        proven = [figure for source in sources for figure in source.figures]
        for figure in figures:
            count = proven.count(figure)
            if count != 1:
                self.faults.append(
                    f"{figure}: {count} sources; expected exactly one; name it in one [[sources]]"
                )
        for figure in proven:
            if figure not in figures:
                hint = _near(figure, figures)
                self.faults.append(f"sources: {figure!r} is no figure; expected the key of a figure{hint}")
        return sources

    def _source(self, index: int, entry: object) -> Source | None:
        keys = ("document", "title", "place")
        expected = "a table with the strings document, title and place and the list figures"
        if not isinstance(entry, dict) or set(entry) != {*keys, "figures"}:
            self._fault(f"sources[{index}]", entry, expected)
            return None
        texts, figures = [entry[key] for key in keys], entry["figures"]
        strings = [*texts, *figures] if isinstance(figures, list) else [None]
        if not all(isinstance(text, str) and text for text in strings):
            self._fault(f"sources[{index}]", entry, expected)
            return None
        return Source(texts[0], texts[1], texts[2], tuple(figures))


def _leaves(table: dict[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        keys.extend(_leaves(value, f"{key}.") if isinstance(value, dict) else [key])
    return keys


def _near(name: str, names: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(names), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""


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


def _memory(reader: _Reader) -> Memory:
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


def _board(reader: _Reader) -> Board:
    board = Board(
        name=reader.text("name"),
        title=reader.text("title"),
        vendor=cast(Vendor, reader.choice("vendor", get_args(Vendor))),
        family=reader.text("family"),
        device=reader.text("device"),
        part=reader.text("part"),
        platform=reader.text("platform", may_be_empty=True),
        flow_target=cast(FlowTarget, reader.choice("flow_target", get_args(FlowTarget))),
        weights=cast(WeightStore, reader.choice("weights", get_args(WeightStore))),
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
        sources=reader.sources(list(FIGURES)),
    )
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
    reader = _Reader(table)
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
        hint = _near(name.lower(), names)
        raise FlowError(f"board {name!r}: unknown; expected one of {', '.join(names)}{hint}")
    return read_board(folder / f"{name.lower()}.toml")
