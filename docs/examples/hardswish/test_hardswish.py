"""What the package promises: golden equals C++ and Verilog on its own examples."""

from collections.abc import Callable

import pytest
from flow_hardswish import HardSwish


@pytest.mark.parametrize("backend", ["csim", "rtl"])
def test_golden_equals(flow_operator: Callable[..., int], backend: str) -> None:
    """Every example on two small engines."""
    assert flow_operator(HardSwish, backend=backend) > 500
