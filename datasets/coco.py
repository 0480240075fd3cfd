"""COCO instances: one JSON file and a folder of pictures."""

import os
from pathlib import Path

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.data.strict_json import read_json


class CocoDataset(DetectionDataset):
    """Pictures and boxes of a COCO annotation file."""

    def __init__(self, json: str | os.PathLike[str], images: str | os.PathLike[str]) -> None:
        document = read_json(json).value
        categories = sorted(document["categories"], key=lambda c: c["id"])
        index = {c["id"]: i for i, c in enumerate(categories)}
        objects: dict[int, list] = {image["id"]: [] for image in document["images"]}
        for a in document["annotations"]:
            x, y, w, h = a["bbox"]
            box = (x, y, x + w, y + h)
            objects[a["image_id"]].append((box, index[a["category_id"]], bool(a.get("iscrowd", 0))))
        records = [
            Record.of(
                i["id"],
                i["file_name"],
                Path(images, i["file_name"]),
                (i["height"], i["width"]),
                objects[i["id"]],
            )
            for i in document["images"]
        ]
        super().__init__([c["name"] for c in categories], list(index), records, Problems(json))
