"""Graph to Graph, one pass per file."""

from flow.passes.recognise import recognise

__all__ = ["recognise"]
