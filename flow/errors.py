"""Every error that a user can meet.

A message reads *where: found; expected; remedy*. The command line prints it as one block and exits with
status 2; a traceback reaching the user is a defect.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FlowError(Exception):
    """Bad input or usage: the base of all errors that carry a message for the user."""


class UnsupportedError(FlowError):
    """The model holds something that cannot be lowered; names it by module path and operator."""


class VerifyError(FlowError):
    """A graph broke an invariant of the IR; names the pass that broke it."""


class FitError(FlowError):
    """The model or engine exceeds a capacity; names the resource and by how much."""


class ToolError(FlowError):
    """An outside tool (g++, Verilator, Yosys …) is missing or failed; says what to install or shows its output."""


def raise_all(kind: type[FlowError], summary: str, faults: Iterable[str]) -> None:
    """Raise one `kind` that lists every fault, or return when there is none.

    Validators collect first and raise once, so that a user mends all faults in one round.
    """
    lines = list(faults)
    if lines:
        raise kind("\n".join([summary, *(f"  - {line}" for line in lines)]))


def near(name: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """The end of a message: `; did you mean A or B?`, what of `names` could have been meant; nothing if none could.

    `cutoff` is difflib's, from 0 (anything) to 1 (equal names).
    """
    matches = difflib.get_close_matches(name, list(names), n=2, cutoff=cutoff)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
