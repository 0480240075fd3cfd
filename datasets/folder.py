"""One folder in, one data set out: which of the layouts it has is seen from its contents."""

import os
from pathlib import Path

from visionkit.data.dataset import DetectionDataset
from visionkit.errors import FileError

from .coco import CocoDataset
from .coco_keypoints import CocoKeypoints
from .faces import FacesDataset
from .voc import VocDataset
from .yolo_txt import YoloDataset


def open_folder(
    folder: str | os.PathLike[str],
    split: str = "train",
    *,
    strict: bool = False,
    skip_bad: bool = False,
    keypoints: bool = False,
) -> DetectionDataset:
    """The data set in a folder.

    VOC:  Annotations/, JPEGImages/, ImageSets/Main/SPLIT.txt
    YOLO: images/SPLIT or images, the same under labels, and classes.txt or data.yaml for the names
    COCO: SPLIT.json and images/
    face landmarks: keypoints.csv and images/; the splits are train and val

    Where `keypoints` are wanted, only the last two will do.

    Raises:
        FileError: the folder is missing or has none of these layouts.
        DataError: the data set cannot be trusted.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileError("no such folder", file=root)
    if not keypoints and (root / "Annotations").is_dir():
        return VocDataset(root, split, strict=strict, skip_bad=skip_bad)
    if not keypoints and (root / "labels").is_dir():
        images = root / "images" / split if (root / "images" / split).is_dir() else root / "images"
        names = [root / name for name in ("classes.txt", "data.yaml") if (root / name).is_file()]
        return YoloDataset(images, names=names[0] if names else None, strict=strict, skip_bad=skip_bad)
    if (root / f"{split}.json").is_file():
        kind = CocoKeypoints if keypoints else CocoDataset
        return kind(root / f"{split}.json", root / "images", strict=strict, skip_bad=skip_bad)
    if (root / "keypoints.csv").is_file():
        return FacesDataset(root / "keypoints.csv", root / "images", split, strict=strict, skip_bad=skip_bad)
    remedy = f"VOC has Annotations/, YOLO has labels/, COCO has {split}.json, faces have keypoints.csv"
    reason = "no data set of a known layout" + (" that has key-points" if keypoints else "")
    raise FileError(f"{reason} in this folder", file=root, remedy=remedy)
