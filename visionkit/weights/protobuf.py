"""Protobuf's wire format, read without its library: a message is a run of numbered fields.

There is no schema and nothing is built: a `Message` is a stretch of a file, whose fields are walked over one
after the other; whoever knows what a field holds asks it for that. A length is checked against the message it
stands in before anything else, so that no file makes us read, skip or reserve more than it has bytes.
(Protocol Buffers, "Encoding".)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ..errors import WeightsError
from .files import StrPath

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
#: Messages inside messages; Caffe's deepest stand in the fifth.
DEPTH = 16

_KINDS = {
    VARINT: "an integer", FIXED64: "8 bytes", BYTES: "a stretch of bytes", 3: "the start of a group",
    4: "the end of a group", FIXED32: "4 bytes",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A stretch of a file.

    Attributes:
        file: its name, for messages.
        data: the whole content.
        start, end: the stretch, in bytes.
        path: the fields that lead here, such as ``layer[3].blobs[0]``.
        depth: how many messages it stands in.
    """

    file: StrPath
    data: bytes
    start: int
    end: int
    path: str = ""
    depth: int = 0

    def fields(self) -> Iterator["Field"]:
        """All fields in the order of the file.

        Raises:
            WeightsError: what stands there is no field, or reaches beyond the end of the message.
        """
        at = self.start
        while at < self.end:
            tag, after = self.varint(at)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < 2**29:
                self.fail(f"a field's number must lie between 1 and 536,870,911, this is {number:,}", at)
            start = after
            if wire == VARINT:
                value, after = self.varint(after)
            elif wire == BYTES:
                value, start = self.varint(after)
                after = start + value
            elif wire in (FIXED32, FIXED64):
                value, after = 0, after + (4 if wire == FIXED32 else 8)
            else:
                self.fail(f"field {number} is {_KINDS.get(wire, f'of unknown kind {wire}')}", at)
            if after > self.end:
                self.fail(
                    f"field {number} needs {after - start:,} bytes, {self.end - start:,} are left in the "
                    f"{'message' if self.depth else 'file'}",
                    at,
                )
            yield Field(self, number, wire, at, start, after, value)
            at = after

    def varint(self, at: int) -> tuple[int, int]:
        """An integer of 7 bits a byte, and where it ends."""
        value, byte, after = 0, 0x80, at
        while byte >= 0x80:
            if after >= self.end:
                self.fail("an integer is cut off", at)
            byte = self.data[after]
            value |= (byte & 0x7F) << 7 * (after - at)
            after += 1
            if value >= 2**64 or after - at > 10:
                self.fail("an integer of more than 64 bits", at)
        return value, after

    def fail(
        self, reason: str, at: int, remedy: str = "the file is damaged or of another kind; fetch it again"
    ) -> NoReturn:
        """Complain about what stands at byte `at`."""
        place = f"byte {at:,}" + (f" in {self.path}" if self.path else "")
        raise WeightsError(reason, file=self.file, place=place, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    Attributes:
        parent: the message.
        number: of the field in its message's definition.
        wire: how it is written: VARINT, FIXED64, BYTES or FIXED32.
        at: where it begins, in bytes; start, end: its content.
        value: of a VARINT, unsigned.
    """

    parent: Message
    number: int
    wire: int
    at: int
    start: int
    end: int
    value: int

    def message(self, name: str) -> Message:
        """The message that it holds, to be called `name`."""
        self._expect(BYTES, name)
        inside = self.parent
        if inside.depth == DEPTH:
            self.fail(f"more than {DEPTH} messages inside each other")
        path = f"{inside.path}.{name}" if inside.path else name
        return Message(inside.file, inside.data, self.start, self.end, path, inside.depth + 1)

    def text(self, name: str, limit: int = 1000) -> str:
        """The text that it holds, of at most `limit` bytes."""
        self._expect(BYTES, name)
        if self.end - self.start > limit:
            self.fail(f"{name}: a text of {self.end - self.start:,} bytes; {limit:,} are the limit")
        try:
            return self.parent.data[self.start : self.end].decode()
        except UnicodeDecodeError:
            self.fail(f"{name}: not UTF-8")

    def integer(self, name: str) -> int:
        """The signed integer that it holds."""
        self._expect(VARINT, name)
        return self.value - 2**64 if self.value >= 2**63 else self.value

    def integers(self, name: str) -> Iterator[int]:
        """One signed integer, or a packed run of them."""
        if self.wire == VARINT:
            yield self.integer(name)
            return
        self._expect(BYTES, name)
        packed, at = self.message(name), self.start
        while at < self.end:
            value, at = packed.varint(at)
            yield value - 2**64 if value >= 2**63 else value

    def numbers(self, name: str, size: int) -> memoryview:
        """The bytes of one number of `size` bytes, or of a packed run of them."""
        if self.wire != (FIXED32 if size == 4 else FIXED64):
            self._expect(BYTES, name)
        if (self.end - self.start) % size:
            self.fail(f"{name}: {self.end - self.start:,} bytes are no numbers of {size} bytes each")
        return memoryview(self.parent.data)[self.start : self.end]

    def fail(self, reason: str) -> NoReturn:
        """Complain about this field."""
        self.parent.fail(reason, self.at)

    def _expect(self, wire: int, name: str) -> None:
        if self.wire != wire:
            self.fail(f"{name}: expected {_KINDS[wire]}, this is {_KINDS[self.wire]}")
