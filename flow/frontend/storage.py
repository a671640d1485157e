"""The stored tensors of a `.pt2` archive: found by name, read on first use."""

from __future__ import annotations

from flow.errors import FlowError
from flow.frontend.archive import Archive
from flow.frontend.schema import PayloadMeta, read_payloads
from flow.frontend.tensors import tensor
from flow.ir import Array, TensorType

_REMEDY = "write the file again with torch.export.save"


class Storage:
    """Parameters, buffers and constants of the program `name` in an archive.

    Raises:
        FlowError: a directory of payloads is damaged.
    """

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self._payloads: dict[str, tuple[str, PayloadMeta]] = {}
        self._read: dict[str, bytes] = {}
        for folder in ("constants", "weights"):
            document = f"data/{folder}/{name}_{folder}_config.json"
            if document in archive:
                payloads = read_payloads(archive.document(document), f"{archive.path}: {document}")
                self._payloads.update((key, (folder, payload)) for key, payload in payloads.items())

    def load(self, key: str, kind: TensorType) -> Array:
        """The tensor `key`, read-only. Tensors that share a payload share its memory.

        Raises:
            FlowError: it is missing, pickled, reaches outside its payload, or is not of the type `kind`.
        """
        where = f"{self._archive.path}: tensor {key}"
        if key not in self._payloads:
            raise FlowError(f"{where}: found no data; expected a payload; {_REMEDY}")
        folder, payload = self._payloads[key]
        if payload.use_pickle or payload.tensor_meta is None:
            raise FlowError(
                f"{where}: found a pickled payload, which could run code; expected raw data; "
                "export a model of plain tensors, without tensor subclasses"
            )
        name = payload.path_name
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise FlowError(f"{where}: found the payload name {name!r}; expected a plain name; {_REMEDY}")
        member = f"data/{folder}/{name}"
        if member not in self._read:
            self._read[member] = self._archive.read(member)
        array = tensor(payload.tensor_meta, self._read[member], where)
        found = TensorType(tuple(array.shape), str(array.dtype))
        if found != kind:
            raise FlowError(f"{where}: found {found}; expected {kind}, as the program says; {_REMEDY}")
        return array
