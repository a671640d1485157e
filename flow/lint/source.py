"""A kernel as libclang sees it: a tree of nodes with their parents, loops, and the pragmas, which no tree holds."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flow.errors import ToolError
from flow.lint.headers import HEADERS

Cursor = Any
FUNCTIONS = frozenset({
    "FUNCTION_DECL", "CXX_METHOD", "CONSTRUCTOR", "DESTRUCTOR", "CONVERSION_FUNCTION", "FUNCTION_TEMPLATE",
})  # fmt: skip
LOOPS = frozenset({"FOR_STMT", "WHILE_STMT", "DO_STMT", "CXX_FOR_RANGE_STMT"})
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<([^>]+)>", re.MULTILINE)
_PRAGMA = re.compile(r"\s*#\s*pragma\s+HLS\s+(.*)$", re.IGNORECASE)
_COMMENT = re.compile(r"//.*$")
_SKIPPED = re.compile(r"//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*(?:\\\n[^\n]*)*", re.DOTALL | re.MULTILINE)
_TOKEN = re.compile(
    r"""[A-Za-z_]\w*|'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|\.?\d(?:[\w.']|[eEpP][+-])*
    |<<=|>>=|->\*|\.\.\.|::|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\S""",
    re.VERBOSE,
)


def tokens_of(text: str) -> list[str]:
    """C++ text token by token, without comments and directives."""
    return _TOKEN.findall(_SKIPPED.sub(" ", text))


def clang() -> Any:
    """The module `clang.cindex`.

    Raises:
        ToolError: libclang is not installed.
    """
    try:
        from clang import cindex
    except ImportError as error:
        raise ToolError(
            "libclang: found none; expected the Python package libclang 18 for `flow lint`; "
            "install it (pip install 'flow-hls[lint]')"
        ) from error
    return cindex


@dataclass(eq=False)
class Node:
    """A cursor with its place in the tree. `file` is relative to the kernel's folder; lines count from 1."""

    cursor: Cursor
    parent: Node | None
    file: str
    kind: str
    line: int
    start: int
    end: int
    content: bytes = field(repr=False)
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """This node and everything below it, in order of appearance."""
        yield self
        for child in self.children:
            yield from child.walk()

    def ancestors(self) -> Iterator[Node]:
        """From the parent up."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    @property
    def name(self) -> str:
        """What the cursor is called."""
        return str(self.cursor.spelling)

    @property
    def function(self) -> Node | None:
        """The function around this node, itself included."""
        for node in (self, *self.ancestors()):
            if node.kind in FUNCTIONS:
                return node
        return None

    @property
    def body(self) -> Node | None:
        """The block of a function or loop."""
        blocks = [child for child in self.children if child.kind == "COMPOUND_STMT"]
        return blocks[-1] if blocks else None

    @property
    def text(self) -> str:
        """The node as written."""
        return self.content[self.start : self.end].decode()

    @cached_property
    def tokens(self) -> list[str]:
        """The node's text, token by token, without comments and directives."""
        return tokens_of(self.text)


@dataclass(frozen=True)
class Pragma:
    """`#pragma HLS NAME flag … key=value …` at a line; the name in capitals, keys in small letters."""

    file: str
    line: int
    offset: int
    name: str
    flags: tuple[str, ...]
    options: Mapping[str, str]


@dataclass(frozen=True)
class Diagnostic:
    """An error of the compiler."""

    file: str
    line: int
    text: str


@dataclass
class Source:
    """A parsed kernel. `texts` holds those of its own files that are included."""

    top: str
    texts: Mapping[str, str]
    nodes: list[Node]
    errors: list[Diagnostic]
    unknown_headers: tuple[tuple[str, int, str], ...]
    """File, line and name of every header that is included and not known."""

    @cached_property
    def functions(self) -> list[Node]:
        """Functions with a body."""
        return [node for node in self.nodes if node.kind in FUNCTIONS and node.body is not None]

    @cached_property
    def loops(self) -> list[Node]:
        """Every loop."""
        return [node for node in self.nodes if node.kind in LOOPS]

    @cached_property
    def constants(self) -> frozenset[str]:
        """Names of template parameters, enumerators, and constexpr or const variables and members."""
        found = set()
        for node in self.nodes:
            declared = node.kind in ("VAR_DECL", "FIELD_DECL") and "constexpr" in _head(node)
            if declared or node.kind in ("TEMPLATE_NON_TYPE_PARAMETER", "ENUM_CONSTANT_DECL"):
                found.add(node.name)
        return frozenset(found)

    @cached_property
    def constexpr_functions(self) -> frozenset[str]:
        """Names of functions that a constant expression may call."""
        return frozenset(node.name for node in self.functions if "constexpr" in _head(node))

    @cached_property
    def pragmas(self) -> list[Pragma]:
        """Every HLS pragma, continuation lines joined."""
        return [pragma for file, text in self.texts.items() for pragma in _pragmas(file, text)]

    def block_at(self, file: str, offset: int) -> Node | None:
        """The innermost block around a place."""
        blocks = self._blocks.get(file, [])
        around = [node for node in blocks if node.start < offset < node.end]
        return min(around, key=lambda node: node.end - node.start, default=None)

    @cached_property
    def pragmas_in(self) -> dict[Node | None, list[Pragma]]:
        """Pragmas by the innermost block around them."""
        found: dict[Node | None, list[Pragma]] = {}
        for pragma in self.pragmas:
            found.setdefault(self.block_at(pragma.file, pragma.offset), []).append(pragma)
        return found

    @cached_property
    def _blocks(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.kind == "COMPOUND_STMT":
                found.setdefault(node.file, []).append(node)
        return found


def _head(node: Node) -> list[str]:
    """Tokens of a declaration up to its name."""
    tokens = node.tokens
    return tokens[: tokens.index(node.name)] if node.name in tokens else tokens[:4]


def _pragmas(file: str, text: str) -> Iterator[Pragma]:
    offset = 0
    joined, first, start = "", 0, 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not joined:
            first, start = number, offset
        offset += len(line.encode())
        joined += line.rstrip("\n")
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        match = _PRAGMA.match(_COMMENT.sub("", joined))
        if match:
            name, *rest = re.sub(r"\s*=\s*", "=", match[1]).split() or [""]
            pairs = [part.partition("=") for part in rest]
            yield Pragma(
                file, first, start, name.upper(),
                tuple(key.lower() for key, equals, _ in pairs if not equals),
                {key.lower(): value for key, equals, value in pairs if equals},
            )  # fmt: skip
        joined = ""


def parse(files: Mapping[str, str], main: str, top: str) -> Source:
    """Parse a kernel: `files` by path relative to its folder, of which `main` is compiled and `top` is synthesised.

    Raises:
        ToolError: libclang is missing or does not work.
    """
    cindex = clang()
    unknown = {match[1] for text in files.values() for match in _INCLUDE.finditer(text)} - HEADERS.keys()
    with tempfile.TemporaryDirectory(prefix="flow-lint-") as scratch:
        own, system = Path(scratch).resolve() / "kernel", Path(scratch).resolve() / "system"
        for root, texts in ((own, files), (system, {**HEADERS, **dict.fromkeys(unknown, "")})):
            for name, text in texts.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
        arguments = ["-std=c++14", "-nostdinc", "-nostdinc++", f"-I{own}", f"-I{system}", "-Wno-everything"]
        try:
            unit = cindex.Index.create().parse(str(own / main), args=arguments)
        except (cindex.LibclangError, cindex.TranslationUnitLoadError) as error:
            raise ToolError(
                f"libclang: found {error}; expected it to read {main}; install the package libclang again"
            ) from error
        nodes: list[Node] = []
        contents = {str(own / name): (name, text.encode()) for name, text in files.items()}
        for cursor in unit.cursor.get_children():
            _collect(cursor, None, contents, nodes)
        errors = [_diagnostic(d, own) for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
        reached, strange = _included(unit, contents, system, unknown)
        texts = {name: text for name, text in files.items() if name in {main, *reached}}
        return Source(top, texts, nodes, errors, strange)


def _included(
    unit: Any, contents: Mapping[str, tuple[str, bytes]], system: Path, unknown: set[str]
) -> tuple[set[str], tuple[tuple[str, int, str], ...]]:
    """Which of the kernel's own files are included, and where an unknown header is."""
    reached, strange = set(), []
    for included in unit.get_includes():
        where, path = included.source.name, Path(included.include.name).resolve()
        if str(path) in contents:
            reached.add(contents[str(path)][0])
        elif where in contents and path.relative_to(system).as_posix() in unknown:
            strange.append((contents[where][0], included.location.line, path.relative_to(system).as_posix()))
    return reached, tuple(strange)


def _diagnostic(diagnostic: Any, root: Path) -> Diagnostic:
    place = diagnostic.location
    file = Path(place.file.name).name if place.file else "?"
    if place.file and Path(place.file.name).is_relative_to(root):
        file = Path(place.file.name).relative_to(root).as_posix()
    return Diagnostic(file, place.line, diagnostic.spelling)


def _collect(
    cursor: Cursor, parent: Node | None, contents: Mapping[str, tuple[str, bytes]], nodes: list[Node]
) -> None:
    """Append a cursor of the kernel's own files and everything below it."""
    start, end = cursor.extent.start, cursor.extent.end
    if start.file is None or start.file.name not in contents:
        return
    file, content = contents[start.file.name]
    node = Node(cursor, parent, file, cursor.kind.name, start.line, start.offset, end.offset, content)
    nodes.append(node)
    if parent is not None:
        parent.children.append(node)
    for child in cursor.get_children():
        _collect(child, node, contents, nodes)
