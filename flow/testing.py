"""pytest plugin: builds, templates and plug-in stages as tests of a repository outside flow.

It is found by itself once flow is installed. On the command line it needs no test file:

    pytest --flow-build build --flow-backend csim --flow-backend cosim

demands of every build that the golden model equals every backend. In a test file:

    def test_templates(flow_lower, flow_check):
        flow_check(flow_lower("model.pt2", board="u250", templates="templates"), "csim")

    def test_stage(flow_operator):
        flow_operator(HardSwish)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from flow.errors import FlowError

if TYPE_CHECKING:  # every run of pytest loads this file
    from flow.ops.device import DeviceOp
    from flow.sim.simulate import SimReport

SAMPLES = 16


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options `--flow-…`."""
    group = parser.getgroup("flow", "equivalence of lowered transformers")
    group.addoption(
        "--flow-build", action="append", default=[], metavar="DIR", help="check this build; repeatable"
    )
    group.addoption(
        "--flow-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="with this backend; repeatable (csim)",
    )
    group.addoption("--flow-inputs", metavar="NPZ", help="on these samples instead of seeded stimuli")
    group.addoption(
        "--flow-samples", type=int, default=SAMPLES, metavar="N", help=f"stimuli to draw ({SAMPLES})"
    )
    group.addoption("--flow-seed", type=int, default=0, metavar="N", help="their seed (0)")


def check_build(
    build: Path, backend: str = "csim", *, inputs: Path | None = None, samples: int = SAMPLES, seed: int = 0
) -> SimReport:
    """Demand that every output bit of a build equals golden's.

    Raises:
        AssertionError: one differs, or nothing was compared.
        FlowError: the build, the samples or the tools are not as they should be.
    """
    from flow.emit.build import Build
    from flow.golden.samples import load_samples
    from flow.golden.stimulus import stimulus
    from flow.sim.simulate import simulate

    opened = Build.open(build)
    drawn = (
        load_samples(inputs, opened.graph, labelled=True)
        if inputs is not None
        else stimulus(opened.graph, samples, seed)
    )
    report = simulate(opened, backend, drawn)
    if report.mismatches:
        raise AssertionError(
            f"{build}: {backend}: found {report.mismatches} of {report.outputs_compared} outputs that differ from "
            f"golden; expected none; {report.first_mismatch}"
        )
    if backend != "golden" and not report.outputs_compared:
        raise AssertionError(f"{build}: {backend}: found no output compared; expected some; give it samples")
    return report


class BuildItem(pytest.Item):
    """One build with one backend."""

    build: Path
    backend: str

    def runtest(self) -> None:
        option = self.config.getoption
        inputs = option("--flow-inputs")
        check_build(
            self.build,
            self.backend,
            inputs=Path(inputs) if inputs else None,
            samples=option("--flow-samples"),
            seed=option("--flow-seed"),
        )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """One message; a traceback only where it is flow that is wrong."""
        if isinstance(excinfo.value, (AssertionError, FlowError)):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.build, None, self.name


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests of a build's sim/ are its own: those of two builds have one name, and they simulate for minutes. They
    run where they are asked for, in the folder or by its name."""
    if not (collection_path / "manifest.json").is_file() or not (collection_path / "sim").is_dir():
        return None
    named = [
        (config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args
    ]
    inside = any(path.is_relative_to(collection_path.resolve()) for path in named)
    return None if inside else True


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add an item for every build and backend of the command line."""
    for build in config.getoption("--flow-build"):
        for backend in config.getoption("--flow-backend") or ["csim"]:
            item: BuildItem = BuildItem.from_parent(session, name=f"{build}[{backend}]")
            item.build, item.backend = Path(build), backend
            items.append(item)


@pytest.fixture
def flow_lower(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`flow_lower(model, board=…, templates=…, settings=(), config=…)`: the path of a new build of the test's own."""

    def run(
        model: str | Path,
        *,
        board: str,
        templates: str | Path | None = None,
        settings: tuple[str, ...] = (),
        config: str | Path | None = None,
    ) -> Path:
        from flow.boards import load_board
        from flow.emit.build import write_build
        from flow.emit.lower import LowerOptions, lower, parse_settings

        lowered = lower(
            Path(model),
            load_board(board),
            config=Path(config) if config is not None else None,
            options=LowerOptions(overrides=parse_settings(settings)),
            templates=Path(templates) if templates is not None else None,
        )
        path = tmp_path_factory.mktemp("flow") / "build"
        write_build(path, lowered.files, lowered.manifest)
        return path

    return run


@pytest.fixture
def flow_check() -> Callable[..., SimReport]:
    """`flow_check(build, backend="csim", inputs=…, samples=…, seed=…)`: see `check_build`."""

    def run(
        build: str | Path,
        backend: str = "csim",
        *,
        inputs: str | Path | None = None,
        samples: int = SAMPLES,
        seed: int = 0,
    ) -> SimReport:
        place = Path(inputs) if inputs is not None else None
        return check_build(Path(build), backend, inputs=place, samples=samples, seed=seed)

    return run


@pytest.fixture
def flow_operator() -> Callable[..., int]:
    """`flow_operator(Stage, backend="csim")`: demands golden = the C++, or with "rtl" the Verilog, on the stage's own
    examples; the number of outputs compared."""

    def run(operator: type[DeviceOp], backend: Literal["csim", "rtl"] = "csim") -> int:
        from flow.sim.operators import check_operator

        compared, different = check_operator(operator, backend=backend)
        if different or not compared:
            listed = "; ".join(map(str, different)) or "nothing was compared"
            language = "Verilog" if backend == "rtl" else "C++"
            raise AssertionError(
                f"{operator.name}: found {language} that differs from golden; expected none; {listed}"
            )
        return compared

    return run
