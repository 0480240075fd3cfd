"""Split a COCO document by picture, and put parts together again."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from visionkit.errors import DataError, UsageError

Document = dict[str, Any]


def split(document: Document, parts: Mapping[str, float], *, seed: int = 0) -> dict[str, Document]:
    """Divide the pictures of a checked document at random, the same way for the same ids and seed.

    Args:
        document: as `DetectionDataset.to_coco` gives it.
        parts: name -> share, such as {"train": .8, "val": .2}; shares sum to 1.
        seed: another seed, another division.

    Returns:
        name -> document with all categories, the pictures in their former order.

    Raises:
        UsageError: shares that are not positive or do not sum to 1, or a part that would be empty.
    """
    shares = np.array(list(parts.values()), float)
    if not (shares > 0).all() or abs(shares.sum() - 1) > 1e-9:
        raise UsageError("the shares of a split must be positive and sum to 1", value=dict(parts))
    ids = np.sort(np.array([row["id"] for row in document["images"]], np.int64))
    key = np.array([seed, len(ids)], np.uint64)
    shuffled = np.random.Generator(np.random.Philox(key=key)).permutation(ids)
    ends = np.round(np.cumsum(shares) * len(ids)).astype(int)
    made = {}
    for name, members in zip(parts, np.split(shuffled, ends[:-1]), strict=True):
        chosen = set(members.tolist())
        if not chosen:
            raise UsageError(f"{len(ids)} pictures are too few: part {name!r} would be empty")
        made[name] = {
            **document,
            "images": [row for row in document["images"] if row["id"] in chosen],
            "annotations": [row for row in document["annotations"] if row["image_id"] in chosen],
        }
    return made


def merge(documents: Iterable[Document]) -> Document:
    """Put parts of one data set together, rows sorted by id.

    Raises:
        DataError: categories differ, or an id of a picture or annotation occurs twice.
    """
    parts = list(documents)
    if not parts:
        raise UsageError("nothing to merge")
    if any(part["categories"] != parts[0]["categories"] for part in parts):
        raise DataError("the parts have different categories")
    merged = dict(parts[0])
    for kind in ("images", "annotations"):
        rows = sorted((row for part in parts for row in part[kind]), key=lambda row: row["id"])
        for one, two in pairwise(rows):
            if one["id"] == two["id"]:
                raise DataError(f"the same id twice in `{kind}`", value=one["id"])
        merged[kind] = rows
    return merged
