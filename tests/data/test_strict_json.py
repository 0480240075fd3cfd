"""JSON that Python's own parser would take, or die of, beside what the COCO table tests already."""

import json

import pytest

from visionkit.data.strict_json import parse_json, read_json
from visionkit.errors import DataError


def test_good_json_is_as_python_reads_it(tmp_path):
    value = {"a": [1, 2.5, None, True, "é\U0001f408"], "b": {"a": {}}, "": -(2**70)}
    (tmp_path / "x.json").write_text(json.dumps(value))
    found = read_json(tmp_path / "x.json")
    assert found.value == value
    assert found.size == len((tmp_path / "x.json").read_bytes())
    assert not found.changed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', r"same key.*'a'"),
        ('[{"b": {"c": 1, "d": 2, "c": 1}}]', r"same key.*'c'"),
        ('[1, {"score": NaN}, -Infinity]', r"2 numbers are NaN or Infinity.*\[1\]\.score, \[2\]"),
        ('["NaN is fine in text", NaN]', r"1 numbers.*: \[1\]"),
        ("[1, 2", "ends at byte . of 5"),
        ('{"a": "unfin', "ends at byte 6 of 12"),
        ("[tru", "ends at byte 1 of 4"),
        ("[1] [2]", "byte 4 of 7"),
        ("[1,,2]", r"byte 3, line 1.*not JSON"),
        ("{'a': 1}", "not JSON"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("[" + "1" * 5000 + "]", "byte 1.*5000 digits"),
        ("   ", "ends at byte"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_json(text.encode(), file="x.json")
    assert str(caught.value).startswith("x.json")
    assert len(str(caught.value)) < 600


def test_offsets_count_bytes_not_characters():
    with pytest.raises(DataError, match="byte 11,"):
        parse_json('["éé", 1,,  "more"]'.encode(), file="x.json")
