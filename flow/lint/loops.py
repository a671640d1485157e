"""Rules about loops: each has a label, and a trip count that is static or asserted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from flow.lint.rules import Fault, at, rule
from flow.lint.source import Node, Pragma, Source, tokens_of

_UP, _DOWN = frozenset({"<", "<=", "!="}), frozenset({">", ">=", "!="})
_RISING, _FALLING = frozenset({"++", "+=", "*=", "<<="}), frozenset({"--", "-=", "/=", ">>="})
_ASSIGNING = _RISING | _FALLING | {"=", "%=", "&=", "|=", "^="}
_WORDS = frozenset({
    "int", "unsigned", "signed", "char", "short", "long", "bool", "const", "sizeof", "true", "false", "std",
    *(f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)), "size_t",
})  # fmt: skip


@dataclass(frozen=True)
class Counter:
    """A counted loop: its variable runs from `first` while `bound` holds, in one direction."""

    name: str
    first: tuple[str, ...]
    bound: tuple[str, ...]
    step: tuple[str, ...]


def is_constant(given: Sequence[str], source: Source, also: Collection[str] = ()) -> bool:
    """Whether an expression is known when compiling: of numbers, constants, constexpr functions and names in `also`."""
    tokens = list(given)
    for i, token in enumerate(tokens):
        if not _is_name(token) or token in _WORDS:
            continue
        called = tokens[i + 1 : i + 2] == ["("]
        if token in source.constants or token in also or (called and token in source.constexpr_functions):
            continue
        if tokens[i + 1 : i + 2] and tokens[i + 1] in (".", "->", "::"):
            continue  # the member's name decides
        return False
    return bool(tokens)


def header_of(loop: Node) -> list[list[str]]:
    """The three parts of a `for`, each token by token."""
    depth = 0
    parts: list[list[str]] = [[]]
    for token in loop.tokens[1:]:
        depth += token in "([{"
        depth -= token in ")]}"
        if depth == 0:
            break
        if depth == 1 and token == ";":
            parts.append([])
        elif not (depth == 1 and token == "(" and parts == [[]]):
            parts[-1].append(token)
    return parts


def split(tokens: Sequence[str], separator: str) -> list[list[str]]:
    """Parts of an expression between separators outside brackets."""
    depth = 0
    parts: list[list[str]] = [[]]
    for token in tokens:
        depth += token in "([{"
        depth -= token in ")]}"
        if depth == 0 and token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def counter_of(loop: Node) -> Counter | None:
    """What a loop counts, or None where nothing says that it ends."""
    if loop.kind != "FOR_STMT":
        return None
    parts = header_of(loop)
    if len(parts) != 3:
        return None
    first, condition, step = parts
    names = [token for token in step if _is_name(token)]
    operators = [token for token in step if token in _RISING | _FALLING]
    if not names or len(operators) != 1 or "," in step:
        return None
    name, rises = names[0], operators[0] in _RISING
    if _changes(name, loop):
        return None
    for part in split(condition, "&&"):
        allowed = _UP if rises else _DOWN
        if len(part) > 2 and part[0] == name and part[1] in allowed and not _changed_in(part[2:], loop):
            start = first[first.index("=") + 1 :] if "=" in first else []
            return Counter(name, tuple(start), tuple(part[2:]), tuple(step[step.index(operators[0]) + 1 :]))
    return None


def _changes(name: str, loop: Node) -> bool:
    """Whether the body of a loop assigns a variable, `a` or `a.b`."""
    body = loop.body
    tokens = body.tokens if body is not None else []
    wanted = tokens_of(name)
    for i, token in enumerate(tokens):
        end = i + len(wanted)
        if token != wanted[0] or tokens[i:end] != wanted or tokens[i - 1] in (".", "->"):
            continue
        if tokens[i - 1] in ("++", "--") or (
            tokens[end : end + 1] and tokens[end] in (*_ASSIGNING, "++", "--")
        ):
            return True
    return False


def _changed_in(tokens: list[str], loop: Node) -> bool:
    """Whether the body of a loop assigns something that its bound reads."""
    names = operands(tokens, frozenset())
    return any(_changes(part, loop) for name in names for part in (name, name.split(".")[0]))


def _is_name(token: str) -> bool:
    return token[0].isalpha() or token[0] == "_"


def is_static(loop: Node, source: Source) -> bool:
    """Whether the number of iterations is known when compiling."""
    counter = counter_of(loop)
    if counter is None:
        return False
    step = [token for token in counter.step if token != counter.name]
    fixed = {
        outer.name
        for around in loop.ancestors()
        if around.kind == "FOR_STMT"
        and _is_unrolled(around, source)
        and (outer := counter_of(around)) is not None
    }
    parts = (counter.first, counter.bound, step)
    return all(not part or is_constant(part, source, fixed) for part in parts) and bool(counter.first)


def _is_unrolled(loop: Node, source: Source) -> bool:
    """Whether a loop's variable is a constant in each copy of its body."""
    whole = any(p.name == "UNROLL" and "factor" not in p.options for p in pragmas_of(loop, source))
    return whole and is_static(loop, source)


def pragmas_of(loop: Node, source: Source) -> list[Pragma]:
    """The pragmas that stand in a loop's own block."""
    return source.pragmas_in.get(loop.body, []) if loop.body is not None else []


def asserted_before(loop: Node) -> list[tuple[str, list[str]]]:
    """(left, right) of every `assert(left <= right)` between the function's beginning and a loop."""
    function = loop.function
    if function is None:
        return []
    text = function.content[function.start : loop.start].decode()
    found = []
    for match in re.finditer(r"\bassert\s*\(", text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        for part in split(tokens_of(text[match.end() : end - 1]), "&&"):
            for sign in ("<=", "<"):
                sides = split(part, sign)
                if len(sides) == 2:
                    found.append(("".join(sides[0]), sides[1]))
    return found


def operands(given: Sequence[str], constants: Collection[str]) -> set[str]:
    """The variables of an expression: `record.depth` for a member, without constants and functions."""
    tokens, found, i = list(given), set(), 0
    while i < len(tokens):
        if not _is_name(tokens[i]):
            i += 1
            continue
        end = i + 1
        while end + 1 < len(tokens) and tokens[end] in (".", "->", "::"):
            end += 2
        name = "".join(tokens[i:end])
        called = tokens[end : end + 1] == ["("]
        if not called and not {name, tokens[end - 1]} & ({*constants} | _WORDS):
            found.add(name)
        i = end
    return found


@rule("loop-label", "every loop has a label", "UG1399, HLS Optimization Directives (location function/label)")
def loop_label(source: Source) -> Iterator[Fault]:
    """Reports and directives name a loop by its label."""
    for loop in source.loops:
        if loop.parent is None or loop.parent.kind != "LABEL_STMT":
            yield at(
                loop, "a loop without a label", "`name: for (…)`", "give it a name that reports can show"
            )


@rule(
    "loop-bound",
    "every loop ends after a static or asserted number of turns",
    "UG1399, Assertions; Working with Variable Loop Bounds",
)
def loop_bound(source: Source) -> Iterator[Fault]:
    """A static trip count; or a counter with a fixed bound, LOOP_TRIPCOUNT, and an assert that limits the bound."""
    for node in source.nodes:
        if node.kind in ("GOTO_STMT", "INDIRECT_GOTO_STMT"):
            yield at(node, "goto", "a loop", "write it as a for loop")
    for loop in source.loops:
        counter = counter_of(loop)
        if counter is None:
            found = f"{' '.join(loop.tokens[:12])} …"
            yield at(
                loop, f"no counter that must end ({found})",
                "a for loop whose variable runs one way to a bound that stays",
                "rewrite it, or waive it with the reason why it ends",
            )  # fmt: skip
        elif not is_static(loop, source):
            yield from _variable_bound(loop, counter, source)


def _variable_bound(loop: Node, counter: Counter, source: Source) -> Iterator[Fault]:
    bound = " ".join(counter.bound)
    if not any(p.name == "LOOP_TRIPCOUNT" for p in pragmas_of(loop, source)):
        yield at(
            loop, f"the variable bound {bound} without LOOP_TRIPCOUNT", "#pragma HLS LOOP_TRIPCOUNT min=… max=…",
            "say how often it runs, so that reports have a latency",
        )  # fmt: skip
    limited = {left for left, right in asserted_before(loop) if is_constant(right, source)}
    rising = "".join(counter.bound)
    names = operands(counter.bound, source.constants) or operands(counter.first, source.constants)
    if rising not in limited and not names <= limited:
        missing = ", ".join(sorted(names - limited))
        yield at(
            loop, f"the variable bound {bound} without a limit on {missing}",
            f"assert({min(names - limited)} <= constant) before it", "state the limit, which sizes the counter",
        )  # fmt: skip


@rule(
    "unroll-bound",
    "a loop that is unrolled whole has a static trip count",
    "UG1399, Working with Variable Loop Bounds; pragma HLS unroll",
)
def unroll_bound(source: Source) -> Iterator[Fault]:
    """UNROLL without a factor on a variable bound."""
    for loop in source.loops:
        for pragma in pragmas_of(loop, source):
            if pragma.name == "UNROLL" and "factor" not in pragma.options and not is_static(loop, source):
                yield Fault(
                    pragma.file, pragma.line, "UNROLL on a loop with a variable bound", "a static trip count",
                    "bound it by a constant with a condition inside, or give a factor",
                )  # fmt: skip


@rule(
    "pipeline-inner",
    "loops inside a pipelined one have static trip counts",
    "UG1399, pragma HLS pipeline; Working with Variable Loop Bounds",
)
def pipeline_inner(source: Source) -> Iterator[Fault]:
    """A pipeline unrolls the loops inside it."""
    for loop in source.loops:
        if not any(p.name == "PIPELINE" and "off" not in p.flags for p in pragmas_of(loop, source)):
            continue
        for inner in loop.walk():
            if inner is not loop and inner in source.loops and not is_static(inner, source):
                yield at(
                    inner, "a variable bound inside a pipelined loop",
                    "a static trip count, since a pipeline unrolls it",
                    "pipeline the inner loop instead, or bound it by a constant",
                )  # fmt: skip
