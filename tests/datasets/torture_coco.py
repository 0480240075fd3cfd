"""The torture list of COCO files: what goes in, and what must come out (rows J01-J56, J62).

Each case changes a good document of two pictures and two classes, or gives the bytes of a file.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
OK, BAD_DATA = 0, 3


def document() -> Document:
    """Two pictures, 64x48 and 48x64 (width x height), a box of each class."""
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 2, "file_name": "b.png", "width": 48, "height": 64},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            _box(11, 1, 1, [4.5, 6.0, 20.0, 30.0]),
            _box(12, 2, 5, [10.0, 10.0, 30.0, 40.0]),
        ],
    }


def _box(key: Any, image: Any, category: Any, bbox: Any) -> Document:
    area = bbox[2] * bbox[3]
    return {"id": key, "image_id": image, "category_id": category, "bbox": bbox, "area": area, "iscrowd": 0}


@dataclass(frozen=True)
class Case:
    """`parts` must stand in the message; `kinds` are the counted findings when the set is accepted."""

    row: str
    name: str
    change: Callable[[Document], Document | bytes | None]
    code: int = BAD_DATA
    parts: tuple[str, ...] = ()
    kinds: dict[str, int] = field(default_factory=dict)
    boxes: int = 2
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> bytes:
        """The bytes of the annotation file."""
        good = document()
        made = self.change(good)
        if isinstance(made, bytes):
            return made
        return json.dumps(good if made is None else made).encode()


def put(path: str, value: Any) -> Callable[[Document], None]:
    """Set a place such as "annotations.0.bbox"."""

    def change(doc: Document) -> None:
        *way, last = path.split(".")
        at: Any = doc
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[int(last) if isinstance(at, list) else last] = value

    return change


def _drop(path: str) -> Callable[[Document], None]:
    def change(doc: Document) -> None:
        *way, last = path.split(".")
        at: Any = doc
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        del at[last]

    return change


def _add(kind: str, row: Document) -> Callable[[Document], None]:
    return lambda doc: doc[kind].append(row)


def _raw(text: str) -> Callable[[Document], bytes]:
    """The good document with the first bbox's first number replaced by raw text."""
    return lambda doc: json.dumps(doc).replace("4.5", text, 1).encode()


def _all_boxes(*boxes: list[float]) -> Callable[[Document], None]:
    def change(doc: Document) -> None:
        for row, box in zip(doc["annotations"], boxes, strict=True):
            row["bbox"] = box
            row["area"] = box[2] * box[3]

    return change


STRICT, SKIP = {"strict": True}, {"skip_bad": True}
POLYGON = "annotations.0.segmentation"
GOOD_RLE = {"size": [48, 64], "counts": [10, 20, 48 * 64 - 30]}
TEXT = json.dumps(document())

CASES = [
    Case("J01", "no images", _drop("images"), parts=("missing key `images`", "annotations, categories")),
    Case("J02", "no annotations", _drop("annotations"), OK, kinds={"no-annotations": 1}, boxes=0),
    Case("J03", "no categories", _drop("categories"), parts=("missing key `categories`",)),
    Case("J04", "no info or licences", lambda doc: None, OK),
    *(
        Case("J05", f"no {key}", _drop(f"annotations.1.{key}"), parts=("annotations[1]", f"lacks `{key}`"))
        for key in ("id", "image_id", "category_id", "bbox")
    ),
    Case("J05", "no area", _drop("annotations.1.area"), OK, kinds={"area-missing": 1}),
    Case("J05", "no iscrowd", _drop("annotations.0.iscrowd"), OK, kinds={"iscrowd-missing": 1}),
    Case(
        "J06",
        "duplicate annotation ids",
        put("annotations.1.id", 11),
        parts=("annotations[1] (id 11)", "annotations[0] (id 11)", "--repair"),
    ),
    Case("J07", "annotation id 0", put("annotations.0.id", 0), OK),
    Case("J08", "negative id", put("annotations.0.id", -1), parts=("annotations[0] (id -1).id", "-1")),
    Case("J08", "id 2^63", put("annotations.0.id", 2**63), parts=("below 2^53",)),
    Case("J08", "float id", put("annotations.0.id", 1.0), OK, kinds={"float-id": 1}),
    Case("J08", "fractional id", put("annotations.0.id", 1.5), parts=("got fraction", "1.5")),
    Case("J08", "boolean id", put("annotations.0.id", True), parts=("got boolean",)),
    Case("J09", "duplicate image ids", put("images.1.id", 1), parts=("'a.png' and 'b.png'",)),
    Case(
        "J10",
        "one file under two ids",
        _add("images", {"id": 3, "file_name": "a.png", "width": 64, "height": 48}),
        OK,
        kinds={"duplicate-file": 1},
    ),
    Case("J11", "unknown image", put("annotations.0.image_id", 99), parts=("(id 11).image_id", "99")),
    Case("J12", "unknown category", put("annotations.0.category_id", 2), parts=("(id 11).category_id",)),
    Case(
        "J13",
        "string image id",
        put("annotations.0.image_id", "1"),
        parts=("expected integer, got string (found '1')",),
    ),
    Case(
        "J13",
        "string category id",
        put("annotations.0.category_id", "1"),
        parts=("expected integer, got string",),
    ),
    Case("J14", "negative width", put("annotations.0.bbox", [4, 6, -20, 30]), parts=("negative width",)),
    Case(
        "J14",
        "negative width, skipped",
        put("annotations.0.bbox", [4, 6, -20, 30]),
        OK,
        kinds={"negative-box": 1},
        boxes=1,
        options=SKIP,
    ),
    Case("J15", "zero height", put("annotations.0.bbox", [4, 6, 20, 0]), OK, kinds={"zero-box": 1}, boxes=1),
    Case(
        "J15",
        "zero height, strict",
        put("annotations.0.bbox", [4, 6, 20, 0]),
        parts=("without area",),
        options=STRICT,
    ),
    Case("J16", "NaN in a box", _raw("NaN"), parts=("annotations[0].bbox[0]", "1 numbers are NaN")),
    Case("J17", "Infinity in a box", _raw("-Infinity"), parts=("annotations[0].bbox[0]",)),
    Case("J17", "1e999 in a box", _raw("1e999"), parts=("(id 11).bbox[0]", "inf")),
    Case("J17", "1e308 in a box", _raw("1e308"), parts=("(id 11).bbox[0]", "1e+308")),
    Case(
        "J18",
        "box outside",
        put("annotations.0.bbox", [70, 6, 20, 3]),
        OK,
        kinds={"box-outside": 1},
        boxes=1,
    ),
    Case(
        "J18",
        "box outside, strict",
        put("annotations.0.bbox", [70, 6, 20, 3]),
        parts=("outside its picture of 64x48",),
        options=STRICT,
    ),
    Case(
        "J19",
        "box over the edge",
        put("annotations.0.bbox", [50, 6, 20, 3]),
        OK,
        kinds={"box-over-edge": 1, "area-mismatch": 1},
    ),
    Case("J20", "three numbers", put("annotations.0.bbox", [1, 2, 3]), parts=("(id 11).bbox", "4 numbers")),
    Case("J20", "five numbers", put("annotations.0.bbox", [1, 2, 3, 4, 5]), parts=("4 numbers",)),
    Case("J20", "null", put("annotations.0.bbox", None), parts=("4 numbers", "None")),
    Case("J20", "nested", put("annotations.0.bbox", [[1, 2, 3, 4]]), parts=("4 numbers",)),
    Case("J21", "strings", put("annotations.0.bbox", ["1", 2, 3, 4]), parts=("bbox[0]", "'1'")),
    Case(
        "J22",
        "corner boxes",
        _all_boxes([40, 20, 60, 40], [30, 30, 44, 60]),
        OK,
        kinds={"box-over-edge": 2, "corner-boxes": 1},
    ),
    Case(
        "J23",
        "normalised boxes",
        _all_boxes([0.1, 0.2, 0.5, 0.5], [0.3, 0.3, 0.4, 0.4]),
        OK,
        kinds={"normalised-boxes": 1},
    ),
    Case(
        "J24", "NaN area", lambda doc: TEXT.replace("600.0", "NaN").encode(), parts=("annotations[0].area",)
    ),
    Case("J24", "area 0", put("annotations.0.area", 0), OK, kinds={"area-mismatch": 1}),
    Case("J24", "area too large", put("annotations.0.area", 5000), OK, kinds={"area-mismatch": 1}),
    Case("J24", "area of a mask", put("annotations.0.area", 300.5), OK),
    Case("J24", "negative area", put("annotations.0.area", -1), parts=("(id 11).area",)),
    *(Case("J25", f"iscrowd {v}", put("annotations.0.iscrowd", v), OK) for v in (0, 1, False, True)),
    *(
        Case("J25", f"iscrowd {v!r}", put("annotations.0.iscrowd", v), parts=("expected 0 or 1",))
        for v in ("1", 2, None, 0.5)
    ),
    Case("J26", "crowd without a mask", put("annotations.0.iscrowd", 1), OK),
    Case("J26", "good mask", put(POLYGON, GOOD_RLE), OK),
    Case("J26", "mask of another size", put(POLYGON, GOOD_RLE | {"size": [64, 48]}), parts=("[48, 64]",)),
    Case(
        "J27",
        "mask too short",
        put(POLYGON, {"size": [48, 64], "counts": [10, 20]}),
        parts=("sum to 30, the mask has 3072 pixels",),
    ),
    Case("J28", "mask too long", put(POLYGON, {"size": [48, 64], "counts": [4000]}), parts=("4000",)),
    Case(
        "J28", "negative run", put(POLYGON, {"size": [48, 64], "counts": [-1, 3073]}), parts=("at least 0",)
    ),
    Case("J28", "garbage runs", put(POLYGON, {"size": [48, 64], "counts": "\x01\x02"}), parts=(".counts",)),
    Case("J28", "cut runs", put(POLYGON, {"size": [48, 64], "counts": "o"}), parts=("in the middle",)),
    Case("J28", "no runs", put(POLYGON, {"size": [48, 64]}), parts=(".counts",)),
    Case("J29", "huge mask", put(POLYGON, {"size": [2**31 - 1] * 2, "counts": [1]}), parts=(".size",)),
    *(
        Case("J30", f"polygon at {v:g}", put(POLYGON, [[1, 1, v, 1, 9, 9]]), parts=("beyond 4 times",))
        for v in (1e7, 1e8, 1e9, -300)
    ),
    *(
        Case("J31", f"{name} polygon", put(POLYGON, [value]), OK, kinds={"bad-polygon": 1})
        for name, value in (
            ("odd", [1, 2, 3, 4, 5, 6, 7]),
            ("short", [1, 2, 3, 4]),
            ("empty", []),
            ("wordy", ["1", 2, 3, 4, 5, 6]),
        )
    ),
    Case(
        "J31",
        "infinite polygon",
        lambda doc: (
            put(POLYGON, [[1, 1, 7.25, 1, 9, 9]])(doc) or json.dumps(doc).replace("7.25", "1e999").encode()
        ),
        OK,
        kinds={"bad-polygon": 1},
    ),
    Case("J31", "no polygons", put(POLYGON, []), OK, kinds={"no-polygons": 1}),
    Case("J31", "odd, strict", put(POLYGON, [[1] * 7]), parts=("odd count of 7",), options=STRICT),
    Case("J37", "gaps in category ids", put("categories.1.id", 5), OK),
    *(
        Case(
            "J38",
            f"category id {v}",
            lambda doc, v=v: put("categories.0.id", v)(doc) or put("annotations.0.category_id", v)(doc),
            OK,
        )
        for v in (0, -3, 10**9)
    ),
    Case(
        "J38",
        "image id 0",
        lambda doc: put("images.0.id", 0)(doc) or put("annotations.0.image_id", 0)(doc),
        OK,
    ),
    Case("J39", "duplicate category id", put("categories.1.id", 1), parts=("'cat'", "'dog'")),
    Case(
        "J39",
        "duplicate category name",
        put("categories.1.name", "cat"),
        OK,
        kinds={"duplicate-category-name": 1},
    ),
    *(
        Case("J40", f"category name {k}", put("categories.0.name", name), OK)
        for k, name in enumerate(("🐈", "two\nlines", "x" * 10_000, "<script>", "\x1b[31mred"))
    ),
    Case("J41", "empty annotations", put("annotations", []), OK, boxes=0),
    Case("J42", "empty images", put("images", []), parts=("`images` is empty",)),
    Case(
        "J43", "class and picture without boxes", lambda doc: doc["annotations"].pop() and None, OK, boxes=1
    ),
    *(
        Case("J44", f"file name {k}", put("images.0.file_name", name), parts=("file_name",))
        for k, name in enumerate(
            ("../a.png", "/etc/passwd", "C:\\x.png", "a\0.png", "", "x" * 5000, "out.png", 7, None)
        )
    ),
    Case("J45", "another size", put("images.0.width", 63), parts=("picture is 64x48", "say 63x48")),
    Case("J46", "a missing picture", put("images.0.file_name", "no.png"), parts=("images[0] (id 1) no.png",)),
    Case(
        "J46",
        "a missing picture, skipped",
        put("images.0.file_name", "no.png"),
        OK,
        kinds={"picture-missing": 1},
        boxes=1,
        options=SKIP,
    ),
    Case("J47", "byte order mark", lambda doc: b"\xef\xbb\xbf" + TEXT.encode(), OK),
    Case("J48", "UTF-16", lambda doc: TEXT.encode("utf-16"), parts=("UTF-16", "onvert it to UTF-8")),
    Case("J48", "UTF-16 without mark", lambda doc: TEXT.encode("utf-16-be"), parts=("UTF-16",)),
    Case(
        "J48",
        "Latin-1",
        lambda doc: TEXT.replace("cat", "caté", 1).encode("latin-1"),
        parts=("byte 137: not UTF-8", "onvert it to UTF-8"),
    ),
    *(
        Case("J49", f"cut at {at}", lambda doc, at=at: TEXT[:at].encode(), parts=("ends at byte", f"of {at}"))
        for at in (1, 100, 372, len(TEXT) - 1)
    ),
    Case("J49", "0 bytes", lambda doc: b"", parts=("empty (0 bytes)",)),
    Case("J49", "garbage behind", lambda doc: TEXT.encode() + b" xx", parts=(f"byte {len(TEXT) + 1} of",)),
    Case("J49", "two documents", lambda doc: TEXT.encode() * 2, parts=(f"byte {len(TEXT)} of", "two files")),
    Case("J49", "a web page", lambda doc: b"<!DOCTYPE html><html></html>", parts=("HTML",)),
    Case("J50", "a results file", lambda doc: b"[]", parts=("looks like a results file", "--detections")),
    Case("J50", "a number", lambda doc: b"7", parts=("expected an object",)),
    Case("J51", "200,000 brackets", lambda doc: b"[" * 200_000, parts=("nested too deeply",)),
    Case("J52", "5,000-digit integer", _raw("9" * 5000), parts=("5000 digits", "byte ")),
    Case("J52", "4,000-digit integer", _raw("9" * 4000), parts=("(id 11).bbox[0]",)),
    Case(
        "J53", "images twice", lambda doc: b'{"images": [], ' + TEXT[1:].encode(), parts=("images", "twice")
    ),
    Case("J62", "key ignore", put("annotations.0.ignore", 1), OK, kinds={"ignore-key": 1}),
    Case("J05", "a row that is no object", put("annotations.0", 7), parts=("annotations[0]", "an object")),
    Case("J05", "annotations no list", put("annotations", {}), parts=("annotations", "expected a list")),
]
