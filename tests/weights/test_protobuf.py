"""The wire format: numbers and lengths at their limits, and every way to be cut off."""

import pytest

from tests.weights.caffe_writer import integer, stretch, varint
from visionkit.errors import WeightsError
from visionkit.weights.protobuf import BYTES, DEPTH, FIXED32, FIXED64, VARINT, Field, Message


def message(data: bytes) -> Message:
    return Message("net.caffemodel", data, 0, len(data))


def fields(data: bytes) -> list[Field]:
    return list(message(data).fields())


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31 - 1, 2**32, 2**63, 2**64 - 1])
def test_integers(value: int) -> None:
    (field,) = fields(integer(536870911, value))
    assert (field.number, field.wire, field.value) == (536870911, VARINT, value)
    assert field.integer("n") == (value if value < 2**63 else value - 2**64)


def test_every_kind_of_field() -> None:
    data = (
        integer(1, 5)
        + stretch(2, "name")
        + b"\x1d\0\0\x80\x3f"
        + b"\x21"
        + bytes(8)
        + stretch(5, b"\x01\xac\x02")
    )
    found = fields(data)
    assert [f.wire for f in found] == [VARINT, BYTES, FIXED32, FIXED64, BYTES]
    assert [f.at for f in found] == [0, 2, 8, 13, 22]
    assert found[1].text("name") == "name"
    assert bytes(found[2].numbers("data", 4)) == b"\0\0\x80\x3f"
    assert list(found[4].integers("dim")) == [1, 300]
    assert list(found[0].integers("dim")) == [5]


def test_the_place_of_a_fault_is_told() -> None:
    """Byte and path, counted in the file and not in the message."""
    data = stretch(100, stretch(7, stretch(5, b"12345")))
    layer = fields(data)[0].message("layer[0]")
    blob = next(layer.fields()).message("blobs[0]")
    with pytest.raises(WeightsError, match=r"net.caffemodel: byte 5 in layer\[0\].blobs\[0\]: data: 5 bytes"):
        next(blob.fields()).numbers("data", 4)


@pytest.mark.parametrize(
    ("data", "at", "reason"),
    [
        (b"\x80", 0, "cut off"),
        (b"\x08\xff\xff", 1, "cut off"),
        (b"\xff" * 11, 0, "more than 64 bits"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", 1, "more than 64 bits"),
        (b"\x0a\x05abc", 0, "needs 5 bytes, 3 are left in the file"),
        (b"\x0a" + varint(2**31) + b"x", 0, "needs 2,147,483,648 bytes, 1 are left"),
        (b"\x0a" + varint(2**64 - 1), 0, "needs 18,446,744,073,709,551,615 bytes, 0 are left"),
        (b"\x0d123", 0, "needs 4 bytes, 3 are left"),
        (b"\x09", 0, "needs 8 bytes, 0 are left"),
        (b"\x0b", 0, "start of a group"),
        (b"\x0c", 0, "end of a group"),
        (b"\x0e", 0, "unknown kind 6"),
        (b"\x00", 0, "number must lie between"),
        (integer(1, 1) + integer(2**29, 1), 2, "number must lie between"),
    ],
)
def test_faults(data: bytes, at: int, reason: str) -> None:
    """Torture W14: nothing is reserved or skipped for a length that the file does not have."""
    with pytest.raises(WeightsError, match=f"byte {at}: .*{reason}.*fetch it again"):
        fields(data)


def test_a_packed_run_that_ends_inside_a_number() -> None:
    (field,) = fields(stretch(1, b"\x01\x80") + b"")
    with pytest.raises(WeightsError, match=r"byte 3 in dim: an integer is cut off"):
        list(field.integers("dim"))


def test_what_a_field_is_not() -> None:
    number, text = fields(integer(1, 5) + stretch(2, b"\xff\xfe"))
    for ask in (number.text, number.message, lambda name: number.numbers(name, 4)):
        with pytest.raises(WeightsError, match="byte 0: x: expected a stretch of bytes, this is an integer"):
            ask("x")
    with pytest.raises(WeightsError, match="byte 2: x: expected an integer, this is a stretch"):
        text.integer("x")
    with pytest.raises(WeightsError, match="not UTF-8"):
        text.text("x")
    with pytest.raises(WeightsError, match="a text of 2 bytes; 1 are the limit"):
        text.text("x", limit=1)


def test_messages_inside_messages_have_a_limit() -> None:
    data = b""
    for _ in range(100):
        data = stretch(1, data)
    inner = message(data)
    for _ in range(DEPTH):
        inner = next(inner.fields()).message("m")
    deepest = next(inner.fields())
    with pytest.raises(WeightsError, match=f"more than {DEPTH} messages"):
        deepest.message("m")
