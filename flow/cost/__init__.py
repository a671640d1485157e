"""What a program costs on a board, and the engine that a model should get.

`estimate_layout` adds up the operators' own estimates; `fit` searches engines with them. Resources are calibrated
against Yosys (`flow.cost.resources`).
"""

from flow.cost.cycles import beat_cycles
from flow.cost.energy import Activity, Energy, energy_of
from flow.cost.fit import barrier, cycles_of, fit
from flow.cost.forms import StepForms
from flow.cost.quick import estimate_quickly
from flow.cost.report import EstimateReport, ResourceEstimate, StepEstimate, Walks, estimate_layout
from flow.cost.resources import Usage, available, budget, engine_usage, ultra_memories

__all__ = [
    "Activity",
    "Energy",
    "EstimateReport",
    "ResourceEstimate",
    "StepEstimate",
    "StepForms",
    "Usage",
    "Walks",
    "available",
    "barrier",
    "beat_cycles",
    "budget",
    "cycles_of",
    "energy_of",
    "engine_usage",
    "estimate_layout",
    "estimate_quickly",
    "fit",
    "ultra_memories",
]
