"""The torture list of keypoints in COCO files (rows J32-J35)."""

import json
from collections.abc import Callable
from typing import Any

from tests.datasets.torture_coco import OK, Case, Document, put


def _keypoints(values: list[Any], count: Any = None) -> Callable[[Document], None]:
    def change(doc: Document) -> None:
        doc["categories"][0]["keypoints"] = [f"p{i}" for i in range(17)]
        doc["annotations"][0] |= {"keypoints": values} | ({} if count is None else {"num_keypoints": count})

    return change


def _two_skeletons(doc: Document) -> None:
    _keypoints([9, 9, 2] * 17, 17)(doc)
    doc["categories"][1]["keypoints"] = ["tip", "tail"]
    doc["annotations"][1] |= {"keypoints": [11, 11, 2, 0, 0, 0], "num_keypoints": 1}


def _raw_points(text: str) -> Callable[[Document], bytes]:
    """Seventeen points of which the first number is replaced by raw text."""

    def change(doc: Document) -> bytes:
        _keypoints([4321, 9, 2] + [9, 9, 2] * 16, 17)(doc)
        return json.dumps(doc).replace("4321", text).encode()

    return change


def _odd_category(key: str, value: Any) -> Callable[[Document], None]:
    def change(doc: Document) -> None:
        _keypoints([9, 9, 2] * 17, 17)(doc)
        doc["categories"][0][key] = value

    return change


CASES = [
    Case("J32", "48 key-point numbers", _keypoints([9, 9, 2] * 16), parts=("48 numbers instead of 51",)),
    Case("J32", "50 key-point numbers", _keypoints([1] * 50), parts=("50 numbers instead of 51",)),
    Case("J32", "no key-point numbers", _keypoints([]), parts=("0 numbers instead of 51",)),
    Case(
        "J33",
        "other counts in other classes",
        _two_skeletons,
        OK,
    ),
    Case("J34", "no num_keypoints", _keypoints([9, 9, 2] * 17), OK, kinds={"num-keypoints": 1}),
    Case("J34", "num_keypoints 0", _keypoints([9, 9, 2] * 17, 0), OK, kinds={"num-keypoints": 1}),
    *(
        Case("J35", f"visibility {v}", _keypoints([9, 9, v] * 17, 17), parts=("keypoints[2]", "0, 1 or 2"))
        for v in (3, -1, 1.5)
    ),
    Case("J35", "point far away", _keypoints([1e9, 9, 2] * 17, 17), parts=("keypoints[0]", "coordinate")),
    Case("J35", "point 1e999", _raw_points("1e999"), parts=("keypoints[0]", "expected a number")),
    Case("J35", "point NaN", _raw_points("NaN"), parts=("annotations[0].keypoints[0]", "NaN")),
    Case(
        "J35",
        "doubtful points, each kind once",
        _keypoints([*[70, 9, 2, 0, 0, 1, 9, 9, 0] * 2, *[9, 9, 2] * 11], 15),
        OK,
        kinds={"keypoint-outside": 1, "keypoint-at-origin": 1, "keypoint-unlabelled": 1},
    ),
    *(
        Case("J35", f"{key} {value}", _odd_category(key, value), parts=(f"categories[0].{key}", "a list"))
        for key in ("skeleton", "sigmas", "flips")
        for value in (1.5, "1-2", {}, None)
    ),
    Case(
        "J35",
        "normalised points",
        _keypoints([0.5, 0.4, 2] * 17, 17),
        OK,
        kinds={"normalised-keypoints": 1},
    ),
    Case("J35", "points off the box", _keypoints([60, 46, 2] * 17, 17), OK, kinds={"keypoints-off-box": 1}),
    *(
        Case(
            "J35", f"names {names}", put("categories.0.keypoints", names), parts=("categories[0].keypoints",)
        )
        for names in (17, "nose", [1, 2], {"0": "nose"})
    ),
]
