"""Rules about pragmas: known, with operands that exist, where they may stand; and the kernel's interface."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from flow.lint.directives import DIRECTIVES, NAME, NUMBER, Directive, Kind
from flow.lint.rules import Fault, rule
from flow.lint.source import LOOPS, Node, Pragma, Source

_INTEGER = re.compile(r"\d+")
_ARRAYS = frozenset({"CONSTANTARRAY", "INCOMPLETEARRAY", "DEPENDENTSIZEDARRAY"})
_ARRAY_PRAGMAS = frozenset({"ARRAY_PARTITION", "ARRAY_RESHAPE", "BIND_STORAGE"})


def _fault(pragma: Pragma, found: str, expected: str, remedy: str) -> Fault:
    return Fault(pragma.file, pragma.line, found, expected, remedy)


def _known(source: Source) -> Iterator[tuple[Pragma, Directive]]:
    """Pragmas that the guide has, with what it says of them; the others are `pragma-known`'s."""
    for pragma in source.pragmas:
        directive = DIRECTIVES.get(pragma.name)
        if directive is not None:
            yield pragma, directive


@rule("pragma-known", "every HLS pragma is one of the guide's", "UG1399, HLS Pragmas")
def pragma_known(source: Source) -> Iterator[Fault]:
    """A name that the compiler would pass by with a warning."""
    for pragma in source.pragmas:
        if pragma.name not in DIRECTIVES:
            close = difflib.get_close_matches(pragma.name, DIRECTIVES, 1)
            yield _fault(
                pragma, f"#pragma HLS {pragma.name}", f"one of {', '.join(DIRECTIVES)}",
                f"did you mean {close[0]}?" if close else "look it up in the guide",
            )  # fmt: skip


@rule(
    "pragma-operand",
    "options exist, have values of their kind, and none is missing",
    "UG1399, HLS Pragmas (each pragma's syntax)",
)
def pragma_operand(source: Source) -> Iterator[Fault]:
    """Options and words of each pragma against `directives.py`."""
    for pragma, directive in _known(source):
        known = ", ".join([*directive.options, *sorted(directive.flags)]) or "none"
        for word in (*pragma.options.keys() - directive.options.keys(), *set(pragma.flags) - directive.flags):
            yield _fault(pragma, f"the option {word} of {pragma.name}", f"one of: {known}", "take it out")
        for name in directive.required:
            if name not in pragma.options and not (
                pragma.name == "DEPENDENCE" and {"true", "false"} & set(pragma.flags)
            ):
                yield _fault(pragma, f"{pragma.name} without {name}", f"{name}=…", "name it")
        for name, value in pragma.options.items():
            kind = directive.options.get(name)
            if kind is not None and not _fits(kind, value, source):
                wanted = (
                    "an integer or a constexpr name"
                    if kind == NUMBER
                    else f"one of {', '.join(sorted(kind))}"
                )
                yield _fault(pragma, f"{name}={value} in {pragma.name}", wanted, "mend the value")
        low, high = (pragma.options.get(name, "") for name in ("min", "max"))
        if _INTEGER.fullmatch(low) and _INTEGER.fullmatch(high) and int(low) > int(high):
            yield _fault(pragma, f"min={low} max={high} in {pragma.name}", "min <= max", "swap them")


def _fits(kind: Kind, value: str, source: Source) -> bool:
    if kind == NUMBER:
        return bool(_INTEGER.fullmatch(value)) or value in source.constants
    return not isinstance(kind, frozenset) or value.lower() in kind


def scope_of(pragma: Pragma, source: Source) -> tuple[str, Node | None]:
    """`function`, `loop` or `region`, or `file`, and the block."""
    block = source.block_at(pragma.file, pragma.offset)
    if block is None:
        return "file", None
    owner = block.parent
    if owner is not None and owner.kind in LOOPS and owner.body is block:
        return "loop", block
    return ("function" if owner is block.function else "region"), block


@rule(
    "pragma-place",
    "every pragma stands in the block that it speaks of",
    "UG1399, Applying Directives to the Proper Scope",
)
def pragma_place(source: Source) -> Iterator[Fault]:
    """Loop pragmas in a loop's own block, function pragmas in a function's."""
    for pragma, directive in _known(source):
        scope, _ = scope_of(pragma, source)
        if scope not in directive.scopes:
            wanted = " or ".join(sorted(directive.scopes))
            yield _fault(
                pragma,
                f"{pragma.name} in the block of a {scope}",
                f"the block of a {wanted}",
                "move it there",
            )


@rule(
    "pragma-variable",
    "variables of a pragma are in scope and of the right kind",
    "UG1399, HLS Pragmas; Applying Directives to the Proper Scope",
)
def pragma_variable(source: Source) -> Iterator[Fault]:
    """`variable=` and `port=` name something visible; arrays have the dimension; functions of ALLOCATION are called."""
    for pragma, directive in _known(source):
        _, block = scope_of(pragma, source)
        for option, value in pragma.options.items():
            if directive.options.get(option) != NAME or (option == "port" and value == "return"):
                continue
            kind = resolve(value, pragma, block)
            if kind is None:
                yield _fault(
                    pragma, f"{option}={value} in {pragma.name}", "a variable that is in scope here",
                    "name one declared above in this function, an argument, or a member",
                )  # fmt: skip
            else:
                yield from _kind(pragma, value, kind)
        if pragma.name == "ALLOCATION" and "function" in pragma.flags and block is not None:
            yield from _allocated(pragma, block, source)


def _kind(pragma: Pragma, name: str, kind: Any) -> Iterator[Fault]:
    rank, inner = 0, kind
    while inner.kind.name in _ARRAYS:
        rank, inner = rank + 1, inner.element_type.get_canonical()
    if pragma.name in _ARRAY_PRAGMAS and not rank and inner.kind.name != "POINTER":
        yield _fault(pragma, f"{pragma.name} on {name}, no array", "an array", "take it out")
    dim = pragma.options.get("dim", "")
    if _INTEGER.fullmatch(dim) and rank and int(dim) > rank:
        yield _fault(pragma, f"dim={dim} of {name}", f"0 (all) to {rank}, its dimensions", "mend the value")
    if pragma.name == "STREAM" and not rank and "stream<" not in inner.spelling:
        yield _fault(
            pragma, f"STREAM on {name} of type {inner.spelling}", "an hls::stream or an array", "take it out"
        )
    partial = pragma.options.get("type", "").lower() in ("cyclic", "block")
    if pragma.name in ("ARRAY_PARTITION", "ARRAY_RESHAPE") and partial and "factor" not in pragma.options:
        yield _fault(
            pragma,
            f"{pragma.name} type={pragma.options['type']} without factor",
            "factor=…",
            "say into how many parts",
        )


def _allocated(pragma: Pragma, block: Node, source: Source) -> Iterator[Fault]:
    """The function is called somewhere below: calls of functions that are inlined count where they end up."""
    name, seen, frontier = pragma.options.get("instances", ""), set(), [block]
    while frontier:
        for node in frontier.pop().walk():
            if node.kind == "CALL_EXPR" and node.name == name:
                return
            if node.kind == "CALL_EXPR" and node.name not in seen:
                seen.add(node.name)
                frontier += [f for f in source.functions if f.name == node.name]
    yield _fault(
        pragma, f"instances={name} in ALLOCATION", "a function that is called here", "name one that is"
    )


def resolve(name: str, pragma: Pragma, block: Node | None) -> Any:
    """The canonical type of `a.b.c` as seen from a pragma, or None where there is no such thing."""
    if block is None:
        return None
    first, *members = re.sub(r"\[[^\]]*\]", "", name).split(".")
    kind = _declared(first, pragma, block)
    for member in members:
        if kind is None:
            return None
        while kind.kind.name in (*_ARRAYS, "POINTER", "LVALUEREFERENCE"):
            kind = (kind.element_type if kind.kind.name in _ARRAYS else kind.get_pointee()).get_canonical()
        kind = next((f.type.get_canonical() for f in kind.get_fields() if f.spelling == member), None)
    while kind is not None and kind.kind.name == "LVALUEREFERENCE":
        kind = kind.get_pointee().get_canonical()
    return kind


def _declared(name: str, pragma: Pragma, block: Node) -> Any:
    function = block.function
    blocks = {block, *block.ancestors()}
    for node in function.walk() if function is not None else ():
        if node.kind == "PARM_DECL" and node.name == name and node.parent is function:
            return node.cursor.type.get_canonical()
        holder = node.parent.parent if node.parent is not None else None
        if node.kind == "VAR_DECL" and node.name == name and holder in blocks and node.start < pragma.offset:
            return node.cursor.type.get_canonical()
    owner = function.cursor.semantic_parent if function is not None else None
    return _member(owner, name) if owner is not None else None


def _member(record: Any, name: str) -> Any:
    for child in record.get_children():
        if child.kind.name == "FIELD_DECL" and child.spelling == name:
            return child.type.get_canonical()
    return None


@rule(
    "dataflow",
    "a dataflow region holds declarations and calls only",
    "UG1399, pragma HLS dataflow; Canonical Forms",
)
def dataflow(source: Source) -> Iterator[Fault]:
    """What stands between two processes belongs into one of them."""
    for pragma in source.pragmas:
        if pragma.name != "DATAFLOW":
            continue
        _, block = scope_of(pragma, source)
        for statement in block.children if block is not None else ():
            if statement.kind not in ("DECL_STMT", "CALL_EXPR", "NULL_STMT", "RETURN_STMT"):
                yield Fault(
                    statement.file, statement.line, f"`{statement.text.splitlines()[0]}` in a dataflow region",
                    "declarations and calls", "move it into one of the functions that the region calls",
                )  # fmt: skip


@rule(
    "interface",
    "every argument of the top function has its port",
    "UG1399, Defining Interfaces; pragma HLS interface",
)
def interface(source: Source) -> Iterator[Fault]:
    """One data mode for each argument, fit for its type; a register for return, and for the address of a master."""
    tops = [f for f in source.functions if f.name == source.top]
    if len(tops) != 1:
        file = next(iter(source.texts))
        yield Fault(
            file, 1, f"{len(tops)} functions {source.top}()", "one, the top level", "name the kernel so"
        )
        return
    top = tops[0]
    modes: dict[str, list[str]] = {}
    for pragma in source.pragmas:
        if pragma.name == "INTERFACE":
            modes.setdefault(pragma.options.get("port", ""), []).append(
                pragma.options.get("mode", "").lower()
            )
            if source.block_at(pragma.file, pragma.offset) is not top.body:
                yield _fault(
                    pragma, "INTERFACE outside the top function", f"it in {source.top}()", "take it out"
                )
    arguments = [child for child in top.children if child.kind == "PARM_DECL"]
    for argument in arguments:
        wanted = _wanted(argument.cursor.type.get_canonical())
        has = sorted(modes.get(argument.name, []))
        if not any(has == sorted(choice) for choice in wanted):
            yield Fault(
                argument.file, argument.line, f"{' and '.join(has) or 'no INTERFACE'} for argument {argument.name}",
                " or ".join(" and ".join(choice) for choice in wanted), "add or mend its pragma",
            )  # fmt: skip
    if "return" not in modes:
        yield Fault(
            top.file,
            top.line,
            "no INTERFACE for return",
            "s_axilite, where the host starts the kernel",
            "add it",
        )


def _wanted(kind: Any) -> tuple[tuple[str, ...], ...]:
    """Modes that an argument of a type takes."""
    if "stream<" in kind.spelling:
        return (("axis",),)
    if kind.kind.name in (*_ARRAYS, "POINTER"):
        return (("m_axi", "s_axilite"), ("s_axilite",))
    return (("s_axilite",),)
