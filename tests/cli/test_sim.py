"""`flow sim`: inputs, outputs, backends, mismatches and damaged builds."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.emit.build import Build
from flow.golden import execute
from flow.ir import Node

Flow = Callable[..., Any]


def refuse(flow: Flow, *arguments: object) -> str:
    outcome = flow(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    message: str = outcome.err
    assert message.startswith("error: ")
    return message.removeprefix("error: ").removesuffix("\n")


@pytest.fixture(scope="session")
def images(models: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(models / "digits_test.npz") as data:
        return {name: data[name] for name in data.files}


def test_csim_equals_golden(flow: Flow, digits_build: Path) -> None:
    """Seeded stimulus through the compiled C++."""
    outcome = flow("sim", digits_build, "--samples", "6", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.json() == {"backend": "csim", "samples": 6, "outputs_compared": 60, "mismatches": 0}
    shown = flow("sim", digits_build, "--samples", "6")
    assert shown.out == "csim: 6 samples, 60 outputs compared: equal to golden, bit for bit\n"


def test_golden_alone(flow: Flow, digits_build: Path) -> None:
    outcome = flow("sim", digits_build, "--backend", "golden", "--samples", "3", "--json")
    assert outcome.json() == {"backend": "golden", "samples": 3, "outputs_compared": 0, "mismatches": 0}
    shown = flow("sim", digits_build, "--backend", "golden", "--samples", "3")
    assert shown.out == "golden: 3 samples run; it is the reference, so nothing is compared\n"


def test_outputs(flow: Flow, digits_build: Path, models: Path, tmp_path: Path) -> None:
    """Reals under the output's name, the device's integers under NAME__int, whatever came before."""
    path = tmp_path / "y.npz"
    path.write_text("older")
    arguments = ("--backend", "golden", "--inputs", models / "digits_test.npz", "--outputs", path, "--json")
    report = flow("sim", digits_build, *arguments).json()
    build = Build.open(digits_build)
    (name,) = build.graph.outputs
    with np.load(path) as data:
        assert sorted(data.files) == [name, f"{name}__int"]
        real, integers = data[name], data[f"{name}__int"]
    assert (real.dtype, real.shape) == (np.float32, (360, 10))
    assert np.issubdtype(integers.dtype, np.integer)
    scale = next(n.type.scale for n in build.graph if n.op.name == "output")
    assert scale is not None
    assert np.array_equal(real, (integers.reshape(360, 10) * scale).astype(np.float32))
    assert len(np.unique(integers)) > 1000
    with np.load(models / "digits_test.npz") as data:
        hits = int((real.argmax(axis=1) == data["labels"]).sum())
    assert report["accuracy"] == hits / 360
    assert [p.name for p in tmp_path.iterdir()] == ["y.npz"]


def test_trace(flow: Flow, digits_build: Path, tmp_path: Path, images: Any) -> None:
    """Every step but the constant and the outgoing stream; clean on images, worse further down."""
    np.savez(tmp_path / "x.npz", image=images["image"][:8])
    arguments = ("--backend", "golden", "--inputs", tmp_path / "x.npz", "--trace")
    trace = flow("sim", digits_build, *arguments, "--json").json()["trace"]
    steps = json.loads((digits_build / "manifest.json").read_text())["steps"]
    assert set(steps) - set(trace) == {"add_table", "head_q_out"}
    for step, values in trace.items():
        assert set(values) == {"sqnr_db_worst", "sqnr_db_mean"}, step
        assert 10 < values["sqnr_db_worst"] <= values["sqnr_db_mean"] < 120, (step, values)
    shown = flow("sim", digits_build, *arguments).out.splitlines()
    assert shown[1].split("  ")[0] == "step"
    assert len(shown) == 2 + len(trace)


def _npz(path: Path, **arrays: Any) -> bytes:
    np.savez(path, **arrays)
    return path.read_bytes()


def test_bad_inputs(flow: Flow, digits_build: Path, tmp_path: Path, images: Any) -> None:
    """One message a file, full text."""
    path = tmp_path / "x.npz"
    image, labels = images["image"][:4], images["labels"][:4]
    whole = _npz(path, image=image, labels=labels)
    reading = "expected an array of numbers for every model input, as numpy.savez writes them"
    cases: list[tuple[bytes, str]] = [
        (b"", f"found no readable .npz (File is not a zip file); {reading}"),
        (whole[: len(whole) // 2], f"found no readable .npz (File is not a zip file); {reading}"),
        (pickle.dumps({"image": 1}), f"found no readable .npz (File is not a zip file); {reading}"),
        (
            _npz(path, image=np.array([{}], dtype=object)),
            f"found no readable .npz (it holds pickled objects, which could run code when loaded); {reading}",
        ),
    ]
    faults: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        (
            {"img": image},
            (
                "image: missing; expected shape [samples, 1, 8, 8]",
                "img: not an input of the model; expected image",
            ),
        ),
        ({"image": image[:, 0]}, ("image: found shape [4, 8, 8]; expected [samples, 1, 8, 8]",)),
        ({"image": np.float32(1)}, ("image: found shape []; expected [samples, 1, 8, 8]",)),
        ({"image": image.astype("U3")}, ("image: found <U3; expected float32",)),
        ({"image": image * np.nan}, ("image: found values that are not finite; expected finite float32",)),
        (
            {"image": image.astype(np.float64) + 1e300},
            ("image: found values that are not finite; expected finite float32",),
        ),
        ({"image": image[:0]}, ("found no samples; expected at least one",)),
        (
            {"image": image, "labels": labels[:2]},
            ("labels: found shape [2]; expected [4], one label a sample",),
        ),
        ({"image": image, "labels": labels * 1.0}, ("labels: found float64; expected integers",)),
        (
            {"image": image, "labels": np.array([0, 10, 1, -1])},
            ("labels: found -1 to 10; expected 0 to 9",),
        ),
    ]
    for arrays, lines in faults:
        text = "".join(f"\n  - {line}" for line in lines)
        cases.append((_npz(path, **arrays), "found inputs that do not fit the model" + text))
    for content, message in cases:
        path.write_bytes(content)
        assert (
            refuse(flow, "sim", digits_build, "--backend", "golden", "--inputs", path) == f"{path}: {message}"
        )
    path.unlink()
    assert refuse(flow, "sim", digits_build, "--inputs", path) == (
        f"{path}: found No such file or directory; expected a readable .npz file"
    )
    assert refuse(flow, "sim", digits_build, "--inputs", tmp_path) == (
        f"{tmp_path}: found Is a directory; expected a readable .npz file"
    )


def test_options(flow: Flow, digits_build: Path, tmp_path: Path) -> None:
    assert refuse(flow, "sim", digits_build, "--backend", "vhdl") == (
        "--backend: found 'vhdl'; expected one of golden, csim, cosim, rtl"
    )
    assert refuse(flow, "sim", tmp_path) == (
        f"{tmp_path}: found no manifest.json (No such file or directory); expected a build directory; "
        "run `flow lower` first"
    )
    assert refuse(flow, "sim", digits_build, "--outputs", tmp_path) == (
        f"{tmp_path}: found a directory; expected a writable place; choose another with --outputs"
    )
    gone = tmp_path / "gone" / "y.npz"
    assert refuse(flow, "sim", digits_build, "--outputs", gone) == (
        f"{gone}: found no directory {gone.parent}; expected a writable place; choose another with --outputs"
    )
    assert refuse(flow, "sim", digits_build, "--vitis-include", tmp_path) == (
        f"{tmp_path}: found no ap_int.h; expected the headers of Vitis HLS; "
        "name the folder include/ of its installation"
    )


def test_no_compiler(flow: Flow, digits_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert refuse(flow, "sim", digits_build) == (
        "g++: found none on PATH; expected g++ 9 or later for C simulation; install it "
        "(Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++)"
    )
    assert flow("sim", digits_build, "--backend", "golden", "--samples", "1").status == 0


def test_cache_is_a_file(
    flow: Flow, digits_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "file"))
    assert refuse(flow, "sim", digits_build) == (
        f"{tmp_path}/file/csim: found Not a directory; expected a writable cache; "
        "set FLOW_CACHE_DIR to another folder"
    )


def _rewrite(build: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file of a build and its hash in the manifest: what no check of a build can see."""
    path = build / name
    content = change(path.read_bytes())
    path.write_bytes(content)
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (build / "manifest.json").write_text(json.dumps(manifest))


def test_mismatch(flow: Flow, build_copy: Path, tmp_path: Path, images: Any) -> None:
    """C++ that forgets to round: exit status 1, and the first element that differs is named with both values."""
    rounding = b"return (value + half(shift)) >> (shift & 63);"

    def truncate(text: bytes) -> bytes:
        assert text.count(rounding) == 1
        return text.replace(rounding, b"return value >> (shift & 63);")

    _rewrite(build_copy, "hls/engine/arithmetic.hpp", truncate)
    np.savez(tmp_path / "x.npz", image=images["image"][:5])
    outcome = flow("sim", build_copy, "--inputs", tmp_path / "x.npz", "--json")
    assert (outcome.status, outcome.err) == (1, "")
    report = outcome.json()
    assert (report["samples"], report["outputs_compared"]) == (5, 50)
    assert 0 < report["mismatches"] <= 50

    # The first step that rounds is the embedding; truncation errs by one towards minus infinity.
    build = Build.open(build_copy)
    golden: dict[str, np.ndarray[Any, Any]] = {}

    def observe(node: Node, values: tuple[np.ndarray[Any, Any], ...]) -> None:
        golden[node.name] = values[0]

    execute(build.graph, {"image": images["image"][:1]}, observe)
    assert report["first_mismatch"].startswith("sample 0: step add_q: add_q[0, ")
    index, _, values = (
        report["first_mismatch"].removeprefix("sample 0: step add_q: add_q[0, ").partition("]: ")
    )
    expected = int(golden["add_q"][0, int(index)])
    assert values == f"found {expected - 1}; expected {expected} (golden)"
    shown = flow("sim", build_copy, "--inputs", tmp_path / "x.npz")
    assert shown.status == 1
    assert shown.out == (
        f"csim: 5 samples, 50 outputs compared: {report['mismatches']} DIFFER from golden\n"
        f"first mismatch: {report['first_mismatch']}\n"
    )


def test_kernel_that_does_not_compile(flow: Flow, build_copy: Path) -> None:
    _rewrite(build_copy, "hls/flow_engine.cpp", lambda text: text + b"\n#error broken by hand\n")
    message = refuse(flow, "sim", build_copy)
    first, second = message.splitlines()[:2]
    assert first == "g++: found an error in the kernel; expected C++ that compiles; mend what it came from"
    assert second.startswith("  - flow_engine.cpp.j2:")
    assert "(written to hls/flow_engine.cpp:" in second
    assert second.endswith(": #error broken by hand")


def test_image_that_the_kernel_refuses(flow: Flow, build_copy: Path) -> None:
    """A step record of nonsense: the kernel's status comes back with the step's name."""
    step = 64 + 128

    def spoil(image: bytes) -> bytes:
        return image[: step + 4] + b"\xff" * 20 + image[step + 24 :]

    _rewrite(build_copy, "weights/image.bin", spoil)
    assert refuse(flow, "sim", build_copy) == (
        "csim: found status BAD_STEP at step 1 (add_table) after 0 frames; expected OK; lower the model again"
    )


@pytest.mark.parametrize("name", ["graph.json", "weights/image.bin", "weights/arrays.safetensors"])
def test_damaged_files(flow: Flow, build_copy: Path, name: str) -> None:
    path = build_copy / name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-5])
    assert refuse(flow, "sim", build_copy) == (
        f"{path}: found contents that differ from the manifest; expected sha256 {digest}; lower again"
    )
    path.unlink()
    assert refuse(flow, "sim", build_copy) == (
        f"{path}: found No such file or directory; expected a file of this build; lower again"
    )


def test_no_torch(models: Path, tmp_path: Path) -> None:
    """Lowering a .pt2 and simulating the build load no torch: it need not be installed."""
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from flow.cli import main\n"
        "for arguments in ARGUMENTS:\n"
        "    result = CliRunner().invoke(main, arguments, catch_exceptions=False)\n"
        "    assert result.exit_code == 0, result.output\n"
        "assert 'torch' not in sys.modules\n"
        "print('no torch')\n"
    )
    build = str(tmp_path / "build")
    arguments = [
        ["lower", str(models / "digits_vit_hp80.pt2"), "--board", "pynq-z2", "-o", build],
        ["sim", build, "--samples", "1", "--trace"],
        ["report", build],
        ["estimate", build],
    ]
    done = subprocess.run(
        [sys.executable, "-c", f"ARGUMENTS = {arguments!r}\n{script}"],
        capture_output=True, text=True, check=False, timeout=300, env=dict(os.environ),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "no torch\n"), done.stderr
