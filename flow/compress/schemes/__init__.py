"""Pruning schemes: which weights of a matrix stay, each with the structure that the engine stores it in."""

from flow.compress.schemes.base import Mask, Scheme, Structure, kept_energy
from flow.compress.schemes.block import Block
from flow.compress.schemes.grid import Grid
from flow.compress.schemes.hp import Hp
from flow.compress.schemes.nm import NM
from flow.compress.schemes.pattern import Pattern
from flow.compress.schemes.unstructured import Unstructured

SCHEMES: dict[str, type[Scheme]] = {scheme.name: scheme for scheme in (Hp, Block, NM, Pattern, Unstructured)}
"""Schemes by the name that `--scheme` gives them."""

__all__ = [
    "NM",
    "SCHEMES",
    "Block",
    "Grid",
    "Hp",
    "Mask",
    "Pattern",
    "Scheme",
    "Structure",
    "Unstructured",
    "kept_energy",
]
