"""The engine and the binary contract between compiler, golden model, C++, Verilog, loader and drivers.

An engine is T token lanes x B banks x P output rows of multipliers plus the stages compiled in. A *program*
is a list of step records with the data they name, packed into one memory image. `docs/program-format.md` is
the same contract in prose; `tests/test_program_format.py` keeps the two together.

Memories (a word of `operand` and `store` is T bytes, T tokens of one channel; a word of `values` is P bytes):

- `operand0`, `operand1`: ping-pong inputs of linear steps, B banks of `operand_depth` words, ceil(P/2) copies.
- `store`: residual stream, queries and keys, B banks of `store_depth` words.
- `values`: the V of attention, transposed, B banks of `values_depth` words.

Channel c of a tensor of `depth` D (physical channels / B) lies in bank `c % B`. Byte plane p (0 low, 1 high)
of token tile i is at `base + (i*planes + p)*D + c//B`.
"""

from flow.engine.parameters import (
    PROGRAM_VERSION,
    STAGES,
    Engine,
    outside_stages,
    register_stage,
    require,
)
from flow.engine.ports import Interface, Signal, interfaces
from flow.engine.program import ImageBuilder, Port, Program
from flow.engine.records import (
    HEADER_BYTES,
    INFO,
    INFO_WORDS,
    MAX_CODE_ENTRIES,
    MAX_SHAPES,
    PROGRAM_MAGIC,
    RECORD_BYTES,
    RECORD_WORDS,
    RECORDS,
    REGISTERS,
    STAGE_WORDS,
    Command,
    Opcode,
    Record,
    Space,
    Status,
    pack_header,
)

__all__ = [
    "HEADER_BYTES",
    "INFO",
    "INFO_WORDS",
    "MAX_CODE_ENTRIES",
    "MAX_SHAPES",
    "PROGRAM_MAGIC",
    "PROGRAM_VERSION",
    "RECORDS",
    "RECORD_BYTES",
    "RECORD_WORDS",
    "REGISTERS",
    "STAGES",
    "STAGE_WORDS",
    "Command",
    "Engine",
    "ImageBuilder",
    "Interface",
    "Opcode",
    "Port",
    "Program",
    "Record",
    "Signal",
    "Space",
    "Status",
    "interfaces",
    "outside_stages",
    "pack_header",
    "register_stage",
    "require",
]
