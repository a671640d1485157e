"""Classes of faults in Verilog: each finds its places in a module's code and says what stands there instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mutation_rtl.lexer import Code, Token


@dataclass(frozen=True)
class Edit:
    """Characters `start` to `end` of the text replaced by `text`."""

    start: int
    end: int
    text: str


_COMPARED = {"==": ("!=",), "!=": ("==",), "<": ("<=", ">="), "<=": ("<",), ">": (">=", "<="), ">=": (">",)}
_JOINED = {"&&": "||", "||": "&&", "&": "|", "|": "&", "^": "|"}
_NUMBER = re.compile(r"(\d+)'(s?)([bdh])([0-9a-fA-F_]+)")
_OPERAND_ENDS = ")]}"
_BASES = {"b": 2, "d": 10, "h": 16}


def _replace(token: Token, text: str) -> Edit:
    return Edit(token.start, token.end, text)


def _is_operand(token: Token) -> bool:
    """Whether a value may end with it: an operator behind it then is a binary one."""
    return (
        token.text in _OPERAND_ENDS
        or token.is_constant
        or (token.is_name and token.text not in ("if", "case"))
    )


def _live(code: Code) -> Iterator[tuple[int, Token]]:
    """Tokens that simulation meets: not constants' declarations, nor heads of loops, nor conditions of parameters."""
    for index, token in enumerate(code.tokens):
        if token.declared or token.loop or _is_elaborated(code, token.statement):
            continue
        yield index, token


def _is_elaborated(code: Code, statement: int) -> bool:
    """Whether a statement begins with an `if` or `for` of parameters and loop variables alone."""
    tokens = code.tokens
    first = next((i for i in (statement, statement + 1) if i < len(tokens) and tokens[i].text == "if"), None)
    if first is None:
        return False
    inside = tokens[first + 2 : code.closing(first + 1)]
    return all(t.is_constant or not t.is_name or len(t.text) == 1 or t.text == "level" for t in inside)


def _is_comparison(code: Code, index: int) -> bool:
    """`<=` also assigns: outside brackets, the first of its statement does."""
    token = code.tokens[index]
    if token.text != "<=" or token.depth:
        return True
    before = code.tokens[token.statement : index]
    return any(t.text in ("<=", "=") and not t.depth for t in before)


def compare(code: Code) -> Iterator[Edit]:
    """A comparison becomes its neighbour."""
    for index, token in _live(code):
        if token.text in _COMPARED and not token.range and _is_comparison(code, index):
            yield from (_replace(token, other) for other in _COMPARED[token.text])


def constant(code: Code) -> Iterator[Edit]:
    """A sized number is off by one."""
    for _, token in _live(code):
        found = _NUMBER.fullmatch(token.text)
        if not found or token.range:
            continue
        width, sign, base, digits = int(found[1]), found[2], found[3], found[4].replace("_", "")
        value = int(digits, _BASES[base])
        for other in {(value + 1) % (1 << width), (value - 1) % (1 << width)} - {value}:
            yield _replace(token, f"{width}'{sign}d{other}")


def arithmetic(code: Code) -> Iterator[Edit]:
    """A sum becomes a difference, and the other way round."""
    for index, token in _live(code):
        if token.text not in ("+", "-") or not _is_operand(code.tokens[index - 1]):
            continue
        beside = (code.tokens[index - 1], code.tokens[index + 1])
        # Sums of parameters are widths, mostly of nothing but zeros.
        if not all(t.is_constant and "'" not in t.text for t in beside):
            yield _replace(token, "-" if token.text == "+" else "+")


def logic(code: Code) -> Iterator[Edit]:
    """And becomes or, and the other way round; a negation goes."""
    for index, token in _live(code):
        binary = index > 0 and _is_operand(code.tokens[index - 1])
        if token.text in _JOINED and binary:
            yield _replace(token, _JOINED[token.text])
        elif token.text in ("!", "~") and code.tokens[index + 1].text != "rst_ni":
            yield _replace(token, "")


def condition(code: Code) -> Iterator[Edit]:
    """A condition is turned round, always true, or never."""
    for index, token in _live(code):
        if token.text == "if" and not _is_reset(code, index):
            first, last = code.tokens[index + 1], code.tokens[code.closing(index + 1)]
            inside = code.text[first.end : last.start]
            for text in (f"!({inside})", "1'b1", "1'b0"):
                yield Edit(first.end, last.start, text)
        elif token.text == "?" and code.tokens[index - 1].is_name:
            yield _replace(code.tokens[index - 1], f"!{code.tokens[index - 1].text}")


def _is_reset(code: Code, index: int) -> bool:
    return [t.text for t in code.tokens[index + 1 : index + 5]] == ["(", "!", "rst_ni", ")"]


def reset(code: Code) -> Iterator[Edit]:
    """A reset does nothing, or leaves one register out."""
    tokens = code.tokens
    for index, token in _live(code):
        if token.text != "if" or not _is_reset(code, index):
            continue
        yield Edit(tokens[index + 2].start, tokens[index + 3].end, "1'b0")
        at, depth = index + 5, 0
        if tokens[at].text != "begin":
            continue
        while True:
            text = tokens[at].text
            depth += text == "begin"
            depth -= text == "end"
            if not depth:
                break
            if tokens[at].statement == at and tokens[at + 1].text in ("<=", "["):
                yield Edit(tokens[at].start, tokens[code.end_of(at)].start, "")
            at += 1


def update(code: Code) -> Iterator[Edit]:
    """A register keeps what it has."""
    for index, token in _live(code):
        if token.text == "<=" and not token.depth and not _is_comparison(code, index):
            first = token.statement
            while code.tokens[first].text in ("if", "else"):
                first = code.closing(first + 1) + 1 if code.tokens[first].text == "if" else first + 1
            yield Edit(code.tokens[first].start, code.tokens[code.end_of(index)].start, "")


def shift(code: Code) -> Iterator[Edit]:
    """A shift is one too far or too short, or forgets the sign."""
    for index, token in _live(code):
        if token.text not in ("<<", ">>", ">>>"):
            continue
        if token.text == ">>>":
            yield _replace(token, ">>")
        following = code.tokens[index + 1]
        last = code.tokens[code.closing(index + 1)] if following.text in "({" else following
        if code.tokens[index + 2].text == "[" and following.is_name:
            last = code.tokens[code.closing(index + 2)]
        amount = code.text[following.start : last.end]
        yield from (Edit(following.start, last.end, f"({amount} {sign} 1)") for sign in "+-")


def index(code: Code) -> Iterator[Edit]:
    """A slice or element is the next one."""
    for at, token in _live(code):
        if token.text == "[" and not token.range and at and code.tokens[at - 1].is_name:
            last = code.closing(at)
            parts = [i for i in range(at + 1, last) if code.tokens[i].text in ("+:", "-:", ":")]
            if parts and code.tokens[parts[0]].text == ":":
                continue
            before = code.tokens[at - 1]
            if before.text in ("reg", "wire", "signed"):
                continue
            behind = code.tokens[parts[0] if parts else last]
            yield Edit(behind.start, behind.start, " + 1" + (" " if parts else ""))


def bound(code: Code) -> Iterator[Edit]:
    """A loop leaves its last or its first turn out."""
    for at, token in enumerate(code.tokens):
        if token.text == "for":
            last = code.closing(at + 1)
            semicolons = [i for i in range(at, last) if code.tokens[i].text == ";"]
            behind = code.tokens[semicolons[1]]
            yield Edit(behind.start, behind.start, " - 1")
            start = code.tokens[semicolons[0] - 1]
            if start.text == "0":
                yield _replace(start, "1")


def width(code: Code) -> Iterator[Edit]:
    """A register or wire lacks its highest bit; a signed one is not."""
    tokens = code.tokens
    for at, token in enumerate(tokens):
        if token.text not in ("reg", "wire") or token.statement != at:
            continue
        following = at + 1
        if tokens[following].text == "signed":
            yield _replace(tokens[following], "")
            following += 1
        if tokens[following].text == "[":
            colon = next(i for i in range(following, code.closing(following)) if tokens[i].text == ":")
            yield Edit(tokens[colon].start, tokens[colon].start, "-1")
    for _, token in _live(code):
        if token.text == "$signed":
            yield _replace(token, "$unsigned")


def wiring(code: Code) -> Iterator[Edit]:
    """An input of an instance is stuck."""
    for at, token in _live(code):
        port = at and code.tokens[at - 1].text == "." and re.fullmatch(r"[a-z]\w*_i", token.text)
        if port and token.text != "clk_i":
            first, last = code.tokens[at + 1], code.tokens[code.closing(at + 1)]
            if code.text[first.end : last.start].strip():
                yield Edit(first.end, last.start, "0")


OPERATORS: Mapping[str, Callable[[Code], Iterator[Edit]]] = {
    "arithmetic": arithmetic, "bound": bound, "compare": compare, "condition": condition, "constant": constant,
    "index": index, "logic": logic, "reset": reset, "shift": shift, "update": update, "width": width, "wiring": wiring,
}  # fmt: skip
