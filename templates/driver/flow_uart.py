"""A chip behind a UART (docs/chip.md) as the device of flow_driver.py: loads models and runs frames.

`port` is a file-like object for bytes with `read(size)`, which returns fewer bytes after a while without any, and
`write(bytes)`, such as pyserial's. The standard library is all that this file needs.

    import serial
    port = serial.Serial("/dev/ttyUSB0", 1_000_000, timeout=0.1)
    device = UartDevice(port)
    accelerator = Accelerator(device, Protocol.of(Path("build")))
    accelerator.carry_out(accelerator.protocol.load(0))          # the image that the chip was built with
    output = accelerator.run(frame, output_bytes)

or, for another model on the same engine, `accelerator.load(Path("other/weights/image.bin").read_bytes())`.

Requests that get no answer, or a damaged one, are repeated: every one of them may be carried out twice.
"""

from __future__ import annotations

import struct
import time
from binascii import crc_hqx
from collections.abc import Callable
from typing import Protocol as Interface

_REQUEST, _ANSWER = 0xF1, 0xF2
PING, READ_MEMORY, READ_REGISTER, RECEIVE, RESET = range(5)
WRITE_MEMORY, WRITE_REGISTER, SEND = 0x41, 0x42, 0x43
_WRITE = 0x40
"""Set in requests that carry words, and in their answers, which carry none."""
STATUSES = ("OK", "BAD_CHECKSUM", "BAD_OPCODE", "BAD_ADDRESS", "BAD_COUNT")
MAGIC = 0x504C4843
VERSION = 1
MOST_WORDS = 512
"""Words of one request or answer."""
ATTEMPTS = 4


class Port(Interface):
    """What pyserial's `Serial` is, as far as it is used here."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer where no more come for a while."""

    def write(self, data: bytes) -> object:
        """Send bytes."""


class UartError(RuntimeError):
    """The chip does not answer, or refuses a request; `status` is its answer, if there is one."""

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class UartDevice:
    """A chip at the other end of `port`.

    Attributes:
        image_bytes: what its image memory holds.
        beat_bytes: of the memory image.
        stream_bytes: of the streams.

    Args:
        port: the line.
        idle_s: silence after which the chip drops half a request; a little more than its own, `idle_s` of chip.json.
        sleep: lets that time pass.

    Raises:
        UartError: nothing that speaks this protocol answers.
    """

    def __init__(
        self, port: Port, *, idle_s: float = 0.1, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._port, self._idle_s, self._sleep = port, idle_s, sleep
        self._sent = self._received = 0
        self._waiting = b""
        _, words = self._ask(PING, 0, 0)
        if len(words) < 4 or words[0] != MAGIC or words[1] != VERSION:
            raise UartError(
                f"chip: found {[hex(word) for word in words]}; expected a chip of flow that speaks version {VERSION}; "
                "load its bitstream"
            )
        self.stream_bytes = 4 * (words[2] >> 16)
        self.beat_bytes = words[2] & 0xFFFF
        self.image_bytes = 4 * words[3]
        self.reset()

    # ---- what flow_driver.Device asks for
    def read(self, offset: int) -> int:
        """A register."""
        return self._ask(READ_REGISTER, offset, 1)[1][0]

    def write(self, offset: int, value: int) -> None:
        """Set a register."""
        self._ask(WRITE_REGISTER, offset, 1, struct.pack("<I", value))

    def place(self, image: bytes) -> int:
        """Write an image into the chip's memory; returns its address, 0.

        Bytes beyond the memory have to be padding: an image is padded to whole pages, the memory holds whole blocks.

        Raises:
            UartError: it is larger than the memory.
        """
        data = image.ljust(-(-len(image) // 4) * 4, b"\0")
        if len(data.rstrip(b"\0")) > self.image_bytes:
            raise UartError(
                f"chip: found an image of {len(data.rstrip(bytes(1)))} bytes; expected at most {self.image_bytes}; "
                "build a chip with that model"
            )
        self.write_memory(0, data[: self.image_bytes])
        return 0

    def send(self, frame: bytes) -> None:
        """Send a frame: as much as the chip takes now; `receive` sends the rest."""
        self._waiting += frame
        self._push()

    def receive(self, size: int) -> bytes:
        """The next `size` bytes of the output stream.

        Raises:
            UartError: none come any more; the engine waits for input, or was not started.
        """
        output, idle = b"", 0
        while len(output) < size:
            self._push()
            count = min(MOST_WORDS, -(-(size - len(output)) // 4))
            _, words = self._ask(RECEIVE, self._received, count)
            self._received = (self._received + len(words)) & 0xFFFFFFFF
            output += struct.pack(f"<{len(words)}I", *words)
            idle = 0 if words else idle + 1
            if idle > 10 * ATTEMPTS:
                raise UartError(
                    f"chip: found {len(output)} bytes of output; expected {size}; read the engine's status"
                )
            if not words:
                self._sleep(self._idle_s / 10)
        return output

    # ---- more than that
    def reset(self) -> None:
        """Reset the engine and drop what the streams hold; the image stays."""
        self._ask(RESET, 0, 0)
        self._sent = self._received = 0
        self._waiting = b""

    def write_memory(self, address: int, data: bytes) -> None:
        """Write whole words at a byte address of the image: a code page, say."""
        for at in range(0, len(data), 4 * MOST_WORDS):
            piece = data[at : at + 4 * MOST_WORDS]
            self._ask(WRITE_MEMORY, address + at, len(piece) // 4, piece)

    def read_memory(self, address: int, size: int) -> bytes:
        """Whole words of the image."""
        data = b""
        while len(data) < size:
            _, words = self._ask(READ_MEMORY, address + len(data), min(MOST_WORDS, (size - len(data)) // 4))
            data += struct.pack(f"<{len(words)}I", *words)
        return data

    def _push(self) -> None:
        """Send what waits, until the chip takes no more."""
        while self._waiting:
            piece = self._waiting[: 4 * MOST_WORDS]
            now, _ = self._ask(SEND, self._sent, len(piece) // 4, piece)
            taken = (now - self._sent) & 0xFFFFFFFF
            self._sent, self._waiting = now, self._waiting[4 * taken :]
            if 4 * taken < len(piece):
                return

    def _ask(
        self, opcode: int, address: int, count: int, payload: bytes = b""
    ) -> tuple[int, tuple[int, ...]]:
        """Address and words of the answer to a request.

        Raises:
            UartError: it is refused, or there is no whole answer after some attempts.
        """
        body = struct.pack("<BHI", opcode, count, address) + payload
        request = bytes([_REQUEST]) + body + struct.pack("<H", crc_hqx(body, 0xFFFF))
        for _ in range(ATTEMPTS):
            self._port.write(request)
            answer = self._answer()
            if answer is not None and answer[0] != "BAD_CHECKSUM":
                status, where, words = answer
                # An answer to SEND at another place is one that was carried out before, and its answer lost.
                if status != "OK" and not (opcode == SEND and status == "BAD_ADDRESS" and where != address):
                    raise UartError(
                        f"chip: found {status} for request {opcode:#04x}, address {address:#x}, {count} words; "
                        "expected OK; does the chip belong to this build?",
                        status,
                    )
                return where, words
            self._quiet()
        raise UartError(
            f"chip: found no whole answer to request {opcode:#04x} in {ATTEMPTS} attempts; expected one; "
            "check the line and its speed"
        )

    def _answer(self) -> tuple[str, int, tuple[int, ...]] | None:
        """Status, address and words, or nothing where no whole answer comes."""
        if self._port.read(1) != bytes([_ANSWER]):
            return None
        header = self._port.read(7)
        if len(header) < 7:
            return None
        status, count, address = struct.unpack("<BHI", header)
        if status & ~_WRITE >= len(STATUSES) or count > MOST_WORDS:
            return None
        # Of a write the answer counts the words that were taken, and carries none.
        carried = 0 if status & _WRITE else count
        rest = self._port.read(4 * carried + 2)
        if len(rest) < 4 * carried + 2:
            return None
        *words, crc = struct.unpack(f"<{carried}IH", rest)
        return (
            (STATUSES[status & ~_WRITE], address, tuple(words))
            if crc == crc_hqx(header + rest[:-2], 0xFFFF)
            else None
        )

    def _quiet(self) -> None:
        """Let the chip forget half a request, and drop what is left of its answers."""
        self._sleep(self._idle_s)
        while self._port.read(4096):
            pass
