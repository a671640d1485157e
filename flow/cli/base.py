"""What every command shares: the group that turns errors into messages and exit statuses, and common options."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flow import __version__, console
from flow.errors import FlowError

if TYPE_CHECKING:  # a command loads what it needs
    from flow.boards import Board

Command = TypeVar("Command", bound=Callable[..., Any])
EXISTING = click.Path(path_type=Path)


class Interrupted(KeyboardInterrupt):
    """A signal that asks flow to stop; unwinds like Ctrl-C, so that nothing half-written is left."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


class Group(click.Group):
    """Turns what a user can meet into one message and an exit status: errors 2, signals 128 + their number."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FlowError as error:
            console.print_error(str(error))
        except MemoryError:
            console.print_error(
                "memory: found none left; expected a machine with more; use a smaller model or fewer samples"
            )
        except BrokenPipeError:
            console.end_without_reader()
        except OSError as error:
            where = error.filename or "flow"
            console.print_error(
                f"{where}: found {error.strerror or error}; expected files that can be read and written, with room; "
                "check the path and the space left"
            )
        except KeyboardInterrupt as error:
            return _interrupted(ctx, error)
        except RuntimeError as error:
            # What is raised while Python names the attributes of a class, as in an import, comes wrapped.
            if isinstance(error.__cause__, KeyboardInterrupt):
                return _interrupted(ctx, error.__cause__)
            raise
        return ctx.exit(2)


def _interrupted(ctx: click.Context, error: KeyboardInterrupt) -> Any:
    console.print_note("interrupted")
    return ctx.exit(error.status if isinstance(error, Interrupted) else 128 + signal.SIGINT)


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."
    )(command)


def config_option(command: Command) -> Command:
    """`--config`."""
    text = "HF-style config.json; needed for a state_dict or .safetensors."
    return click.option("--config", type=EXISTING, help=text)(command)


def board_file_option(*, several: bool) -> Callable[[Command], Command]:
    """`--board-file`, once or several times."""
    text = "A board of your own: a file like those of `flow boards show NAME --toml`"
    return click.option(
        "--board-file",
        type=EXISTING,
        multiple=several,
        metavar="NAME.toml",
        help=text + ("; repeatable." if several else "."),
    )


def read_boards(names: Iterable[str], files: Iterable[Path]) -> list[Board]:
    """Boards by name and by file, each once."""
    from flow.boards import load_board, read_board

    found = [*(load_board(name) for name in names), *(read_board(file) for file in files)]
    return list({board.name: board for board in found}.values())


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="flow")
def main() -> None:
    """Compile a pruned and quantized PyTorch transformer into an FPGA accelerator, and prove it bit for bit.

    \b
    flow lower models/digits_vit_hp80.pt2 --board u250 -o build
    flow sim build --backend csim --inputs models/digits_test.npz
    """
