"""Holds the import order of the package: a unit may import only from units above it in `ORDER`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "flow"

# From the bottom up. `resources` and `doctor` stand beside `errors`: they know only the standard library.
ORDER = (
    "errors",
    "resources",
    "doctor",
    "numerics",
    "boards",
    "engine",
    "ir",
    "formats",
    "ops",
    "passes",
    "golden",
    "frontend",
    "cost",
    "compress",
    "emit",
    "lint",
    "sim",
    "synth",
    "testing",
    "search",
    "console",
    "cli",
    "__main__",
)

# Third-party packages that only the named units may use.
CONFINED = {
    "jinja2": {"emit"},
    "click": {"cli"},
    "torch": {"frontend", "compress", "search"},
    "distributed": {"search"},
    "optuna": {"search"},
    "torchao": {"frontend", "compress"},
    "cocotb": {"sim"},
    "clang": {"lint"},
}

# What could run code out of a model file. `pickle` itself may be imported for the name of its error alone;
# `pickletools`, which only reads opcodes, is harmless.
FORBIDDEN_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "shelve", "sympy"}
FORBIDDEN_CALLS = {"eval", "exec"}


def modules() -> list[Path]:
    """Return all Python files of the package; files that the wheel build copies in are none of them."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "_assets" not in path.parts)


def unit_of(path: Path) -> str:
    """Return the unit that a file belongs to: the first name below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """Return line and dotted name of every absolute import, wherever it stands: in a function too.

    For `from flow import boards` the name is `flow.boards`.
    """
    names: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; expected an absolute one"
            assert node.module is not None
            names += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return names


def runs_code(call: ast.Call) -> bool:
    """Whether a call could run code that a file holds; `torch.load(weights_only=True)` does not."""
    callee = ast.unparse(call.func)
    if callee == "torch.load":
        safe = [keyword.value for keyword in call.keywords if keyword.arg == "weights_only"]
        return not any(isinstance(value, ast.Constant) and value.value is True for value in safe)
    return callee in FORBIDDEN_CALLS or callee.startswith("pickle.") or callee.endswith("export.load")


def faults_of(source: str, unit: str, where: str) -> list[str]:
    """List every import and call in `source` that the unit may not make."""
    tree = ast.parse(source)
    faults: list[str] = []
    for line, name in imported(tree):
        parts = name.split(".")
        if parts[0] == "flow":
            target = parts[1]
            if target == "__version__":
                continue
            if target not in ORDER:
                faults.append(f"{where}:{line}: imports flow.{target}; expected a unit of {', '.join(ORDER)}")
            elif target != unit and ORDER.index(target) > ORDER.index(unit):
                faults.append(f"{where}:{line}: {unit} imports flow.{target}, which stands below it")
        elif parts[0] in FORBIDDEN_MODULES or (
            parts[0] == "pickle" and parts[1:] not in ([], ["UnpicklingError"])
        ):
            faults.append(f"{where}:{line}: imports {parts[0]}, which can run code out of a file")
        elif unit not in CONFINED.get(parts[0], {unit}):
            allowed = " and ".join(sorted(CONFINED[parts[0]]))
            faults.append(f"{where}:{line}: {unit} imports {parts[0]}; only {allowed} may")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and runs_code(node)]
    return faults + [
        f"{where}:{call.lineno}: calls {ast.unparse(call.func)}, which can run code out of a file"
        for call in calls
    ]


def test_every_unit_has_its_place() -> None:
    """A new top-level module must be given a place in the order."""
    units = {unit_of(path) for path in modules()} - {"__init__"}
    assert len(modules()) > 8
    assert units <= set(ORDER), f"units without a place in ORDER: {sorted(units - set(ORDER))}"


def test_imports_go_one_way() -> None:
    """No module imports from a unit below its own, or what is not its to use."""
    faults: list[str] = []
    for path in modules():
        unit = unit_of(path)
        if unit == "__init__":
            assert not imported(ast.parse(path.read_text(encoding="utf-8"))), (
                "flow/__init__.py imports nothing"
            )
            continue
        faults += faults_of(path.read_text(encoding="utf-8"), unit, str(path.relative_to(PACKAGE.parent)))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("source", "unit", "fault"),
    [
        ("import flow.ops.linear", "ir", "x:1: ir imports flow.ops, which stands below it"),
        ("from flow import sim", "cost", "x:1: cost imports flow.sim, which stands below it"),
        (
            "def f():\n    from flow.cli import main",
            "sim",
            "x:2: sim imports flow.cli, which stands below it",
        ),
        ("import jinja2", "sim", "x:1: sim imports jinja2; only emit may"),
        ("import torch.nn", "golden", "x:1: golden imports torch; only compress and frontend and search may"),
        ("import dill", "frontend", "x:1: imports dill, which can run code out of a file"),
        ("from pickle import load", "frontend", "x:1: imports pickle, which can run code out of a file"),
        ("pickle.loads(b)", "frontend", "x:1: calls pickle.loads, which can run code out of a file"),
        ("torch.load(f)", "frontend", "x:1: calls torch.load, which can run code out of a file"),
        (
            "torch.load(f, weights_only=w)",
            "compress",
            "x:1: calls torch.load, which can run code out of a file",
        ),
        (
            "torch.export.load(f)",
            "frontend",
            "x:1: calls torch.export.load, which can run code out of a file",
        ),
        ("x = eval('1')", "passes", "x:1: calls eval, which can run code out of a file"),
    ],
)
def test_the_check_sees(source: str, unit: str, fault: str) -> None:
    """The check itself finds each kind of fault."""
    assert faults_of(source, unit, "x") == [fault]


def test_the_check_lets_through() -> None:
    """What the order allows is no fault."""
    source = "import numpy\nfrom flow.errors import FlowError\nfrom flow.ops.linear import Linear\n"
    assert faults_of(source, "passes", "x") == []
    source = "import pickle\ntry:\n    torch.load(f, weights_only=True)\nexcept pickle.UnpicklingError:\n    raise\n"
    assert faults_of(source, "frontend", "x") == []
