"""`flow synth`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flow import console
from flow.cli.base import EXISTING, json_option, main


@main.command(short_help="Synthesise a build with open tools; for ECP5 down to a bitstream.")
@click.argument("build", type=EXISTING)
@click.option(
    "--target",
    type=click.Choice(["xilinx", "ecp5"]),
    help="Family of devices.  [default: the board's]",
)
@click.option(
    "--place-and-route",
    is_flag=True,
    help="ECP5: place and route the whole chip with nextpnr and pack it with ecppack.",
)
@click.option(
    "--check",
    type=click.IntRange(0, 2),
    default=0,
    metavar="FRAMES",
    help="ECP5: run so many sample frames through the chip's netlist and demand golden's answers.",
)
@click.option("-o", "--output", type=EXISTING, help="Folder for the report, the netlist and the bitstream.")
@json_option
def synth(
    build: Path, target: str | None, place_and_route: bool, check: int, output: Path | None, as_json: bool
) -> None:
    """Synthesise BUILD with Yosys and compare what it takes with the estimate.

    For AMD boards, the engine module by module. For a board with a shell (docs/chip.md), the whole chip: engine, image
    memory and UART. Results are kept by content. Exit status 1 if the routed chip misses the board's clock, or a frame
    differs.

    \b
    flow synth build
    flow synth build --place-and-route -o chip                # chip/chip.bit
    flow synth build --check 1                                # the netlist against golden
    """
    from flow.emit.build import Build
    from flow.synth.chip import synth as run

    with console.spinner() as tell:
        report = run(
            Build.open(build),
            target=target,
            route=place_and_route,
            check=check,
            output=output,
            progress=tell,
        )
    if as_json:
        console.print_json(report.to_json())
    else:
        console.show_synth(report)
    if not report.timing_met or report.mismatches:
        sys.exit(1)
