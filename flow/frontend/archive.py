"""Read access to a zip archive that may be hostile.

Everything that the archive declares about itself is checked when it is opened, before any member is read: names,
sizes against the file, overlaps, compression ratios. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from flow.errors import FlowError, raise_all

MAX_MEMBERS = 200_000
MAX_RATIO = 100
"""A member may expand to this many times its stored size, plus 1 MiB. torch stores members uncompressed."""

MAX_DOCUMENT = 256 << 20
"""Bytes of one JSON member; BERT-base has 2 MB."""

MAX_DEPTH = 100
"""Nesting of one JSON member; torch writes less than 20 levels."""

_REMEDY = "write the file again with torch.export.save or torch.save"
_NOISE = re.compile(rb'"(?:[^"\\]+|\\.?)*+(?:"|\Z)|[^"\[\]{}]+', re.DOTALL)
"""Strings, terminated or not, and everything else that is not a bracket; every match succeeds in one pass."""


class Archive:
    """An open zip archive. Members are named without the top folder that they all share.

    Raises:
        FlowError: the file is no zip archive, is damaged, or is made to hurt its reader.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            UnicodeDecodeError,
            ValueError,
            OverflowError,
        ) as error:
            raise FlowError(
                f"{path}: found a truncated or damaged zip archive ({error}); expected a whole one; {_REMEDY}"
            ) from error
        except OSError as error:
            raise FlowError(
                f"{path}: found an unreadable file ({error.strerror}); expected a zip archive; check the path"
            ) from error
        try:
            self._members = self._check()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member."""
        return self._members[name].file_size

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of a member, its checksum verified.

        Raises:
            FlowError: there is no such member, it is larger than `limit`, or it is damaged.
        """
        member = self._members.get(name)
        where = f"{self.path}: member {name!r}"
        if member is None:
            raise FlowError(f"{self.path}: found no member {name!r}; expected one; {_REMEDY}")
        if limit is not None and member.file_size > limit:
            raise FlowError(f"{where}: found {member.file_size} bytes; expected at most {limit}; {_REMEDY}")
        try:
            # A bounded read: an unbounded one inflates all that is there, whatever size was declared.
            with self._zip.open(member) as stream:
                data = stream.read(member.file_size)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            OSError,
        ) as error:
            raise FlowError(
                f"{where}: found damaged data ({error}); expected a whole archive; {_REMEDY}"
            ) from error
        if len(data) != member.file_size:
            raise FlowError(f"{where}: found {len(data)} bytes; expected {member.file_size}; {_REMEDY}")
        return data

    def document(self, name: str) -> bytes:
        """The bytes of a JSON member that is neither huge nor nested beyond reason.

        Raises:
            FlowError: as `read`, or the nesting exceeds `MAX_DEPTH`.
        """
        data = self.read(name, MAX_DOCUMENT)
        depth = nesting(data)
        if depth > MAX_DEPTH:
            raise FlowError(
                f"{self.path}: member {name!r}: found JSON nested {depth} deep; expected at most {MAX_DEPTH}; {_REMEDY}"
            )
        return data

    def _check(self) -> dict[str, zipfile.ZipInfo]:
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            raise FlowError(
                f"{self.path}: found {len(members)} members; expected at most {MAX_MEMBERS}; {_REMEDY}"
            )
        if members and min(m.header_offset for m in members) != 0:
            # A directory further inside is that of an archive within: torch stores example inputs as one.
            raise FlowError(
                f"{self.path}: found a truncated or damaged zip archive (its directory is gone); "
                f"expected a whole one; {_REMEDY}"
            )
        faults = [f"member {m.filename!r}: {fault}" for m in members if (fault := _fault(m))]
        faults += _overlaps(members, self._zip.start_dir)
        by_name: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            if member.filename in by_name:
                faults.append(f"member {member.filename!r}: found twice; expected once")
            by_name[member.filename] = member
        raise_all(
            FlowError,
            f"{self.path}: found an archive that cannot be trusted; expected one as torch writes it; {_REMEDY}",
            faults[:10],
        )
        roots = {name.partition("/")[0] for name in by_name}
        if len(roots) == 1 and all("/" in name for name in by_name):
            return {name.partition("/")[2]: member for name, member in by_name.items()}
        return by_name


def _fault(member: zipfile.ZipInfo) -> str:
    """What is wrong with one directory entry, or ''."""
    name = member.orig_filename
    parts = name.removesuffix("/").split("/")
    if "\\" in name or "\0" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        return "found a name that leaves the archive; expected a plain relative path"
    if member.flag_bits & 0x1:
        return "found encryption; expected plain data"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"found compression method {member.compress_type}; expected stored or deflated"
    if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
        return f"found {member.compress_size} stored bytes for {member.file_size}; expected them equal"
    if member.file_size > MAX_RATIO * member.compress_size + (1 << 20):
        return f"found {member.compress_size} bytes that grow to {member.file_size}; expected at most {MAX_RATIO} times"
    return ""


def _overlaps(members: list[zipfile.ZipInfo], end: int) -> list[str]:
    """Members that share bytes with the next one or with the directory at `end`, as in a bomb of overlapping files."""
    ordered = sorted(members, key=lambda m: m.header_offset)
    limits = [m.header_offset for m in ordered[1:]] + [end]
    return [
        f"member {m.filename!r}: found {m.compress_size} bytes at {m.header_offset}; expected it to end before {limit}"
        for m, limit in zip(ordered, limits, strict=True)
        if m.header_offset < 0 or m.header_offset + 30 + m.compress_size > limit
    ]


def nesting(document: bytes) -> int:
    """How deep the brackets of a JSON document nest, found without parsing it."""
    brackets = np.frombuffer(_NOISE.sub(b"", document), np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1), dtype=np.int64).max(initial=0))
