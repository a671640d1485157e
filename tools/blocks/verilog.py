"""What the figures need to know of the Verilog that flow writes: instances, widths, and where a wire's value goes.

No parser: the house's Verilog names one thing a line, and a figure asks for names alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from flow.boards import load_board
from flow.emit.chip import chip_files
from flow.emit.rtl import rtl_files
from flow.engine import Engine

# All stages; every width of a module keeps its parameter's name, so that no figure depends on the numbers.
ENGINE = Engine(2, 8, 2, 2, 2, beat_bytes=8, stream_bytes=8, sequence=64, operand_depth=64, store_depth=64)
ENGINE_MODULE = "flow_engine"

_NAME = re.compile(r"[A-Za-z_]\w*")
_WORDS = frozenset(
    "always and assign begin case default else end endcase endfunction endgenerate endmodule for function generate "
    "genvar if initial input integer localparam module negedge or output parameter posedge reg signed wire".split()
)
_KNOWN = {"Tokens": "T", "Banks": "B", "Rows": "P", "Heads": "H", "NormLanes": "L"}


@dataclass(frozen=True)
class Instance:
    """An instance: its module, for each of its ports the names that are connected to it, and its parameters' texts."""

    module: str
    ports: Mapping[str, frozenset[str]]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Module:
    """A module's text without comments."""

    name: str
    text: str
    modules: frozenset[str]

    @cached_property
    def directions(self) -> dict[str, str]:
        """`input` or `output` of every port."""
        found = re.findall(
            r"\b(input|output)\s+(?:wire|reg)\s+(?:signed\s+)?(?:\[[^\]]*\]\s*)?(\w+)\s*(?=,|\))", self.text
        )
        return {name: direction for direction, name in found}

    @cached_property
    def nets(self) -> dict[str, str]:
        """Range of every wire, register and port, empty for those of one bit."""
        result = {}
        pattern = (
            r"\b(?:wire|reg)\s+(?:signed\s+)?((?:\[[^\]]*\]\s*)?)([^;]*?)(?=;|\)\s*;|,\s*(?:input|output)\b)"
        )
        for width, names in re.findall(pattern, self.text):
            for name in _declared(names):
                result[name] = width.strip()
        return result

    @cached_property
    def constants(self) -> dict[str, str]:
        """Text of every localparam and parameter."""
        declared = r"\b(?:localparam|parameter)\s+(?:\[[^\]]*\]\s*)?(\w+)\s*=\s*"
        value = r"([^;,]*?(?:\([^()]*\)[^;,]*?)*)\s*(?=;|,|\)\s*\()"
        return dict(re.findall(declared + value, self.text))

    @cached_property
    def instances(self) -> dict[str, Instance]:
        """Every instance by its name."""
        result = {}
        for match in re.finditer(r"\b([a-z_]\w*)\s*(?=#\s*\(|[a-z_]\w*\s*\()", self.text):
            if match[1] not in self.modules or match[1] == self.name:
                continue
            at = match.end()
            parameters: dict[str, str] = {}
            if self.text[at] == "#":
                start = self.text.index("(", at)
                at = _closing(self.text, start) + 1
                parameters = {
                    name: "".join(text.split()) for name, text in _connections(self.text[start + 1 : at - 1])
                }
            name = _NAME.search(self.text, at)
            assert name is not None
            open_at = self.text.index("(", name.end())
            connections = self.text[open_at + 1 : _closing(self.text, open_at)]
            ports = {port: _names(text) for port, text in _connections(connections)}
            result[name[0]] = Instance(match[1], ports, parameters)
        return result

    @cached_property
    def goes_to(self) -> dict[str, frozenset[str]]:
        """For each name those that are assigned from it or under its condition, in one statement."""
        result: dict[str, set[str]] = {}
        text = re.sub(r"\bfor\s*\([^;]*;[^;]*;[^)]*\)", " ", self.text)
        for statement in text.split(";"):
            for left, right in _assigned(statement):
                for source in right:
                    result.setdefault(source, set()).update(left)
        return {source: frozenset(targets) for source, targets in result.items()}

    def reaches(self, sources: frozenset[str], targets: frozenset[str], hops: int) -> bool:
        """Whether a value goes from one of the sources to one of the targets in so many assignments at most."""
        seen, front = set(sources), set(sources)
        for _ in range(hops):
            if seen & targets:
                return True
            front = {name for at in front for name in self.goes_to.get(at, ())} - seen
            seen |= front
        return bool(seen & targets)

    def width(self, net: str) -> str:
        """Wires of a net as a figure writes them, `8TB` for 8 * Tokens * Banks; empty for one.

        Raises:
            KeyError: the module has no such net.
        """
        declared = self.nets[net]
        if not declared:
            return ""
        high = declared[1:-1].partition(":")[0].strip()
        low = declared[1:-1].partition(":")[2].strip()
        count = high[:-2] if high.endswith("-1") else f"{high}+1"
        if high.isdigit():
            count = str(int(high) + 1 - int(low))
        return self._product(count.replace(" ", ""))

    def _product(self, text: str) -> str:
        number, letters, names = 1, "", []
        expanded = self._expanded(text)
        for factor in _factors(expanded):
            if factor.isdigit():
                number *= int(factor)
            elif factor in _KNOWN:
                letters += _KNOWN[factor]
            elif len(factor) == 1:
                letters += factor
            else:
                names.append(f"({factor})" if re.search(r"[-+]", factor) and factor != expanded else factor)
        order = "".join(sorted(letters, key="HPTBL".find))
        head = (str(number) if number > 1 or not (letters or names) else "") + order
        return "·".join(filter(None, (head, *names)))

    def _expanded(self, text: str) -> str:
        """Constants replaced that are products of others, or the logarithm of one."""
        for _ in range(4):
            before = text
            for name in set(_NAME.findall(text)) - set(_KNOWN):
                value = self.constants.get(name, "").replace(" ", "")
                logarithm = re.fullmatch(r"(\w+)>1\?\$clog2\(\1\):1", value)
                if value == "NormLanes<Banks?NormLanes:Banks":
                    value = "NormLanes"
                if logarithm:
                    value = f"log₂{_KNOWN.get(logarithm[1], logarithm[1])}"
                elif not re.fullmatch(r"\w+(\*\w+)*", value) or value.isdigit() or name == value:
                    continue
                text = re.sub(rf"\b{name}\b", value, text)
            if text == before:
                break
        return text


def modules() -> dict[str, Module]:
    """Every module that flow writes for an engine with all stages and its chip, by name."""
    files = rtl_files(ENGINE) | chip_files(ENGINE, load_board("ulx3s-85f"), bytes(4096))
    texts = {
        path.rpartition("/")[2].removesuffix(".v"): re.sub(
            r"//[^\n]*|/\*.*?\*/|\(\*.*?\*\)", "", content.decode(), flags=re.DOTALL
        )
        for path, content in files.items()
        if path.endswith(".v")
    }
    names = frozenset(texts)
    return {name: Module(name, text, names) for name, text in texts.items()}


def _declared(names: str) -> Iterator[str]:
    """Names of a declaration, without their values and sizes."""
    flat = re.sub(r"\[[^\]]*\]", "", names)
    while "{" in flat or "(" in flat:
        inner = re.sub(r"\{[^{}]*\}|\([^()]*\)", "", flat)
        if inner == flat:
            break
        flat = inner
    for part in flat.split(","):
        found = _NAME.match(part.strip())
        if found and found[0] not in _WORDS:
            yield found[0]


def _closing(text: str, at: int) -> int:
    """Where the parenthesis ends that opens at a place."""
    depth = 0
    for here in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[here], 0)
        if depth == 0:
            return here
    raise ValueError(f"found no end of the parenthesis at {text[at : at + 40]!r}")


def _connections(text: str) -> Iterator[tuple[str, str]]:
    """Names of ports or parameters, and what stands in their parentheses."""
    for match in re.finditer(r"\.(\w+)\s*(?=\()", text):
        close = _closing(text, match.end())
        yield match[1], text[match.end() + 1 : close]


def _names(text: str) -> frozenset[str]:
    plain = re.sub(r"\d*'s?[bdh][0-9a-fA-F_xz]+", "", text)
    return frozenset(_NAME.findall(plain)) - _WORDS


def _assigned(statement: str) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """What a statement assigns, and from what: its right side, and whatever stands before it."""
    index = r"(?:\s*\[(?:[^\[\]]|\[[^\]]*\])*\])*"
    pattern = (
        r"(?:^|\)|\bbegin\b|\bend\b|\belse\b|:|\bassign\b|\b(?:wire|reg)\b(?:\s+signed)?(?:\s*\[[^\]]*\])?)\s*"
        rf"([a-z]\w*{index}|\{{[^{{}}]*\}})\s*(?:<=|=)(?!=)\s*(.*)$"
    )
    match = re.search(pattern, statement, re.DOTALL)
    if match is None:
        return
    target = re.sub(r"\[.*?\]", "", match[1], flags=re.DOTALL)
    left = _names(target) if target.startswith("{") else frozenset(_NAME.findall(target)[:1])
    if left:
        yield left, _names(match[2]) | _names(statement[: match.start(1)])


def _factors(text: str) -> list[str]:
    """Factors of a product; what is added stays together."""
    factors, depth, start = [], 0, 0
    if re.search(r"[-+?]", text) and not text.startswith("("):
        return [text]
    for at, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "*" and depth == 0:
            factors.append(text[start:at])
            start = at + 1
    return [factor.strip("()") if factor.startswith("(") else factor for factor in (*factors, text[start:])]
