"""The HLS pragmas of the vendor's guide (UG1399, HLS Pragmas): options, values, and where each may stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NUMBER, NAME, TEXT = "number", "name", "text"
"""An integer or constant; a variable in scope; anything."""
Kind = str | frozenset[str]


def one_of(words: str) -> frozenset[str]:
    """Values that an option takes, written in small letters."""
    return frozenset(words.split())


@dataclass(frozen=True)
class Directive:
    """One pragma: options with their kind, those that it needs, words without a value, and its scopes.

    `scopes` are those of `function`, `loop` and `region`: the block that the pragma stands in.
    """

    options: Mapping[str, Kind] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    scopes: frozenset[str] = one_of("function loop region")


_FUNCTION, _LOOP, _BOTH = one_of("function"), one_of("loop"), one_of("function loop")
_PARTITION = Directive(
    {"variable": NAME, "type": one_of("cyclic block complete"), "factor": NUMBER, "dim": NUMBER},
    ("variable",),
    one_of("off"),
)
_MEMORY_KINDS = one_of("fifo ram_1p ram_1wnr ram_2p ram_s2p ram_t2p rom_1p rom_2p rom_np")
_MEMORY_IMPLEMENTATIONS = one_of("bram bram_ecc lutram uram uram_ecc srl memory auto autosrl")
_MODES = one_of(
    "m_axi s_axilite axis ap_none ap_vld ap_ack ap_hs ap_ovld ap_memory bram ap_fifo ap_stable ap_ctrl_none "
    "ap_ctrl_hs ap_ctrl_chain"
)
_TRUTH = one_of("true false")

DIRECTIVES: Mapping[str, Directive] = {
    "AGGREGATE": Directive({"variable": NAME, "compact": one_of("bit byte none auto")}, ("variable",)),
    "ALIAS": Directive({"ports": TEXT, "offset": TEXT, "distance": NUMBER}, ("ports",), scopes=_FUNCTION),
    "ALLOCATION": Directive(
        {"instances": TEXT, "limit": NUMBER}, ("instances", "limit"), one_of("function operation")
    ),
    "ARRAY_PARTITION": _PARTITION,
    "ARRAY_RESHAPE": Directive({**_PARTITION.options, "object": TEXT}, ("variable",), one_of("off object")),
    "BIND_OP": Directive({"variable": NAME, "op": TEXT, "impl": TEXT, "latency": NUMBER}, ("variable", "op")),
    "BIND_STORAGE": Directive(
        {"variable": NAME, "type": _MEMORY_KINDS, "impl": _MEMORY_IMPLEMENTATIONS, "latency": NUMBER},
        ("variable", "type"),
    ),
    "CACHE": Directive({"port": NAME, "lines": NUMBER, "depth": NUMBER, "ways": NUMBER, "users": NUMBER}, ("port",)),
    "DATAFLOW": Directive(flags=one_of("disable_start_propagation"), scopes=_BOTH),
    "DEPENDENCE": Directive(
        {
            "variable": NAME, "class": one_of("array pointer"), "type": one_of("intra inter"),
            "direction": one_of("raw war waw"), "distance": NUMBER, "dependent": _TRUTH,
        }, ("dependent",), one_of("intra inter array pointer raw war waw true false"), _BOTH,
    ),
    "DISAGGREGATE": Directive({"variable": NAME}, ("variable",)),
    "EXPRESSION_BALANCE": Directive(flags=one_of("off")),
    "FUNCTION_INSTANTIATE": Directive({"variable": NAME}, ("variable",), scopes=_FUNCTION),
    "INLINE": Directive(flags=one_of("off recursive region"), scopes=one_of("function region")),
    "INTERFACE": Directive(
        {
            "mode": _MODES, "port": NAME, "bundle": TEXT, "offset": TEXT, "depth": NUMBER, "latency": NUMBER,
            "name": TEXT, "clock": TEXT, "channel": TEXT, "register_mode": one_of("both forward reverse off"),
            "storage_type": _MEMORY_KINDS, "storage_impl": _MEMORY_IMPLEMENTATIONS, "max_widen_bitwidth": NUMBER,
            "max_read_burst_length": NUMBER, "max_write_burst_length": NUMBER, "num_read_outstanding": NUMBER,
            "num_write_outstanding": NUMBER, "interrupt": NUMBER, "direct_io": _TRUTH,
        }, ("mode", "port"), one_of("register"), _FUNCTION,
    ),
    "LATENCY": Directive({"min": NUMBER, "max": NUMBER}),
    "LOOP_FLATTEN": Directive(flags=one_of("off"), scopes=_LOOP),
    "LOOP_MERGE": Directive(flags=one_of("force")),
    "LOOP_TRIPCOUNT": Directive({"min": NUMBER, "max": NUMBER, "avg": NUMBER}, ("max",), scopes=_LOOP),
    "OCCURRENCE": Directive({"cycle": NUMBER}),
    "PERFORMANCE": Directive(
        {
            "target_ti": NUMBER, "target_tl": NUMBER, "assume_ti": NUMBER, "assume_tl": NUMBER,
            "unit": one_of("cycle sec"),
        },
        scopes=_BOTH,
    ),
    "PIPELINE": Directive({"ii": NUMBER, "style": one_of("stp frp flp")}, flags=one_of("off rewind"), scopes=_BOTH),
    "PROTOCOL": Directive({"mode": one_of("floating fixed")}, flags=one_of("floating fixed"), scopes=one_of("region")),
    "RESET": Directive({"variable": NAME}, ("variable",), one_of("off")),
    "STABLE": Directive({"variable": NAME}, ("variable",)),
    "STREAM": Directive(
        {"variable": NAME, "depth": NUMBER, "type": one_of("fifo pipo shared unsync")}, ("variable",), one_of("off")
    ),
    "TOP": Directive({"name": TEXT}, scopes=_FUNCTION),
    "UNROLL": Directive({"factor": NUMBER}, flags=one_of("skip_exit_check off region"), scopes=_LOOP),
}  # fmt: skip
