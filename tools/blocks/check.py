"""Holds a figure to the Verilog: what it names is there, and where it draws a wire, one leads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase

from blocks.description import Box, Figure, Wire
from blocks.verilog import Module

HOPS = 4
"""Assignments that may lie between the ends of a wire; instances lie between none."""


def faults(figure: Figure, modules: Mapping[str, Module]) -> list[str]:
    """Whatever a figure says that the Verilog does not."""
    if figure.module not in modules:
        return [f"{figure.name}: found the module '{figure.module}'; expected one that flow writes"]
    found = [fault for box in figure.boxes for fault in _box(figure, box, modules)]
    keys = [box.key for box in figure.boxes]
    found += [f"{figure.name}: found two boxes '{key}'" for key in sorted(set(keys)) if keys.count(key) > 1]
    if not found:
        found += [fault for wire in figure.wires for fault in _wire(figure, wire, modules)]
    shown = {box.path[0] for box in figure.boxes if box.path} | set(figure.leaves_out.split())
    there = set(modules[figure.module].instances)
    if any(box.path for box in figure.boxes) or figure.leaves_out:
        found += [
            f"{figure.name}: found no box for '{name}' of {figure.module}" for name in sorted(there - shown)
        ]
    found += [
        f"{figure.name}: '{name}' is left out, but not there"
        for name in figure.leaves_out.split()
        if name not in there
    ]
    for frame in figure.frames:
        found += [
            f"{figure.name}: found no box '{key}' for a frame"
            for key in frame.boxes.split()
            if key not in keys
        ]
        if frame.key and _instance(figure, frame.key, modules) is None:
            found.append(f"{figure.name}: found a frame of '{frame.key}', which is no instance")
    return found


def missing(figures: Collection[Figure], modules: Mapping[str, Module]) -> list[str]:
    """Modules that stand in no figure, neither as a box nor as the module of one."""
    drawn = {figure.module for figure in figures} | {box.module for figure in figures for box in figure.boxes}
    drawn |= {
        _instance(figure, frame.key, modules) or ""
        for figure in figures
        for frame in figure.frames
        if frame.key
    }
    return sorted(set(modules) - drawn)


def holder(
    figure: Figure, source: Box, target: Box, modules: Mapping[str, Module]
) -> tuple[Module, str, str]:
    """The module in which a wire lies, and the instances there at its ends, empty for the module itself."""
    depth = 0
    while depth < min(len(source.path), len(target.path)) - 1 and source.path[depth] == target.path[depth]:
        depth += 1
    at = modules[figure.module]
    for name in source.path[:depth]:
        at = modules[at.instances[name].module]
    return at, "".join(source.path[depth : depth + 1]), "".join(target.path[depth : depth + 1])


def width(figure: Figure, wire: Wire, modules: Mapping[str, Module]) -> str:
    """Of a wire's net, as `Module.width` writes it; empty where the wire names none, or one of one bit."""
    if not wire.net or wire.bare:
        return ""
    at, _, _ = holder(figure, figure.box(wire.source), figure.box(wire.targets.split()[0]), modules)
    return at.width(wire.net)


def _instance(figure: Figure, key: str, modules: Mapping[str, Module]) -> str | None:
    at = modules[figure.module]
    for name in key.split("."):
        if name not in at.instances:
            return None
        at = modules[at.instances[name].module]
    return at.name


def _constant(figure: Figure, box: Box, name: str, modules: Mapping[str, Module]) -> str | None:
    """Text of a parameter or constant, from the box outwards, without spaces."""
    holders = [modules[figure.module]]
    found = None
    for instance in box.path:
        there = holders[-1].instances.get(instance)
        if there is None:
            return None
        found = there.parameters.get(name)
        holders.append(modules[there.module])
    for module in () if found is not None else reversed(holders):
        if name in module.constants:
            return "".join(module.constants[name].split())
    return found


def _box(figure: Figure, box: Box, modules: Mapping[str, Module]) -> Iterator[str]:
    where = f"{figure.name}: box '{box.key}'"
    if (bool(box.module) + bool(box.signals) + bool(box.ports)) != 1:
        yield f"{where}: expected one of module, signals and ports"
    if box.module and _instance(figure, box.key, modules) != box.module:
        yield f"{where}: found {_instance(figure, box.key, modules)} in {figure.module}; expected {box.module}"
    module = modules[figure.module]
    for pair in box.supposes.split():
        name, _, text = pair.partition("=")
        found = _constant(figure, box, name, modules)
        if found != text:
            yield f"{where}: supposes {name} = {text}; found {found}"
    for name in box.signals.split():
        if name not in module.nets:
            yield f"{where}: found no wire or register '{name}' in {figure.module}"
    for name in box.ports.split():
        if not _ports(module, name):
            yield f"{where}: found no port '{name}' of {figure.module}"
    for name in box.beyond.split():
        beside = [m for m in modules.values() if {name, figure.module} <= _inside(m)]
        if not any(name in _inside(above) for above in _above(figure.module, modules)):
            yield f"{where}: found no '{name}' beside {figure.module}, nor beside what holds it"
        elif beside and not any(_joined(m, figure.module, box, name, modules) for m in beside):
            yield f"{where}: found no way between these ports and '{name}' in {beside[0].name}"


def _joined(at: Module, name: str, box: Box, other: str, modules: Mapping[str, Module]) -> bool:
    """Whether a module leads something from a box's ports of one instance to another one, or back."""
    module = modules[name]
    ports = frozenset(port for pattern in box.ports.split() for port in _ports(module, pattern))

    def names(instances: str, direction: str, only: frozenset[str] | None) -> frozenset[str]:
        return frozenset(
            net
            for instance in at.instances.values()
            if instance.module == instances
            for port, nets in instance.ports.items()
            if modules[instances].directions[port] == direction and (only is None or port in only)
            for net in nets
        )

    return at.reaches(names(name, "output", ports), names(other, "input", None), HOPS) or at.reaches(
        names(other, "output", None), names(name, "input", ports), HOPS
    )


def _inside(module: Module) -> set[str]:
    return {instance.module for instance in module.instances.values()}


def _above(name: str, modules: Mapping[str, Module]) -> Iterator[Module]:
    """Modules that hold one of a name, directly or not."""
    for module in modules.values():
        if name in _inside(module):
            yield module
            yield from _above(module.name, modules)


def _ports(module: Module, pattern: str) -> frozenset[str]:
    return frozenset(name for name in module.directions if fnmatchcase(name, pattern))


def _ends(
    module: Module, box: Box, instance: str, direction: str, modules: Mapping[str, Module]
) -> frozenset[str]:
    """Names in the wire's module that a box drives (`output`) or takes (`input`)."""
    if instance:
        there = module.instances[instance]
        return frozenset(
            name
            for port, names in there.ports.items()
            if modules[there.module].directions[port] == direction
            for name in names
        )
    if box.ports:
        opposite = "input" if direction == "output" else "output"
        found = frozenset(name for pattern in box.ports.split() for name in _ports(module, pattern))
        return frozenset(name for name in found if module.directions[name] == opposite)
    return frozenset(box.signals.split())


def _wire(figure: Figure, wire: Wire, modules: Mapping[str, Module]) -> Iterator[str]:
    source = figure.box(wire.source)
    for key in wire.targets.split():
        target = figure.box(key)
        at, out, into = holder(figure, source, target, modules)
        ways = [(source, out, target, into, wire.net)]
        if wire.back:
            ways.append((target, into, source, out, wire.back))
        for first, first_at, second, second_at, net in ways:
            where = f"{figure.name}: wire from '{first.key}' to '{second.key}'"
            begins = _ends(at, first, first_at, "output", modules)
            if net and net not in at.nets:
                yield f"{where}: found no net '{net}' in {at.name}"
            elif net and net not in begins:
                yield f"{where}: '{net}' does not come from there; from there come {' '.join(sorted(begins))}"
            elif not at.reaches(
                frozenset({net}) if net else begins, _ends(at, second, second_at, "input", modules), HOPS
            ):
                yield f"{where}: found no way in {at.name}"
