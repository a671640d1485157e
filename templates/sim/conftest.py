"""The option of this folder's tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--waves` writes results/NAME/dump.fst."""
    parser.addoption("--waves", action="store_true", help="write waveforms, results/NAME/dump.fst")
