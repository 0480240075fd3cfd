"""Protobuf's text format: what is read, and where complaints point."""

from pathlib import Path

import pytest

from visionkit.errors import FileError, WeightsError
from visionkit.weights import prototxt
from visionkit.weights.prototxt import DEPTH, parse

TEXT = """\
name: "a \\"net\\"" 'of' "\\x41\\102" # comment: "
number: -12  hex: 0x1F; real: 1.5e-3, short: .5f
on: true  off: 0  pool: AVE  order: 1
list: [1, 2, 3]  empty: []  list: 4
inner { a: 1 inner < a: 2 > }  inner: { a: 3 }
"""


def test_what_is_read() -> None:
    message = parse(TEXT)
    assert message.text("name") == 'a "net"ofAB'
    assert message.integer("number", 0, -20, 20) == -12
    assert message.integer("hex", 0, 0, 99) == 31
    assert message.number("real", 0.0) == 1.5e-3
    assert message.number("short", 0.0) == 0.5
    assert message.number("number", 0.0) == -12
    assert message.flag("on", False)
    assert not message.flag("off", True)
    assert message.choice("pool", ("MAX", "AVE")) == message.choice("order", ("MAX", "AVE")) == 1
    assert message.integers("list", 0, 9) == [1, 2, 3, 4]
    assert message.integers("empty", 0, 9) == []
    assert [one.integer("a", 0, 0, 9) for one in message.messages("inner")] == [1, 3]
    assert message.messages("inner")[0].message("inner").integer("a", 0, 0, 9) == 2


def test_defaults() -> None:
    message = parse("")
    assert message.text("x", "none") == "none"
    assert message.integer("x", 7, 0, 9) == 7
    assert message.number("x", 0.5) == 0.5
    assert message.flag("x", True)
    assert message.choice("x", ("A", "B"), 1) == 1
    assert message.message("x").fields == {}


def test_the_three_descriptions_of_openpose(real_data: Path) -> None:
    layers = {"body_25": 261, "linevec_coco": 181, "mpi_4_stages": 127}
    for name, count in layers.items():
        path = real_data / "structures" / "openpose" / f"pose_deploy_{name}.prototxt"
        message = prototxt.read(path)
        assert len(message.messages("layer")) == count
        assert message.texts("input") == ["image"]


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a: 1\n  b @", "line 2, column 5", "neither a name"),
        ("a: 12x", "line 1, column 4", "neither a name"),
        ('a: "open\nb: 1', "line 1, column 4", "neither a name"),
        ("a {\n b: 1", "line 1, column 3", "ends before the '}'"),
        ("a { b: 1 >", "line 1, column 10", "expected a field's name"),
        ("a: 1 }", "line 1, column 6", "expected a field's name"),
        ("a 1", "line 1, column 3", "expected a colon"),
        ("a:", "line 1, column 3", "expected a colon"),
        ("a: [1 2]", "line 1, column 1", "expected a comma"),
        ("a: [1, ", "line 1, column 8", "expected a colon"),
        ("1: a", "line 1, column 1", "expected a field's name"),
        ("[ext.name]: 1", "line 1, column 1", "expected a field's name"),
        ("a {" * (DEPTH + 1), f"line 1, column {3 * DEPTH + 3}", f"more than {DEPTH} messages"),
        ("a { " * 100_000, "line 1", f"more than {DEPTH} messages"),
    ],
)
def test_broken_texts(text: str, place: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=f"net.prototxt: {place}.*{reason}"):
        parse(text, "net.prototxt")


@pytest.mark.parametrize(
    ("text", "ask", "reason"),
    [
        ("a: 1 a: 2", lambda m: m.integer("a", 0, 0, 9), "a is given twice"),
        ("a: 1.5", lambda m: m.integer("a", 0, 0, 9), "expected an integer .found '1.5'"),
        ("a: 010", lambda m: m.integer("a", 0, 0, 99), "expected an integer"),
        ("a: 10", lambda m: m.integer("a", 0, 0, 9), "expected 0 to 9 .found '10'"),
        ("a: " + "9" * 5000, lambda m: m.integer("a", 0, 0, 9), "expected an integer"),
        ("a: 0x" + "9" * 5000, lambda m: m.integer("a", 0, 0, 9), "expected 0 to 9"),
        ("a: 0x" + "9" * 5000, lambda m: m.number("a", 0), "finite decimal number"),
        ("a: 1e999", lambda m: m.number("a", 0), "finite decimal number"),
        ("a: nan", lambda m: m.number("a", 0), "expected a number"),
        ('a: "1"', lambda m: m.number("a", 0), "expected a number"),
        ("a: b", lambda m: m.text("a"), "expected a string"),
        ("a { }", lambda m: m.text("a"), "expected a string"),
        ("a: 1", lambda m: m.message("a"), "expected a message"),
        ("a { } a { }", lambda m: m.message("a"), "given twice"),
        ("a: MIN", lambda m: m.choice("a", ("MAX", "AVE")), "expected one of MAX, AVE .found 'MIN'"),
        ("a: 2", lambda m: m.flag("a", True), "expected one of false, true"),
        ("kernel_sise: 3", lambda m: m.only({"kernel_size"}), "unknown field.*Did you mean kernel_size"),
    ],
)
def test_fields_that_are_something_else(text: str, ask, reason: str) -> None:
    with pytest.raises(WeightsError, match=rf"line 1, column \d+: .*{reason}"):
        ask(parse(text))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x0a\x03net\xa2\x06\xff", "byte 5: not a text in UTF-8.*Give the .prototxt here"),
        (b"<html>", "HTML page"),
        (b"[net]\nwidth=4", "Darknet"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_other_files(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        prototxt.read(path)
    path.write_bytes(b" " * 4_000_001)
    with pytest.raises(FileError, match="more than the limit"):
        prototxt.read(path)
    path.write_bytes(b"\xef\xbb\xbfname: 'x'\r\n")
    assert prototxt.read(path).text("name") == "x"
