"""A line of C++ as tokens with places, and the edits that operators make of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_TOKEN = re.compile(
    r"""\{\{.*?\}\}|[A-Za-z_]\w*|0x[0-9a-fA-F]+|\d\w*|<<=|>>=|->|::|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\S""",
    re.VERBOSE,
)
_OPEN, _CLOSE = "([{", ")]}"
_BINDING = frozenset({"*", "/", "%", "+", "-"})
"""Binary operators that bind closer than a shift."""


@dataclass(frozen=True)
class Token:
    """A token and where it stands in its line."""

    text: str
    start: int
    end: int

    @property
    def is_name(self) -> bool:
        """Whether it is an identifier or keyword."""
        return self.text[0].isalpha() or self.text[0] == "_"


@dataclass(frozen=True)
class Edit:
    """Columns `start` to `end` of a line replaced by `text`."""

    start: int
    end: int
    text: str

    def apply(self, line: str) -> str:
        """The line after the edit."""
        return line[: self.start] + self.text + line[self.end :]


@dataclass(frozen=True)
class Line:
    """One line of code, comment taken off; `function` is the name of the function that it stands in."""

    text: str
    function: str

    @cached_property
    def code(self) -> str:
        """The line without its comment."""
        return self.text.split("//")[0].rstrip()

    @cached_property
    def tokens(self) -> list[Token]:
        """The line's tokens."""
        return [Token(m[0], m.start(), m.end()) for m in _TOKEN.finditer(self.code)]

    @property
    def is_for(self) -> bool:
        """Whether a `for` begins here."""
        return self.code.strip().startswith("for (")

    def spaced(self, index: int) -> bool:
        """Whether a token stands between blanks, as an operator between operands does and a template bracket not."""
        token = self.tokens[index]
        return self.code[token.start - 1 : token.start] == " " and self.code[token.end : token.end + 1] == " "

    def find(self, *texts: str) -> Iterator[int]:
        """Indices of operators with one of these texts."""
        for index, token in enumerate(self.tokens):
            if token.text in texts and self.spaced(index):
                yield index

    def closing(self, index: int) -> int | None:
        """Index of the bracket that closes the one at `index`, where it is in this line."""
        depth = 0
        for i in range(index, len(self.tokens)):
            depth += self.tokens[i].text in _OPEN
            depth -= self.tokens[i].text in _CLOSE
            if depth == 0:
                return i
        return None

    def operand_end(self, index: int, binding: frozenset[str] = _BINDING) -> int | None:
        """Index behind the operand that begins at `index`, operators of `binding` included."""
        tokens, i = self.tokens, index
        while i < len(tokens):
            while i < len(tokens) and tokens[i].text in ("-", "!", "&", "*", "~"):
                i += 1
            if i >= len(tokens) or tokens[i].text in (")", ";", ","):
                return None
            if tokens[i].text == "(":
                close = self.closing(i)
                if close is None:
                    return None
                i = close + 1
            else:
                i += 1
            while i < len(tokens) and tokens[i].text in ("(", "[", ".", "->", "::"):
                if tokens[i].text in "([":
                    close = self.closing(i)
                    if close is None:
                        return None
                    i = close + 1
                else:
                    i += 2
            if i < len(tokens) and tokens[i].text in binding and self.spaced(i):
                i += 1
            else:
                return i
        return None

    def slice(self, first: int, behind: int) -> str:
        """Text from token `first` up to token `behind`."""
        return self.code[self.tokens[first].start : self.tokens[behind - 1].end]

    def arguments(self, index: int) -> tuple[list[str], int] | None:
        """Arguments of the call whose opening bracket is token `index`, and the index of the closing one."""
        close = self.closing(index)
        if close is None or close == index + 1:
            return None
        found, first, depth = [], index + 1, 0
        for i in range(index + 1, close + 1):
            text = self.tokens[i].text
            if depth == 0 and (text == "," or i == close):
                found.append(self.slice(first, i))
                first = i + 1
            depth += (text in _OPEN) - (text in _CLOSE)
        return found, close
