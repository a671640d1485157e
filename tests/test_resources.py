"""The folders that travel with the package, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.errors import FlowError
from flow.resources import AssetKind, asset_dir, cache_dir, check_place

KINDS: tuple[AssetKind, ...] = ("templates", "hls", "boards")


@pytest.mark.parametrize("kind", KINDS)
def test_in_this_installation(kind: AssetKind) -> None:
    assert any(path.is_file() for path in asset_dir(kind).rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_wheel_brings_its_own(kind: AssetKind, tmp_path: Path) -> None:
    """Inside a wheel the copy in the package wins over a folder that happens to lie beside it."""
    package = tmp_path / "site-packages" / "flow"
    (package / "_assets" / kind).mkdir(parents=True)
    (package.parent / kind).mkdir()
    assert asset_dir(kind, package) == package / "_assets" / kind


def test_a_checkout_has_them_beside_the_package(tmp_path: Path) -> None:
    (tmp_path / "hls").mkdir()
    assert asset_dir("hls", tmp_path / "flow") == tmp_path / "hls"


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FlowError) as caught:
        asset_dir("hls", tmp_path / "flow")
    assert str(caught.value) == (
        f"hls: no such folder at {tmp_path}/flow/_assets/hls and {tmp_path}/hls; expected it inside the package or "
        "beside it in a checkout; install flow-hls again"
    )


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOW_CACHE_DIR", "mine")
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.setenv("FLOW_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "flow"


def test_places_for_files(tmp_path: Path) -> None:
    check_place(tmp_path / "new", "-o")
    for place, found in ((tmp_path, "a directory"), (tmp_path / "a" / "b", f"no directory {tmp_path / 'a'}")):
        with pytest.raises(FlowError) as caught:
            check_place(place, "-o")
        assert str(caught.value) == (
            f"{place}: found {found}; expected a writable place; choose another with -o"
        )
