"""The kernels that flow emits are clean, and `flow lint` says so."""

from __future__ import annotations

import builtins
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flow.boards import DSP_KINDS, load_board
from flow.emit.hls import hls_files, kernel_files
from flow.engine import STAGES, Engine
from flow.errors import ToolError
from flow.lint import lint_kernel

if TYPE_CHECKING:
    from tests.conftest import Outcome

ENGINES = {
    "u250": Engine(8, 64, 8, 8, 2, sequence=128, depth=24, row_cycles=24),
    "pynq-z2": Engine(2, 8, 2, 1, 1, beat_bytes=8, stream_bytes=4, sequence=24, depth=8),
    "ulx3s-85f": Engine(4, 16, 2, 4, 4, beat_bytes=16, stream_bytes=8, sequence=70, depth=8, features=("add", "norm")),
}  # fmt: skip


@pytest.mark.parametrize("board", ENGINES)
def test_the_kernels_of_every_kind_of_board_are_clean(board: str) -> None:
    files = hls_files(ENGINES[board], load_board(board))
    report = lint_kernel({name.removeprefix("hls/"): content for name, content in files.items()})
    assert [str(f) for f in report.findings] == []
    assert report.files >= 18
    assert report.loops > 100
    assert report.pragmas > 250
    assert {finding.rule for finding, _ in report.waived} == {"loop-bound"}


def test_an_engine_without_stages_is_clean() -> None:
    engine = Engine(4, 8, 2, 2, 1, features=(), sequence=16, depth=4, row_cycles=8)
    assert STAGES
    for packing in DSP_KINDS.values():
        assert lint_kernel(kernel_files(engine, packing=packing)).findings == ()


def _break(build: Path) -> None:
    """Take the label off one loop, as a user might, and the hash along."""
    name = "hls/engine/pool.hpp"
    text = (build / name).read_text()
    assert "pool_line_loop:\n" in text
    content = text.replace("pool_line_loop:\n", "").encode()
    (build / name).write_bytes(content)
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (build / "manifest.json").write_text(json.dumps(manifest))


def test_the_command(build_copy: Path, flow: Callable[..., Outcome]) -> None:
    clean = flow("lint", build_copy)
    assert clean.status == 0
    assert clean.out.endswith(": nothing that Vitis HLS would refuse\n")
    _break(build_copy)
    broken = flow("lint", build_copy)
    assert broken.status == 1
    assert broken.out.splitlines()[0] == (
        "engine/pool.hpp:27: loop-label: found a loop without a label; expected `name: for (…)`; "
        "give it a name that reports can show"
    )
    data = flow("lint", build_copy, "--json").json()
    (finding,) = data["findings"]
    assert (finding["rule"], finding["line"]) == ("loop-label", 27)
    assert finding["citation"] == "UG1399, HLS Optimization Directives (location function/label)"
    assert {w["rule"] for w in data["waived"]} == {"loop-bound"}


def test_without_libclang(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "clang":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ToolError) as caught:
        lint_kernel({"flow_engine.cpp": b""})
    assert str(caught.value) == (
        "libclang: found none; expected the Python package libclang 18 for `flow lint`; "
        "install it (pip install 'flow-hls[lint]')"
    )
