"""The classes of faults: each a function from a line to the edits that put one fault into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from mutation.line import Edit, Line

Operator = Callable[[Line], Iterator[Edit]]
OPERATORS: dict[str, Operator] = {}
"""Every class by name."""
ACCUMULATORS = re.compile(r"\b(sum|squares|maximum|total|low|acc|product|length|bits|root|value_|r)\b")
"""Names of what gathers over cycles; what is not cleared there is stale."""


def operator(name: str) -> Callable[[Operator], Operator]:
    """Register a class of faults."""

    def register(function: Operator) -> Operator:
        OPERATORS[name] = function
        return function

    return register


def _replace(line: Line, index: int, text: str) -> Edit:
    token = line.tokens[index]
    return Edit(token.start, token.end, text)


def _statement(line: Line) -> bool:
    """Whether the line is one whole statement that is no declaration."""
    code = line.code.strip()
    return bool(re.match(r"[\w.\[\]>*+&|-]*(\[.*\])?[\w.]*\s*([-+|&*]?=)\s.*;$|(\+\+|--)[\w.]+;$", code))


def _drop(line: Line) -> Edit:
    start = len(line.code) - len(line.code.lstrip())
    return Edit(start, len(line.code), ";")


@operator("bound")
def bound(line: Line) -> Iterator[Edit]:
    """A loop that runs once too often or too seldom, at its beginning or its end."""
    if not line.is_for and not line.code.strip().startswith("while ("):
        return
    for index in line.find("<", "<=", ">", ">="):
        end = line.operand_end(index + 1)
        if end is None:
            continue
        place = line.tokens[end - 1].end
        yield Edit(place, place, " + 1")
        yield Edit(place, place, " - 1")
    if line.is_for:
        for match in re.finditer(r" = 0;", line.code):
            yield Edit(match.start(), match.end(), " = 1;")


@operator("compare")
def compare(line: Line) -> Iterator[Edit]:
    """`<` for `<=`, `==` for `!=`, and the other way round."""
    if line.is_for:
        return
    other = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
    for index in line.find(*other):
        yield _replace(line, index, other[line.tokens[index].text])


@operator("shift")
def shift(line: Line) -> Iterator[Edit]:
    """A shift by one more or one less."""
    for index in line.find("<<", ">>"):
        end = line.operand_end(index + 1)
        if end is None:
            continue
        amount, first = line.slice(index + 1, end), line.tokens[index + 1].start
        for by in ("+ 1", "- 1"):
            yield Edit(first, line.tokens[end - 1].end, f"(({amount}) {by})")


PAIRS: Mapping[str, str] = {
    a: b
    for pair in (
        "low high", "first second", "operand0 operand1", "Operand0 Operand1", "rows0 rows1", "constants0 constants1",
        "shift0 shift1", "bits0 bits1", "space0 space1", "base0 base1", "epsilon_low epsilon_high", "key_bank key_line",
        "query_base key_base", "rounds chunks", "planes depth", "tile line", "abreast shift",
        "source_base base", "sum low",
    )
    for a, b in (pair.split(), pair.split()[::-1])
}  # fmt: skip


@operator("swap")
def swap(line: Line) -> Iterator[Edit]:
    """One operand, bank or branch for its counterpart."""
    for index, token in enumerate(line.tokens):
        if token.text in PAIRS:
            yield _replace(line, index, PAIRS[token.text])
    for index in line.find("-"):
        end = line.operand_end(index + 1, frozenset({"*", "/", "%"}))
        left = index - 1
        if end is not None and line.tokens[left].is_name:
            while left >= 2 and line.tokens[left - 1].text in (".", "->"):
                left -= 2
            first = line.slice(left, index)
            yield Edit(
                line.tokens[left].start, line.tokens[end - 1].end, f"{line.slice(index + 1, end)} - {first}"
            )
    branches = re.search(r"\? ([^?:]+) : ([^?:;]+?)([;,)]|$)", line.code)
    if branches:
        yield Edit(branches.start(), branches.end(), f"? {branches[2]} : {branches[1]}{branches[3]}")


@operator("bank")
def bank(line: Line) -> Iterator[Edit]:
    """Bank for line, lane for word: quotient for remainder, and a neighbour for the bank itself."""
    for index in line.find("/", "%"):
        yield _replace(line, index, "%" if line.tokens[index].text == "/" else "/")
    for match in re.finditer(r"\[bank\]", line.code):
        yield Edit(match.start(), match.end(), "[bank ^ 1]")


@operator("saturation")
def saturation(line: Line) -> Iterator[Edit]:
    """A result that wraps instead of saturating, or saturates a step off."""
    for index, token in enumerate(line.tokens):
        if token.text in ("saturate", "requantise") and line.tokens[index + 1 : index + 2]:
            found = line.arguments(index + 1) if line.tokens[index + 1].text == "(" else None
            if found is None or line.code.startswith("inline"):
                continue
            arguments, close = found
            inner = arguments[0] if token.text == "saturate" else f"rescale({', '.join(arguments[:3])})"
            yield Edit(token.start, line.tokens[close].end, f"int32_t({inner})")
    for match in re.finditer(r"(\w+) < (\w+) \? \2 : \1 > (\w+) \? \3 : \1", line.code):
        yield Edit(match.start(), match.end(), match[1])
        yield Edit(match.start(), match.end(), f"{match[1]} > {match[3]} ? {match[3]} : {match[1]}")
        yield Edit(match.start(), match.end(), f"{match[1]} < {match[2]} ? {match[2]} : {match[1]}")
    for match in re.finditer(r" - 1;$| : 0;$", line.code):
        if line.function == "saturate":
            yield Edit(match.start(), match.end(), ";" if "-" in match[0] else " : -1;")


@operator("rounding")
def rounding(line: Line) -> Iterator[Edit]:
    """Floor for round, floor for ceiling."""
    for match in re.finditer(r" \+ half\(\w+\)", line.code):
        yield Edit(match.start(), match.end(), "")
    for index, token in enumerate(line.tokens):
        if token.text == "round_shift" and not line.code.startswith("inline"):
            found = line.arguments(index + 1)
            if found is not None:
                arguments, close = found
                yield Edit(token.start, line.tokens[close].end, f"(({arguments[0]}) >> ({arguments[1]}))")
    for match in re.finditer(r" \+ ([\w.]+|\(uint32_t\(1\) << [\w.]+\)) - 1\)(?= / | >> )", line.code):
        yield Edit(match.start(), match.end(), ")")


@operator("offset")
def offset(line: Line) -> Iterator[Edit]:
    """A zero point, bias, residual or epsilon that is forgotten."""
    for match in re.finditer(r" \+ (zero|bias|epsilon|rows\.bias\[p\])\b\]?", line.code):
        yield Edit(match.start(), match.end(), "")
    for match in re.finditer(r": record\.out_zero", line.code):
        yield Edit(match.start(), match.end(), ": 0")
    for match in re.finditer(r"lane\[p\]\[t\] \+= ", line.code):
        yield Edit(match.start(), match.end(), "lane[p][t] = ")


@operator("sign")
def sign(line: Line) -> Iterator[Edit]:
    """Signed for unsigned, plus for minus."""
    other = {
        "int8_t": "uint8_t", "int16_t": "uint16_t", "int32_t": "uint32_t", "uint8_t": "int8_t", "uint16_t": "int16_t",
    }  # fmt: skip
    for index, token in enumerate(line.tokens):
        if token.text in other and line.tokens[index + 1 : index + 2] and line.tokens[index + 1].text == "(":
            yield _replace(line, index, other[token.text])
    for index in line.find("+", "-"):
        if not line.is_for:
            yield _replace(line, index, "-" if line.tokens[index].text == "+" else "+")
    for match in re.finditer(r"(?<=[=?] )-(?=\w)", line.code):
        yield Edit(match.start(), match.end(), "")


@operator("stale")
def stale(line: Line) -> Iterator[Edit]:
    """An accumulator that keeps what it held."""
    code = line.code.strip()
    cleared = re.search(r"(\S+) = (0|INT16_MIN);$", code)
    if cleared and _statement(line) and ACCUMULATORS.search(cleared[1]):
        yield _drop(line)
    for match in re.finditer(r"\w+ \? 0 : (?=\w)", line.code):
        yield Edit(match.start(), match.end(), "")
    declared = re.match(
        r"(\s*)(int64_t|int32_t|uint64_t|uint32_t|Beat|Word|ArrayOutput) [\w\[\]]+ = (\{\}|0);", line.code
    )
    if declared:
        place = len(declared[1])
        yield Edit(place, place, "static ")


@operator("reset")
def reset(line: Line) -> Iterator[Edit]:
    """A register, flag or counter that is not put back."""
    cleared = re.search(r"(\S+) = (0|false|NoStep);$", line.code.strip())
    if cleared and _statement(line) and not ACCUMULATORS.search(cleared[1]):
        yield _drop(line)


@operator("update")
def update(line: Line) -> Iterator[Edit]:
    """A register that is not written."""
    if _statement(line) and not re.search(r" = (0|false|NoStep|INT16_MIN);$", line.code):
        yield _drop(line)


@operator("beat")
def beat(line: Line) -> Iterator[Edit]:
    """A beat read or written once too often, or not at all; TLAST on the wrong one."""
    for match in re.finditer(r"\b(\w+\.read\(\)|feed_?\.take\(data\))", line.code):
        yield Edit(match.start(), match.end(), f"({match[1]}, {match[1]})")
    for match in re.finditer(r"\b\w+\.write\(.+\);", line.code):
        yield Edit(match.start(), match.end(), ";")
        yield Edit(match.start(), match.end(), f"{match[0]} {match[0]}")
    for match in re.finditer(r"\b(last|final) && ", line.code):
        yield Edit(match.start(), match.end(), "")
    for match in re.finditer(r"(?<=\.last = )\w+", line.code):
        yield Edit(match.start(), match.end(), "true")
        yield Edit(match.start(), match.end(), "false")
    for match in re.finditer(r"^(\s*)(take_bytes|load)\(.*\);", line.code):
        yield Edit(len(match[1]), match.end(), f"{match[0].strip()} {match[0].strip()}")


@operator("address")
def address(line: Line) -> Iterator[Edit]:
    """The neighbour of an address."""
    for match in re.finditer(
        r"(?<=\[)((?:base|line|at|record|writes\.line|memory|span|first|index)\b[^\[\]]*)(?=\])", line.code
    ):
        yield Edit(match.end(), match.end(), " + 1")
        yield Edit(match.end(), match.end(), " - 1")
    assigned = re.search(r"(?:\b(?:line|base|at|\w*_line|\w+\.line(?:\[\w+\])?|plane) = )(.+);$", line.code)
    if assigned and "?" not in assigned[1]:
        yield Edit(assigned.start(1), assigned.end(1), f"({assigned[1]}) + 1")
        yield Edit(assigned.start(1), assigned.end(1), f"({assigned[1]}) - 1")


@operator("guard")
def guard(line: Line) -> Iterator[Edit]:
    """A condition left out, turned round, or joined the wrong way."""
    match = re.match(r"(\s*)if \(.*\) (continue|return[^;]*|break);$", line.code)
    if match:
        yield Edit(len(match[1]), len(line.code), ";")
    match = re.match(r"(\s*)if \((.*)\) (?!continue|return|break)(.*)$", line.code)
    if match and match[2].count("(") == match[2].count(")"):
        yield Edit(match.start(2), match.end(2), "true")
    for index in line.find("&&", "||"):
        yield _replace(line, index, "||" if line.tokens[index].text == "&&" else "&&")
    for match in re.finditer(r"!(?=[\w(])", line.code):
        yield Edit(match.start(), match.end(), "")


@operator("constant")
def constant(line: Line) -> Iterator[Edit]:
    """A number one too large or too small."""
    if line.is_for:
        return
    for token in line.tokens:
        if re.fullmatch(r"0x[0-9a-fA-F]+|\d+", token.text) and token.text not in ("0", "1"):
            value = int(token.text, 0)
            yield Edit(token.start, token.end, str(value + 1))
            yield Edit(token.start, token.end, str(value - 1))


@operator("flag")
def flag(line: Line) -> Iterator[Edit]:
    """true for false."""
    for index, token in enumerate(line.tokens):
        if token.text in ("true", "false"):
            yield _replace(line, index, "false" if token.text == "true" else "true")
