"""Commands that list what flow knows: boards, templates."""

from __future__ import annotations

from pathlib import Path

import click

from flow import console
from flow.cli.base import EXISTING, json_option, main


@main.group()
def boards() -> None:
    """The boards that flow knows."""


@boards.command("list")
@json_option
def boards_list(as_json: bool) -> None:
    """List the boards with their main figures."""
    from flow.boards import list_boards, load_board

    console.show_boards([load_board(name) for name in list_boards()], as_json)


@boards.command("show")
@click.argument("name")
@click.option(
    "--toml", "as_toml", is_flag=True, help="The board's file as it is: a start for one of your own."
)
@json_option
def boards_show(name: str, as_toml: bool, as_json: bool) -> None:
    """Show every figure of a board, each with the document that it comes from.

    \b
    flow boards show u250
    flow boards show u250 --toml > mine.toml                # change it, its name too, then: --board-file mine.toml
    """
    from flow.boards import load_board

    if as_toml:
        click.echo(load_board(name).text, nl=False)
        return
    console.show_board(load_board(name), as_json)


@main.group()
def templates() -> None:
    """The templates and headers that the emitted C++ is made of."""


@templates.command("list")
@json_option
def templates_list(as_json: bool) -> None:
    """List them: name, the file of a build that each becomes, and the dataclass that a template gets as `ctx`."""
    from flow.emit.sources import Sources

    console.show_templates(Sources.of(), as_json)


@templates.command("eject")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.argument("folder", type=EXISTING, metavar="DIR")
@click.option("--force", is_flag=True, help="Overwrite files that are there already.")
def templates_eject(names: tuple[str, ...], folder: Path, force: bool) -> None:
    """Copy the files of these names, all where there is none, into DIR, to be changed there.

    \b
    flow templates eject dispatch.hpp.j2 engine/array.hpp mine
    flow lower model.pt2 --board u250 --templates mine
    """
    from flow.emit.sources import eject

    console.show_ejected(eject(names, folder, force), folder)
