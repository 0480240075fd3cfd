"""Masks of COCO annotations, checked before any C code sees them.

A polygon coordinate of 1e9 makes pycocotools crash, 1e8 takes 11 GB; run lengths that do not fill the mask
return uninitialised memory (torture finding 3).
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .coco_check import Notes

_REACH = 4  # polygon coordinates lie within this many picture sizes


def check_segmentation(row: dict[str, Any], size: tuple[int, int], place: str, notes: "Notes") -> bool:
    """Check `segmentation` in place: bad polygons are taken out, the box stays; False for a bad mask.

    Args:
        row: the annotation.
        size: (height, width) of the picture.
        place: of the annotation, for messages.
        notes: where findings go.
    """
    shape, place = row.get("segmentation"), f"{place}.segmentation"
    if shape is None:
        return True
    if isinstance(shape, dict):
        return _run_lengths(shape, size, place, notes)
    if not isinstance(shape, list):
        notes.bad("bad-segmentation", place, "expected polygons or run lengths", shape)
        return False
    kept = []
    for k, polygon in enumerate(shape):
        why = _polygon_fault(polygon)
        if why:
            notes.poor("bad-polygon", f"{place}[{k}]", f"{why}; the box is kept", polygon)
            continue
        if any(abs(v) > _REACH * max(size) for v in polygon):
            reason = f"a polygon coordinate beyond {_REACH} times the picture of {size[1]}x{size[0]}"
            notes.bad("polygon-range", f"{place}[{k}]", reason, max(polygon, key=abs))
            return False
        kept.append(polygon)
    if len(kept) < len(shape):
        row["segmentation"] = kept
    if not shape:
        notes.warn("no-polygons", place, "an empty list; taken as no segmentation")
    return True


def compressed_counts(text: str) -> list[int]:
    """The run lengths in COCO's compressed string (`rleFrString` of its C code).

    Raises:
        ValueError: the string ends in the middle of a number or holds another character.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"no run length holds {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("it ends in the middle of a number")
    return counts


def _polygon_fault(polygon: Any) -> str | None:
    if not isinstance(polygon, list) or any(
        isinstance(v, bool) or not isinstance(v, int | float) for v in polygon
    ):
        return "a polygon must be a list of numbers"
    if len(polygon) % 2:
        return f"an odd count of {len(polygon)} numbers"
    if len(polygon) < 6:
        return f"a polygon of {len(polygon) // 2} points"
    if not all(map(math.isfinite, polygon)):
        return "a coordinate that is not finite"
    return None


def _run_lengths(mask: dict[str, Any], size: tuple[int, int], place: str, notes: "Notes") -> bool:
    if mask.get("size") != list(size):
        reason = f"the mask's size is not the picture's [height, width] {list(size)}"
        notes.bad("mask-size", f"{place}.size", reason, mask.get("size"))
        return False
    counts = mask.get("counts")
    if isinstance(counts, str):
        try:
            counts = compressed_counts(counts)
        except ValueError as error:
            notes.bad("bad-mask", f"{place}.counts", f"not compressed run lengths: {error}", mask["counts"])
            return False
    if not isinstance(counts, list) or any(type(n) is not int or n < 0 for n in counts):
        notes.bad("bad-mask", f"{place}.counts", "run lengths must be integers of at least 0", counts)
        return False
    if sum(counts) != size[0] * size[1]:
        reason = f"the run lengths sum to {sum(counts)}, the mask has {size[0] * size[1]} pixels"
        notes.bad("bad-mask", f"{place}.counts", reason)
        return False
    return True
