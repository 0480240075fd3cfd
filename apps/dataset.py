"""From arguments to a data set: a COCO file and its pictures, or a folder in VOC or YOLO layout."""

import argparse
from typing import TYPE_CHECKING

from visionkit.errors import UsageError

from .terminal import say

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset


def open_dataset(
    json: str | None,
    images: str | None,
    folder: str | None,
    flags: tuple[str, str, str],
    *,
    split: str = "train",
    strict: bool = False,
    skip_bad: bool = False,
    pictures: bool = True,
    keypoints: bool = False,
) -> "DetectionDataset":
    """The data set that three flags name, two of which exclude the third.

    Args:
        json, images: a COCO file and its folder of pictures.
        folder: or a folder in VOC, YOLO or COCO layout, of which `split` is taken.
        flags: the three flags' names, for messages.
        pictures: whether pictures are needed; without, `images` may be left out.
        keypoints: whether the objects' points are wanted, too.

    Raises:
        UsageError: none of the flags, or flags that exclude each other.
        DataError: the data set cannot be trusted.
        FileError: something is missing.
    """
    if folder and (json or images):
        raise UsageError(f"{flags[2]} and {flags[0]} exclude each other")
    if folder:
        from visionkit.datasets.folder import open_folder

        return open_folder(folder, split, strict=strict, skip_bad=skip_bad, keypoints=keypoints)
    if not json:
        raise UsageError(f"no data: give {flags[0]} and {flags[1]}, or {flags[2]}")
    if pictures and not images:
        raise UsageError(f"{flags[0]} needs {flags[1]}, the folder of its pictures")
    from visionkit.datasets.coco import CocoDataset
    from visionkit.datasets.coco_keypoints import CocoKeypoints

    return (CocoKeypoints if keypoints else CocoDataset)(json, images, strict=strict, skip_bad=skip_bad)


def from_data_flags(
    args: argparse.Namespace, *, pictures: bool = True, keypoints: bool = False
) -> "DetectionDataset":
    """The data set of `--json-annotations` and `--images`, or of `--data` and `--split`."""
    flags = ("--json-annotations", "--images", "--data")
    strict = bool(getattr(args, "strict", False))
    return open_dataset(
        args.json_annotations, args.images, args.data, flags,
        split=args.split, strict=strict, skip_bad=args.skip_bad, pictures=pictures, keypoints=keypoints,
    )  # fmt: skip


def mention_problems(dataset: "DetectionDataset") -> None:
    """Say on stderr what was left out or taken with a warning."""
    if len(dataset.problems):
        say(f"{dataset.problems.file}: {dataset.problems.summary()}")
