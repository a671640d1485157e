"""The `chip/` folder of a build: engine, image memory and UART shell as one design for a board without a host.

Boards that have a shell are listed in `SHELLS`. docs/chip.md describes the hardware and what travels over the UART.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flow.boards import Board
from flow.cost.image import BLOCK_BEATS, image_blocks, image_bram18, shell_bram18
from flow.cost.resources import engine_usage
from flow.emit.build import Build
from flow.emit.contexts import TOP
from flow.emit.cosim import Pin
from flow.emit.rendering import render
from flow.emit.sources import Sources
from flow.engine import Engine, interfaces
from flow.engine.ports import (
    CLOCK,
    CONTROL,
    INTERRUPT,
    MEMORY,
    RESET,
    STREAM_IN,
    STREAM_OUT,
    control_address_bits,
)
from flow.errors import FitError, FlowError

CHIP = "chip/chip.json"
"""What host and synthesis have to know of the chip; a build has a chip if it has this file."""
PROTOCOL_VERSION = 1
"""Of the requests over the UART (docs/chip.md)."""
_DETECTOR_MHZ = (10.0, 400.0)
_OSCILLATOR_MHZ = (400.0, 800.0)
_MOST_DIVIDER = 128
_CLOCK_TOLERANCE = 0.01
_BAUD_TOLERANCE = 0.02


@dataclass(frozen=True)
class Shell:
    """How a board carries a chip.

    Attributes:
        top: name of the template and of the module that it writes.
        constraints: the file of pins.
        oscillator_mhz: the board's clock.
        baud: of the UART, bits a second.
        device: nextpnr's option for the die.
        package: nextpnr's name of the package.
        speed: the speed grade.
        idle_log2: a request that stands still for 2^idle_log2 cycles is dropped; 2^21 are 84 ms at 25 MHz, 26 at 80,
            more than USB takes between two packets.
    """

    top: str
    constraints: str
    oscillator_mhz: float
    baud: int
    device: str
    package: str
    speed: int
    idle_log2: int = 21


SHELLS: dict[str, Shell] = {
    # 25 MHz, FT231X (up to 3 Mbaud, FTDI DS_FT231X), one circuit board and package for all sizes of the die: ULX3S
    # manual. 1 Mbaud, because every whole number of MHz is a multiple of it.
    f"ulx3s-{size}f": Shell("ulx3s", "ulx3s.lpf", 25.0, 1_000_000, f"{size}k", "CABGA381", 6)
    for size in (25, 45, 85)
}


@dataclass(frozen=True)
class Pll:
    """Dividers of ECP5's phase-locked loop (templates/chip/chip_clock.v) and the frequencies that they give, in MHz."""

    input_mhz: float
    input_divider: int
    feedback_divider: int
    loop_divider: int
    output_divider: int

    @property
    def detector_mhz(self) -> float:
        """Of the phase detector."""
        return self.input_mhz / self.input_divider

    @property
    def vco_mhz(self) -> float:
        """Of the voltage-controlled oscillator."""
        return self.detector_mhz * self.feedback_divider * self.loop_divider

    @property
    def output_mhz(self) -> float:
        """Of the chip's clock."""
        return self.vco_mhz / self.output_divider


def pll_for(input_mhz: float, clock_mhz: float) -> Pll:
    """The dividers whose output comes nearest to `clock_mhz`; of equals, the oscillator nearest to its middle.

    Phase detector 10 to 400 MHz, oscillator 400 to 800 MHz, dividers 1 to 128 (FPGA-DS-02012, "sysCLOCK PLL Timing").

    Raises:
        FlowError: none comes within 1 %.
    """
    low, high = _OSCILLATOR_MHZ
    found = []
    for divider in range(1, int(input_mhz / _DETECTOR_MHZ[0]) + 1):
        for multiple in range(2, int(high / input_mhz * divider) + 1):
            vco = input_mhz / divider * multiple
            output = min(_MOST_DIVIDER, max(1, round(vco / clock_mhz)))
            if low <= vco <= high:
                # The loop's own output is the detector's clock, or a small multiple of it.
                feedback = next(
                    f for f in range(1, multiple + 1) if multiple % f == 0 and multiple // f <= _MOST_DIVIDER
                )
                found.append(Pll(input_mhz, divider, feedback, multiple // feedback, output))
    best = min(
        found, key=lambda p: (round(abs(p.output_mhz - clock_mhz), 6), abs(p.vco_mhz - (low + high) / 2))
    )
    if abs(best.output_mhz - clock_mhz) > _CLOCK_TOLERANCE * clock_mhz:
        raise FlowError(
            f"clock_mhz: found {clock_mhz:g}; expected what a phase-locked loop makes of {input_mhz:g} MHz within 1 %; "
            f"the nearest is {best.output_mhz:g}"
        )
    return best


@dataclass(frozen=True)
class ChipContext:
    """What the template of a chip's top places.

    Attributes:
        engine: the engine inside.
        board: its clock is the chip's.
        shell: the board's shell.
        image_beats: beats of the image that the memory is made for.
    """

    engine: Engine
    board: Board
    shell: Shell
    image_beats: int
    top: str = TOP
    clock: str = CLOCK
    reset: str = RESET
    interrupt: str = INTERRUPT
    control: str = CONTROL
    memory: str = MEMORY
    stream_in: str = STREAM_IN
    stream_out: str = STREAM_OUT
    version: int = PROTOCOL_VERSION
    block_beats: int = BLOCK_BEATS

    @cached_property
    def pll(self) -> Pll:
        """The clock's dividers."""
        return pll_for(self.shell.oscillator_mhz, self.board.clock_mhz)

    @property
    def divider(self) -> int:
        """Cycles of one bit of the UART.

        Raises:
            FlowError: the clock gives no such rate within 2 %: a byte's last bit would be read a fifth of a bit off.
        """
        ideal = self.pll.output_mhz * 1e6 / self.shell.baud
        cycles = max(1, round(ideal))
        if abs(cycles / ideal - 1) > _BAUD_TOLERANCE:
            raise FlowError(
                f"{self.board.name}: found {self.pll.output_mhz:g} MHz for {self.shell.baud} baud; expected a multiple "
                "of it within 2 %; choose another clock_mhz"
            )
        return cycles

    @property
    def control_bits(self) -> int:
        """Of an AXI4-Lite address."""
        return control_address_bits()

    @cached_property
    def signals(self) -> tuple[Pin, ...]:
        """The engine's ports but for clock and reset."""
        pins = (Pin(signal) for interface in interfaces(self.engine) for signal in interface.signals)
        return tuple(pin for pin in pins if pin.name not in (CLOCK, RESET))

    @property
    def blocks(self) -> int:
        """Blocks of the image's memory."""
        return image_blocks(self.image_beats)

    def description(self) -> dict[str, Any]:
        """What host and synthesis have to know."""
        return {
            "top": self.shell.top,
            "constraints": self.shell.constraints,
            "device": self.shell.device,
            "package": self.shell.package,
            "speed": self.shell.speed,
            "clock_mhz": self.pll.output_mhz,
            "baud": self.shell.baud,
            "protocol": self.version,
            "image_bytes": self.blocks * self.block_beats * self.engine.beat_bytes,
            "idle_s": (1 << self.shell.idle_log2) / self.pll.output_mhz / 1e6,
        }


def preset_files(image: bytes, beat_bytes: int) -> dict[str, bytes]:
    """The image as the chip's blocks read it with `$readmemh`, by file name; whole blocks, zeros behind the end."""
    block = BLOCK_BEATS * beat_bytes
    files = {}
    for number in range(image_blocks(-(-len(image) // beat_bytes))):
        content = image[number * block : (number + 1) * block].ljust(block, b"\0")
        lines = (content[at : at + beat_bytes][::-1].hex() for at in range(0, block, beat_bytes))
        files[f"image_{number:02d}.hex"] = ("\n".join(lines) + "\n").encode()
    return files


def chip_presets(build: Build, image: bytes) -> dict[str, bytes]:
    """Presets of a build's chip for another image of the same size, by path; none where the build has no chip."""
    if CHIP not in build.manifest["files"]:
        return {}
    return {f"chip/{name}": content for name, content in preset_files(image, build.engine.beat_bytes).items()}


def check_memory(engine: Engine, board: Board, image: bytes) -> None:
    """Refuse an image that does not fit beside the engine.

    Fitting an engine has foreseen the image; here its size is known, and an engine that was given comes by no fit.

    Raises:
        FitError: blocks of the engine, the image and the shell together exceed the device's.
    """
    own = engine_usage(engine, board).bram18
    held = image_bram18(-(-len(image) // engine.beat_bytes), board)
    shell = shell_bram18(engine)
    needed = own + held + shell
    if needed > board.bram18:
        raise FitError(
            f"{board.name}: found {needed} block RAM of 18 Kibit needed: {own} by the engine, {held} by the image of "
            f"{len(image)} bytes, {shell} by the shell; expected at most {board.bram18}; "
            "use a smaller model, or an engine with fewer banks"
        )


def chip_files(
    engine: Engine, board: Board, image: bytes, *, sources: Sources | None = None
) -> dict[str, bytes]:
    """Every file of `chip/` by path relative to the build; none where the board has no shell.

    Raises:
        FlowError: the clock cannot be made, or a template fails. FitError: see `check_memory`.
    """
    shell = SHELLS.get(board.name)
    if shell is None:
        return {}
    check_memory(engine, board, image)
    sources = sources or Sources.of()
    context = ChipContext(engine, board, shell, -(-len(image) // engine.beat_bytes))
    keep = (".v", f"/{shell.constraints}")
    files = {
        s.emits: s.content
        for s in sources.copied.values()
        if s.emits.startswith("chip/") and s.emits.endswith(keep)
    }
    files[f"chip/{shell.top}.v"] = render(f"chip/{shell.top}.v.j2", context, sources).encode()
    files |= {f"chip/{name}": content for name, content in preset_files(image, engine.beat_bytes).items()}
    files[CHIP] = (json.dumps(context.description(), indent=1, sort_keys=True) + "\n").encode()
    return dict(sorted(files.items()))
