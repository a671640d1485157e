"""What the package promises: golden equals C++ on its own examples."""

from collections.abc import Callable

from flow_hardswish import HardSwish


def test_golden_equals_cpp(flow_operator: Callable[[type[HardSwish]], int]) -> None:
    """Every example on two small engines."""
    assert flow_operator(HardSwish) > 500
