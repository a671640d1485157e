"""The closed loop: from a model, data, a latency and an accuracy to the cheapest board and the compression for it."""

from flow.search.choose import Choice, Verdict, choose
from flow.search.loop import Constraints, Means, Selection, SelectOptions, select

__all__ = ["Choice", "Constraints", "Means", "SelectOptions", "Selection", "Verdict", "choose", "select"]
