"""Rules about the language: what has no fixed size or no hardware."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flow.lint.headers import HEADERS, SYNTHESISABLE_CALLS, VENDOR_HEADERS
from flow.lint.rules import Fault, at, rule
from flow.lint.source import Node, Source

UNSUPPORTED = "UG1399, Unsupported C/C++ Constructs"
_ALLOCATING = frozenset({"malloc", "calloc", "realloc", "free", "aligned_alloc", "alloca", "strdup"})


@rule("compiles", "it is C++14", "UG1399, Unsupported C/C++ Constructs")
def compiles(source: Source) -> Iterator[Fault]:
    """Errors of the compiler; where a header is unknown, that is the fault and these follow from it."""
    if not source.unknown_headers:
        for error in source.errors:
            yield Fault(
                error.file,
                error.line,
                f"an error ({error.text})",
                "C++14 that compiles",
                "mend it: nothing behind it counts",
            )


@rule(
    "header",
    "includes only headers of integer types and of Vitis HLS",
    f"{UNSUPPORTED}: Standard Template Libraries",
)
def header(source: Source) -> Iterator[Fault]:
    """A header beyond `HEADERS`."""
    for file, line, name in source.unknown_headers:
        yield Fault(
            file, line, f"#include <{name}>", f"one of {', '.join(sorted(HEADERS))}",
            "write what it does as a function of fixed size",
        )  # fmt: skip


@rule("allocation", "no memory is allocated at run time", f"{UNSUPPORTED}: Dynamic Memory Usage")
def allocation(source: Source) -> Iterator[Fault]:
    """`new`, `delete`, malloc and its like."""
    for node in source.nodes:
        found = None
        if node.kind in ("CXX_NEW_EXPR", "CXX_DELETE_EXPR"):
            found = "new" if node.kind == "CXX_NEW_EXPR" else "delete"
        elif node.kind == "CALL_EXPR" and node.name in _ALLOCATING:
            found = f"{node.name}()"
        if found:
            yield at(node, found, "storage of fixed size", "declare an array, static if it outlives the call")


@rule("array-size", "every array has a constant size", "UG1399, Arrays")
def array_size(source: Source) -> Iterator[Fault]:
    """Arrays whose size is a variable, which GNU C++ takes."""
    for node in source.nodes:
        if node.kind in ("VAR_DECL", "FIELD_DECL") and node.cursor.type.kind.name == "VARIABLEARRAY":
            yield at(
                node,
                f"an array {node.name} of variable size",
                "a constant size",
                "give it the largest size that it may have",
            )


@rule("recursion", "no function calls itself, except while compiling", f"{UNSUPPORTED}: Recursive Functions")
def recursion(source: Source) -> Iterator[Fault]:
    """Cycles of the call graph; constexpr functions may have one where only constants call them."""
    by_place = {(f.file, f.line, f.name): f for f in source.functions}
    calls: dict[Node, list[Node]] = {f: [] for f in source.functions}
    running: set[Node] = set()  # functions that are called at run time
    for node in source.nodes:
        if node.kind != "CALL_EXPR":
            continue
        caller = node.function
        for callee in _callees(node, source, by_place):
            if caller is not None:
                calls[caller].append(callee)
            if caller is not callee and caller is not None and not _in_constant(node):
                running.add(callee)
    for function in source.functions:
        if _reaches(function, function, calls) and (
            function in running or function.name not in source.constexpr_functions
        ):
            yield at(
                function,
                f"{function.name}() calling itself",
                "no recursion",
                "write it as a loop of bounded length",
            )


def _callees(node: Node, source: Source, by_place: dict[tuple[str, int, str], Node]) -> list[Node]:
    """The functions of the kernel that a call may mean; in a template, all of that name."""
    meant = node.cursor.referenced
    if meant is not None and meant.location.file is not None:
        meant = meant.get_definition() or meant
        place, path = (meant.extent.start.line, meant.spelling), meant.extent.start.file.name
        return [
            f for (file, *rest), f in by_place.items() if tuple(rest) == place and path.endswith(f"/{file}")
        ]
    return [f for f in source.functions if f.name == node.name and node.name]


def _in_constant(node: Node) -> bool:
    return any(
        a.kind == "STATIC_ASSERT" or (a.kind == "VAR_DECL" and "constexpr" in a.tokens[:3])
        for a in node.ancestors()
    )


def _reaches(start: Node, goal: Node, calls: dict[Node, list[Node]]) -> bool:
    seen: set[Node] = set()
    frontier = list(calls[start])
    while frontier:
        node = frontier.pop()
        if node is goal:
            return True
        if node not in seen:
            seen.add(node)
            frontier += calls.get(node, [])
    return False


@rule("exception", "nothing throws or catches", UNSUPPORTED)
def exception(source: Source) -> Iterator[Fault]:
    """Unwinding is work of a run-time system that hardware does not have."""
    words = {"CXX_TRY_STMT": "try", "CXX_THROW_EXPR": "throw"}
    for node in source.nodes:
        if node.kind in words:
            yield at(node, words[node.kind], "no exceptions", "return a status")


@rule("virtual", "no call is decided at run time", f"{UNSUPPORTED}: Virtual Functions and Pointers")
def virtual(source: Source) -> Iterator[Fault]:
    """Virtual functions and what asks for an object's type."""
    for node in source.nodes:
        found = None
        if node.kind in ("CXX_METHOD", "DESTRUCTOR") and node.cursor.is_virtual_method():
            found = f"the virtual function {node.name}()"
        elif node.kind == "CXX_BASE_SPECIFIER" and "virtual" in node.tokens:
            found = "a virtual base class"
        elif node.kind in ("CXX_DYNAMIC_CAST_EXPR", "CXX_TYPEID_EXPR"):
            found = node.tokens[0]
        if found:
            yield at(
                node, found, "calls that are known when compiling", "use a template parameter or a switch"
            )


@rule("function-pointer", "no pointers to functions", f"{UNSUPPORTED}: Pointer Limitations")
def function_pointer(source: Source) -> Iterator[Fault]:
    """Variables, arguments and members that hold a function."""
    for node in source.nodes:
        if node.kind in ("VAR_DECL", "PARM_DECL", "FIELD_DECL", "TYPEDEF_DECL", "TYPE_ALIAS_DECL"):
            kind = node.cursor.type.get_canonical()
            inner = kind.get_pointee() if kind.kind.name in ("POINTER", "LVALUEREFERENCE") else kind
            if kind.kind.name == "MEMBERPOINTER" or inner.kind.name in ("FUNCTIONPROTO", "FUNCTIONNOPROTO"):
                yield at(
                    node,
                    f"{node.name} pointing to a function",
                    "a direct call",
                    "use a template parameter or a switch",
                )


@rule("pointer", "no pointers to pointers, no casts between pointers", f"{UNSUPPORTED}: Pointer Limitations")
def pointer(source: Source) -> Iterator[Fault]:
    """Pointers that the compiler cannot follow to one array."""
    for node in source.nodes:
        if node.kind in ("VAR_DECL", "PARM_DECL", "FIELD_DECL") and _points_to_pointer(node):
            yield at(
                node, f"{node.name} pointing to a pointer", "a pointer to values", "pass the array itself"
            )
        elif node.kind == "CXX_REINTERPRET_CAST_EXPR" or (
            node.kind == "CSTYLE_CAST_EXPR" and node.cursor.type.get_canonical().kind.name == "POINTER"
        ):
            yield at(
                node,
                f"the cast {node.text}",
                "no cast between pointers",
                "read the values and shift them into place",
            )


def _points_to_pointer(node: Node) -> bool:
    kind = node.cursor.type.get_canonical()
    while kind.kind.name in ("CONSTANTARRAY", "INCOMPLETEARRAY", "LVALUEREFERENCE"):
        kind = kind.element_type if kind.kind.name != "LVALUEREFERENCE" else kind.get_pointee()
    return bool(kind.kind.name == "POINTER" and kind.get_pointee().get_canonical().kind.name == "POINTER")


@rule(
    "external-call",
    "every function that is called has its body in the kernel",
    f"{UNSUPPORTED}: System Calls",
)
def external_call(source: Source) -> Iterator[Fault]:
    """Calls of the operating system and of functions in other files; memory functions have a rule of their own."""
    names = {function.name for function in source.functions}
    for node in source.nodes:
        if node.kind != "CALL_EXPR" or node.cursor.referenced is None:
            continue
        meant = node.cursor.referenced
        if meant.kind.name == "CONSTRUCTOR" or meant.spelling in SYNTHESISABLE_CALLS | _ALLOCATING:
            continue
        file = meant.location.file.name.rpartition("/")[2] if meant.location.file else ""
        bodiless = meant.kind.name in ("FUNCTION_DECL", "CXX_METHOD") and meant.get_definition() is None
        # An instance of a template has none of its own.
        if bodiless and file not in VENDOR_HEADERS and meant.spelling not in names:
            found = f"a call of {meant.spelling}()"
            yield at(node, found, "a function with a body here", "leave it to the test bench")


@rule("floating-point", "no long double", "UG1399, Data Types: Standard Types")
def long_double(source: Source) -> Iterator[Fault]:
    """The one arithmetic type without an operator core."""
    for node in source.nodes:
        if (
            node.kind in ("VAR_DECL", "PARM_DECL", "FIELD_DECL")
            and node.cursor.type.get_canonical().kind.name == "LONGDOUBLE"
        ):
            yield at(
                node,
                f"{node.name} of type long double",
                "an integer, float or double",
                "choose a narrower type",
            )


_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\b(.*)$")


@rule("synthesis-branch", "what is synthesised is what is simulated", f"{UNSUPPORTED}: System Calls")
def synthesis_branch(source: Source) -> Iterator[Fault]:
    """Code that `__SYNTHESIS__` adds or takes away: only directives may differ, no statement."""
    for file, text in source.texts.items():
        stack: list[bool] = []  # for each open #if, whether it asks for __SYNTHESIS__
        for number, line in enumerate(text.splitlines(), 1):
            match = _DIRECTIVE.match(line)
            if match:
                if match[1] in ("if", "ifdef", "ifndef"):
                    stack.append("__SYNTHESIS__" in match[2])
                elif match[1] == "elif" and stack:
                    stack[-1] = stack[-1] or "__SYNTHESIS__" in match[2]
                elif match[1] == "endif" and stack:
                    stack.pop()
                elif match[1] in ("define", "undef") and "__SYNTHESIS__" in match[2].split()[:1]:
                    yield Fault(file, number, line.strip(), "the tool to define it", "take it out")
            elif any(stack) and line.split("//")[0].strip():
                yield Fault(
                    file, number, f"{line.strip()!r} under __SYNTHESIS__", "the same code for simulation and synthesis",
                    "move it out of the branch, or to the test bench",
                )  # fmt: skip
