"""`flow sim`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flow import console
from flow.cli.base import EXISTING, Interrupted, config_option, json_option, main
from flow.errors import FlowError


@main.command(short_help="Simulate a build and compare every bit.")
@click.argument("build", type=EXISTING)
@click.option(
    "--backend",
    default="csim",
    show_default=True,
    metavar="NAME",
    help="golden (numpy), csim (the emitted C++, compiled by g++), cosim (that C++ behind its ports, in Verilator) or "
    "rtl (the emitted Verilog, cycle by cycle).",
)
@click.option(
    "--inputs",
    type=EXISTING,
    help="An .npz with the model's inputs by name (leading axis = samples), and `labels` if there are any.",
)
@click.option(
    "--outputs",
    type=EXISTING,
    help="Write an .npz: each output dequantised, and its raw integers under NAME__int.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Stimuli to draw where there are no --inputs.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the stimuli.")
@click.option("--trace", is_flag=True, help="Report each step's SQNR against the float model.")
@click.option(
    "--vitis-include",
    type=EXISTING,
    help="Compile with the headers of this Vitis HLS installation instead of ours.",
)
@click.option("--waves", type=EXISTING, help="With cosim or rtl: write the waveform to this file (FST).")
@click.option(
    "--timeline", type=EXISTING, help="With rtl: draw which step took which cycles to this file (SVG)."
)
@click.option(
    "--watch", is_flag=True, help="Lower and check again whenever the model, a template or a header changes."
)
@click.option("--model", type=EXISTING, help="With --watch: the model, where flow does not remember it.")
@click.option(
    "--templates", type=EXISTING, metavar="DIR", help="With --watch: templates that replace flow's own."
)
@config_option
@json_option
def sim(
    build: Path, backend: str, inputs: Path | None, outputs: Path | None, samples: int, seed: int, trace: bool,
    vitis_include: Path | None, waves: Path | None, timeline: Path | None, watch: bool,
    model: Path | None, templates: Path | None, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run BUILD and demand that every output bit equals the golden model's. Exit status 1 if one differs.

    \b
    flow sim build                                            # seeded stimuli, corner cases included
    flow sim build --backend csim --inputs test.npz --json
    flow sim build --trace                                    # where does precision go?
    flow sim build --backend cosim --waves build.fst          # stalls, registers, resets
    flow sim build --backend rtl --timeline build.svg         # cycles of every step
    flow sim build --watch --templates mine                   # while editing templates

    Under --watch, Ctrl-C ends with the status of the last check; in the midst of one, with 130.
    """
    from flow.emit.build import Build
    from flow.golden.samples import load_samples
    from flow.golden.stimulus import stimulus
    from flow.resources import check_place
    from flow.sim.outputs import write_outputs
    from flow.sim.simulate import Known, bench_of, simulate
    from flow.sim.timeline import timeline_svg

    _check_together(watch, as_json, [model, config, templates])
    for place, option in ((outputs, "--outputs"), (waves, "--waves"), (timeline, "--timeline")):
        if place is not None:
            check_place(place, option)
    if timeline is not None and backend != "rtl":
        raise FlowError(
            f"--timeline: found --backend {backend}; expected rtl, which alone counts cycles; add --backend rtl"
        )
    known: Known | None = {} if watch else None

    def check(opened: Build) -> int:
        drawn = (
            load_samples(inputs, opened.graph, labelled=True)
            if inputs is not None
            else stimulus(opened.graph, samples, seed)
        )
        with console.counter() as tell:
            report = simulate(
                opened, backend, drawn, trace=trace, vitis_include=vitis_include, bench=bench_of(backend, seed, waves),
                progress=tell, known=known,
            )  # fmt: skip
        if outputs is not None:
            write_outputs(outputs, report.outputs)
        if timeline is not None:
            timeline.write_text(timeline_svg(opened.path.name, report.cycles), encoding="utf-8")
        if as_json:
            console.print_json(report.to_json())
        else:
            console.show_sim(report)
        return report.mismatches

    if watch:
        sys.exit(_watch(build, model, config, templates, check))
    if check(Build.open(build)):
        sys.exit(1)


def _check_together(watch: bool, as_json: bool, sources: list[Path | None]) -> None:
    """Refuse options that do not go with `watch`, or with its absence: then `sources` are for nothing."""
    if watch and as_json:
        raise FlowError(
            "flow sim: found --watch with --json, which prints one object; expected one of the two"
        )
    if not watch and any(sources):
        raise FlowError(
            "flow sim: found --model, --templates or --config without --watch; expected a build that holds what it "
            "was lowered from; add --watch, or lower again"
        )


def _watch(
    build: Path, model: Path | None, config: Path | None, templates: Path | None, check: Callable[[Any], int]
) -> int:
    """Watch until a signal; the status to end with."""
    from flow.emit.recipe import recipe_of
    from flow.sim.watch import Watch

    watching = Watch(
        build, recipe_of(build, model, config, templates), check, console.print_note, console.print_error
    )
    try:
        watching.run()
    except KeyboardInterrupt as signalled:
        asked = not isinstance(signalled, Interrupted) or signalled.status == 128 + signal.SIGINT
        if not (asked and watching.waiting):
            raise
    return watching.status


# fmt: off
