"""Verilog as tokens with places and what they stand in: enough to know where a fault makes sense.

Comments, attributes, strings and what Jinja2 writes are no code; module headers and constants are no place for faults.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

_MASKED = re.compile(
    r"//[^\n]*|/\*.*?\*/|\(\*(?!\)).*?\*\)|\"[^\"\n]*\"|^[^\n]*(?:\{\{|\{%|\{#)[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
_TOKEN = re.compile(
    r"\d*'s?[bdh][0-9a-fA-F_]+|[A-Za-z_$]\w*|\d\w*|<<<|>>>|===|!==|<<|>>|<=|>=|==|!=|&&|\|\||\+:|-:|\S",
    re.ASCII,
)
_CONSTANT = re.compile(r"[A-Z]\w*|\d\w*|\d*'s?[bdh]\w+|\$clog2")
_DECLARED = frozenset({"localparam", "parameter", "genvar", "integer", "input", "output", "inout"})
_BODY_ENDS = frozenset({";", "begin", "end", "else", "endgenerate", "generate", "endmodule", ":"})


@dataclass(frozen=True)
class Token:
    """A token: where it stands in the text, and in what.

    `statement` is the index of the first token of its statement, `depth` its brackets; `declared` says that it stands
    in a declaration of constants or loop variables, `loop` in the head of a `for`, `range` between square brackets.
    """

    text: str
    start: int
    statement: int
    depth: int
    declared: bool
    loop: bool
    range: bool

    @property
    def end(self) -> int:
        """Behind its last character."""
        return self.start + len(self.text)

    @property
    def is_name(self) -> bool:
        """Whether it is an identifier or keyword."""
        return self.text[0].isalpha() or self.text[0] in "_$"

    @property
    def is_constant(self) -> bool:
        """Whether its value is known before simulation: a number or a parameter."""
        return bool(_CONSTANT.fullmatch(self.text))


@dataclass(frozen=True)
class Code:
    """The body of a file's module."""

    text: str

    @cached_property
    def masked(self) -> str:
        """The text with blanks where there is no code."""
        return _MASKED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), self.text)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    def place(self, position: int) -> tuple[int, int]:
        """Line, from 1, and column, from 0."""
        line = bisect_right(self._starts, position)
        return line, position - self._starts[line - 1]

    @cached_property
    def module(self) -> str:
        """Its name; a template's may stand in Jinja2."""
        found = re.search(r"^module\s+(\w+)", self.masked, re.MULTILINE)
        return found[1] if found else "flow_engine"

    @cached_property
    def tokens(self) -> list[Token]:
        """Every token behind the module's header."""
        header = re.search(r"^\s*\);", self.masked, re.MULTILINE)
        assert header is not None, f"{self.module}: found no header"
        found: list[Token] = []
        brackets: list[str] = []
        statement, declared, loop = 0, False, -1
        for match in _TOKEN.finditer(self.masked, header.end()):
            text = match[0]
            if text in ")]}" and brackets:
                brackets.pop()
                if len(brackets) == loop:
                    loop = -1
            index = len(found)
            if index == statement:
                declared = text in _DECLARED
            found.append(
                Token(text, match.start(), statement, len(brackets), declared, loop >= 0, "[" in brackets)
            )
            if text in "([{":
                if index and found[-2].text == "for":
                    loop = len(brackets)
                brackets.append(text)
            elif not brackets and text in _BODY_ENDS and not (text == ":" and _is_choice(found)):
                statement = len(found)
        return found

    def closing(self, index: int) -> int:
        """Index of the bracket that closes the one at `index`."""
        depth = self.tokens[index].depth
        return next(i for i in range(index + 1, len(self.tokens)) if self.tokens[i].depth == depth)

    def end_of(self, statement: int) -> int:
        """Index of the semicolon that ends a statement."""
        return next(i for i in range(statement, len(self.tokens)) if self.tokens[i].text == ";")


def _is_choice(tokens: list[Token]) -> bool:
    """Whether the colon at the end belongs to a `?` of its statement."""
    last = tokens[-1]
    return any(token.text == "?" for token in tokens[last.statement :])
