"""What a figure of the Verilog says: boxes that are in a module, and wires between them.

`check` holds it to the Verilog, `layout` places it, `svg` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Look = Literal["logic", "memory", "outside"]


@dataclass(frozen=True)
class Box:
    """A box of a figure.

    Exactly one of these says what it stands for:

    - `module`: an instance below the figure's module; `key` is its path, `exponent.two` the instance `two` in the
      instance `exponent`;
    - `signals`: wires and registers of the figure's module itself, which the box holds or makes;
    - `ports`: the module's ports (names, `*` for any letters in them), for what lies outside.

    Attributes:
        key: names the box in wires.
        at: row and column of the figure's grid.
        text: lines below the title.
        title: in place of the module's name, which is the title otherwise.
        beyond: modules that the ports lead to; they are the title where there is none.
        span: rows and columns.
        when: the cycle in which what the box holds is there, above the box.
        times: how often the instance is there.
        memory: it is drawn as a memory.
        supposes: what the box's numbers rest on, `Name=Text` for each, without spaces: a parameter of the instance,
            or a constant of its module or of one that holds it.
    """

    key: str
    at: tuple[int, int]
    text: str = ""
    module: str = ""
    signals: str = ""
    ports: str = ""
    title: str = ""
    beyond: str = ""
    span: tuple[int, int] = (1, 1)
    when: str = ""
    times: str = ""
    memory: bool = False
    supposes: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """Instances from the figure's module down to the box."""
        return tuple(self.key.split(".")) if self.module else ()

    @property
    def heading(self) -> tuple[str, ...]:
        """Lines of the title."""
        title = self.title or self.module or "\n".join(self.beyond.split())
        return tuple((f"{title} ×{self.times}" if self.times else title).split("\n"))

    @property
    def look(self) -> Look:
        """How it is drawn."""
        return "outside" if self.ports else "memory" if self.memory else "logic"


@dataclass(frozen=True)
class Wire:
    """An arrow from a box to others.

    Attributes:
        source, targets: keys of boxes; several targets, in one text, share the trunk.
        net: where it begins: a wire, register or port of the module that holds both ends. Its width stands behind the
            label. Without it any way from one to the other will do.
        label: what goes along it; lines are parted by line breaks.
        back: a net from the target back to the source, which gives the arrow a second head.
        control: drawn thin: it says when and where, and carries no data.
        sides: the sides of the boxes where it leaves and arrives, of `l`, `r`, `t`, `b`; `.` leaves the choice.
        bare: no width behind the label.
    """

    source: str
    targets: str
    net: str = ""
    label: str = ""
    back: str = ""
    control: bool = False
    sides: str = ".."
    bare: bool = False


@dataclass(frozen=True)
class Frame:
    """A frame around boxes: an instance that is drawn from within, by its key's path; or a title of any kind."""

    title: str
    boxes: str
    key: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: of the file.
        module: what it shows from within.
        title: for those who do not see it.
        gaps: least distances between columns and between rows, in units of the layout.
        leaves_out: instances that the figure does not show; the others are all there.
    """

    name: str
    module: str
    title: str
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    frames: tuple[Frame, ...] = ()
    gaps: tuple[int, int] = (5, 5)
    leaves_out: str = ""

    def box(self, key: str) -> Box:
        """The box of a key.

        Raises:
            KeyError: there is none.
        """
        for box in self.boxes:
            if box.key == key:
                return box
        raise KeyError(f"{self.name}: found the box '{key}' named; expected one of its boxes")
