"""What a program costs on a board, and the engine that a model should get.

`estimate_layout` adds up the operators' own estimates; `fit` searches engines with them. Resources are calibrated
against Yosys (`flow.cost.resources`).
"""

from flow.cost.cycles import beat_cycles
from flow.cost.fit import cycles_of, fit
from flow.cost.report import EstimateReport, ResourceEstimate, StepEstimate, estimate_layout
from flow.cost.resources import Usage, available, budget, engine_usage

__all__ = [
    "EstimateReport",
    "ResourceEstimate",
    "StepEstimate",
    "Usage",
    "available",
    "beat_cycles",
    "budget",
    "cycles_of",
    "engine_usage",
    "estimate_layout",
    "fit",
]
