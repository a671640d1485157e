"""Executes a graph with the operators' own semantics; pure."""

from flow.golden.execute import execute

__all__ = ["execute"]
