"""What kind of model a file holds, decided by its bytes and never by its name.

Pickle streams are scanned opcode by opcode for the classes they need; nothing in them is ever executed.
"""

from __future__ import annotations

import json
import mmap
import pickletools
import stat
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import IO, Any

from flow.errors import FlowError
from flow.frontend.archive import Archive

EXPORT = (
    "    ep = torch.export.export(model.eval(), (example,), strict=False)\n"
    '    torch.export.save(ep, "model.pt2")'
)
"""The two lines that make a `.pt2`; every refusal of a pickled model ends with them."""

MAX_OPCODES = 5_000_000
"""Opcodes of one pickle; a state_dict of a thousand tensors has 50,000."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""A pickle of 0x1950a86a20f9469cfc6c, with which torch.save began its files before 1.6."""

_SAFE = frozenset(
    {
        "collections.OrderedDict",
        "collections.Counter",
        "torch.Size",
        "torch.Tensor",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        *(
            f"torch.{name}"
            for name in (
                "bfloat16",
                "bool",
                "float16",
                "float32",
                "float64",
                "int8",
                "int16",
                "int32",
                "int64",
                "uint8",
            )
        ),
        *(
            f"torch.{name}Storage"
            for name in (
                "BFloat16",
                "Bool",
                "Byte",
                "Char",
                "Double",
                "Float",
                "Half",
                "Int",
                "Long",
                "Short",
            )
        ),
    }
)
"""What a state_dict of plain tensors needs; a subset of what torch.load(weights_only=True) allows."""


class Kind(Enum):
    """The kinds of file that can become a model."""

    PT2 = "a .pt2 archive"
    STATE_DICT = "a state_dict"
    SAFETENSORS = "a safetensors file"


def sniff(path: str | Path) -> Kind:
    """The kind of a model file.

    Raises:
        FlowError: there is no such file, it is damaged or hostile, or it is of a kind that is refused: a pickled
            module, a pickled fx GraphModule, TorchScript. The message says why and how to make a `.pt2`.
    """
    path = Path(path)
    size = _size(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head.startswith(_TORCH_LEGACY):
                _scan_legacy(path, file)
                return Kind.STATE_DICT
            if _safetensors(path, file, head, size):
                return Kind.SAFETENSORS
    except OSError as error:
        raise _unreadable(path, error) from error
    if head.startswith(_ZIP):
        return _sniff_zip(path)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        raise _refusal(path, "a pickle that torch.save did not write, which could run code when loaded")
    raise FlowError(
        f"{path}: found an unknown kind of file (it begins with {head[:8].hex(' ')}); "
        "expected a .pt2 archive, a state_dict or a safetensors file"
    )


def _size(path: Path) -> int:
    """Bytes of a regular file with something in it."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FlowError(f"{path}: found no such file; expected a model; check the path") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise FlowError(f"{path}: found a directory; expected a model file; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise FlowError(f"{path}: found a device or pipe; expected a model file; copy it to a file first")
    if status.st_size == 0:
        raise FlowError(f"{path}: found an empty file; expected a model; write it again")
    return status.st_size


def _unreadable(path: Path, error: Exception) -> FlowError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return FlowError(
        f"{path}: found an unreadable file ({reason.lower()}); expected a model; check its permissions"
    )


def _refusal(path: Path, found: str) -> FlowError:
    return FlowError(
        f"{path}: found {found}; expected a .pt2 archive; make one where the model is defined:\n{EXPORT}"
    )


# -- zip archives ----------------------------------------------------------------------------------------------


def _sniff_zip(path: Path) -> Kind:
    with Archive(path) as archive:
        if "archive_format" in archive:
            return Kind.PT2
        if "constants.pkl" in archive or any(name.startswith("code/") for name in archive):
            raise _refusal(path, "a TorchScript archive, which has lost the model's modules")
        if "serialized_exported_program.json" in archive:
            raise _refusal(path, "an exported program of torch before 2.7, whose weights are pickled")
        if "data.pkl" in archive:
            _check_globals(path, _Stream(archive.read("data.pkl", 1 << 30)))
            return Kind.STATE_DICT
    raise FlowError(
        f"{path}: found a zip archive that torch did not write; "
        "expected a .pt2 archive, a state_dict or a safetensors file; write it again with torch.export.save"
    )


# -- pickles ---------------------------------------------------------------------------------------------------


class _Stream:
    """What pickletools needs of a file, over bytes in memory; never reads more than there is."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def read(self, count: int) -> bytes:
        part = self._data[self._at : self._at + max(count, 0)]
        self._at += len(part)
        return part

    def readline(self) -> bytes:
        end = self._data.find(b"\n", self._at, self._at + 4096)
        return self.read((end + 1 if end >= 0 else self._at + 4096) - self._at)

    def tell(self) -> int:
        return self._at


def _scan_legacy(path: Path, file: IO[bytes]) -> None:
    """Three header pickles (magic number, version, platform), then the object."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        stream = _Stream(data)
        for _ in range(4):
            _check_globals(path, stream)


def _check_globals(path: Path, stream: _Stream) -> None:
    """Refuse a pickle that needs anything but what tensors need, or that torch's safe loader cannot read."""
    try:
        protocol, needed = _globals(pickletools.genops(stream))  # type: ignore[arg-type] # all that it calls
    except (ValueError, IndexError, KeyError, EOFError, OverflowError) as error:
        raise FlowError(
            f"{path}: found a damaged pickle ({error}); expected a state_dict; write it again with torch.save"
        ) from error
    foreign = [name for name in needed if name not in _SAFE]
    if any(name.startswith("torch.fx.") for name in foreign):
        raise _refusal(path, "a pickled fx GraphModule, which would run code when loaded")
    if any(name.startswith(("torch.jit.", "__torch__")) for name in foreign):
        raise _refusal(path, "a TorchScript archive, which has lost the model's modules")
    if foreign:
        raise _refusal(
            path, f"a pickled module or object (it needs {foreign[0]}), which would run code when loaded"
        )
    if protocol > 2:
        raise FlowError(
            f"{path}: found a state_dict in pickle protocol {protocol}; expected protocol 2, which torch can load "
            "safely; write it again with torch.save(state_dict, path)"
        )


def _globals(opcodes: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> tuple[int, list[str]]:
    """Protocol of a pickle and the dotted names that it looks up.

    Protocol 4 takes module and name from the stack; the strings are followed through the memo, and a name that
    cannot be followed is reported as `?`.
    """
    protocol = 0
    found: dict[str, None] = {}
    pushed: list[str | None] = [None, None]
    memo: dict[int, str | None] = {}
    for count, (opcode, argument, _) in enumerate(opcodes):
        if count > MAX_OPCODES:
            raise ValueError(f"more than {MAX_OPCODES} opcodes")
        match opcode.name:
            case "PROTO":
                protocol = int(argument)
            case "GLOBAL" | "INST":
                found[str(argument).replace(" ", ".")] = None
                pushed.append(None)
            case "STACK_GLOBAL":
                module, name = pushed[-2:]
                found[f"{module}.{name}" if module and name else "?"] = None
                pushed.append(None)
            case "EXT1" | "EXT2" | "EXT4":
                found["?"] = None
            case "MEMOIZE":
                memo[len(memo)] = pushed[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[int(argument)] = pushed[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                pushed.append(memo.get(int(argument)))
            case _ if opcode.stack_after:
                pushed.append(argument if isinstance(argument, str) else None)
        del pushed[:-2]
    return protocol, list(found)


# -- safetensors -----------------------------------------------------------------------------------------------


def _safetensors(path: Path, file: IO[bytes], head: bytes, size: int) -> bool:
    """Whether a file is safetensors: eight bytes of header length, then a JSON object.

    Raises:
        FlowError: it is, but shorter than it says.
    """
    length = int.from_bytes(head[:8], "little")
    if len(head) < 10 or head[8:9] != b"{" or not 2 <= length <= 100 << 20:
        return False
    file.seek(8)
    header = file.read(min(length, size - 8))
    try:
        tensors = json.loads(header)
        ends = [entry["data_offsets"][1] for key, entry in tensors.items() if key != "__metadata__"]
        end = max([0, *ends])
        whole = isinstance(end, int) and size == 8 + length + end
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise FlowError(
            f"{path}: found a truncated or damaged safetensors file; expected a whole one; save or download it again"
        )
    return True
