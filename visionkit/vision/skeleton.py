"""A skeleton: what the points of a pose are called, which belong together and which swap in a mirror.

One object serves the width of a network's head, the targets, the decoder, drawing and OKS.
"""

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..shapes import expect

Colour = tuple[int, int, int]

#: OKS tolerance of a point that nobody has measured, as a part of the object's size.
GUESSED_SIGMA = 0.05

#: OKS tolerances by name: COCO's own (pycocotools); the feet of COCO-WholeBody, both sides alike, which they
#: are not there; points that COCO lacks as their neighbours: neck as shoulder, trunk as hip, top of the head
#: as nose.
_SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062,
    "hip": 0.107, "knee": 0.087, "ankle": 0.089, "neck": 0.079, "chest": 0.107, "head_top": 0.026,
    "toe": 0.08, "heel": 0.08,
}  # fmt: skip

#: Points that some data sets mark and others leave to be computed: the middle of two that both have.
_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}

#: Left and right as words, as single letters, or as the capital in front of another (LEye).
_SIDE = re.compile(
    r"(?<![a-zA-Z])(?:[lL]eft|[rR]ight|LEFT|RIGHT)|(?<=[a-z])(?:Left|Right)"
    r"|(?<![a-zA-Z])[lrLR](?![a-zA-Z])|^[LR](?=[A-Z])"
)
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


@dataclass(frozen=True, slots=True)
class Skeleton:
    """K named points and the limbs between them; all indices count from 0.

    What is not given follows from the names: flips from left and right, sigmas where COCO has a point of that
    name (with or without a word in front), colours from the sides.

    Attributes:
        name: what this set of points is called.
        keypoints: K names, all different; left and right are those of the person, not of the picture.
        limbs: pairs of joints that are directly joined, from the trunk outwards (MPP-07); limb number i has
            the channels 2 i (x) and 2 i + 1 (y) of the part affinity fields.
        flips: K indices: in a mirrored picture point k is found where flips[k] was.
        sigmas: K tolerances of OKS, parts of the square root of the object's area; one standard deviation
            of how people mark the point, as in pycocotools.
        guessed: some sigmas are `GUESSED_SIGMA`, because nobody has measured them: OKS says little.
        colours: K colours (red, green, blue) 0..255; a limb is drawn in the colour of its outer end.

    Raises:
        UsageError: names that repeat, indices out of range, flips that are not undone by flipping again,
            sigmas that are not positive.
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    flips: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()
    guessed: bool = False
    colours: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        put, count = object.__setattr__, len(self.keypoints)
        if not self.flips:
            put(self, "flips", mirrored(self.keypoints))
        if not self.sigmas:
            known = [_SIGMAS.get(name, _SIGMAS.get(name.rsplit("_", 1)[-1])) for name in self.keypoints]
            put(self, "sigmas", tuple(GUESSED_SIGMA if sigma is None else sigma for sigma in known))
            put(self, "guessed", None in known)
        if not self.colours:
            put(self, "colours", _colours(self.keypoints, self.flips))
        self._check(count)

    def _check(self, count: int) -> None:
        where = f"skeleton {self.name}"
        twice = [name for name in self.keypoints if self.keypoints.count(name) > 1]
        if twice or not count:
            raise UsageError("the points need names, each of its own", place=where, value=twice)
        for limb in self.limbs:
            if len(limb) != 2 or limb[0] == limb[1] or not all(0 <= end < count for end in limb):
                raise UsageError(f"a limb joins two of the points 0..{count - 1}", place=where, value=limb)
        if len({frozenset(limb) for limb in self.limbs}) < len(self.limbs):
            raise UsageError("a limb is named twice", place=where, value=self.limbs)
        for field in ("flips", "sigmas", "colours"):
            if len(getattr(self, field)) != count:
                raise UsageError(
                    f"{count} points need as many {field}", place=where, value=getattr(self, field)
                )
        if any(not 0 <= k < count or self.flips[k] != i for i, k in enumerate(self.flips)):
            raise UsageError("flips must be undone by flipping again", place=where, value=self.flips)
        if not all(0 < sigma < np.inf for sigma in self.sigmas):
            raise UsageError("sigmas must be positive numbers", place=where, value=self.sigmas)

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def field_channels(self) -> int:
        """Channels of the part affinity fields: x and y of every limb."""
        return 2 * len(self.limbs)

    def limb_flips(self) -> tuple[tuple[int, int], ...]:
        """For every limb: the one in its place in a mirrored picture, and 1, or -1 if that is turned round.

        Raises:
            UsageError: a limb without a counterpart on the other side.
        """
        index = {limb: (i, 1) for i, limb in enumerate(self.limbs)}
        index |= {(b, a): (i, -1) for i, (a, b) in enumerate(self.limbs)}
        found = []
        for a, b in self.limbs:
            other = index.get((self.flips[a], self.flips[b]))
            if other is None:
                names = f"{self.keypoints[a]}-{self.keypoints[b]}"
                raise UsageError(
                    "a limb has no counterpart on the other side", place=f"skeleton {self.name}", value=names
                )
            found.append(other)
        return tuple(found)

    def convert(
        self, xy: ArrayLike, confidence: ArrayLike, target: "Skeleton"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points of this skeleton as those of another, by name; a neck is the middle of the shoulders.

        Args:
            xy: (..., K, 2) points.
            confidence: (..., K), 0 where a point is missing.
            target: the skeleton that is wanted.

        Returns:
            (..., T, 2) points and (..., T) confidences, the lower of the two for a middle; points that this
            skeleton does not have are missing: 0, 0 with confidence 0.
        """
        points = expect(xy, "... K 2", name="xy", dtype=np.float32, K=len(self))
        sure = expect(confidence, "... K", name="confidence", dtype=np.float32, K=len(self))
        index = {name: k for k, name in enumerate(self.keypoints)}
        out = np.zeros((*points.shape[:-2], len(target), 2), np.float32)
        kept = np.zeros(out.shape[:-1], np.float32)
        for t, name in enumerate(target.keypoints):
            parts = (name,) if name in index else _MIDDLES.get(name, ())
            if parts and all(part in index for part in parts):
                which = [index[part] for part in parts]
                kept[..., t] = sure[..., which].min(axis=-1)
                out[..., t, :] = points[..., which, :].mean(axis=-2) * (kept[..., t, None] > 0)
        return out, kept

    def to_coco(self) -> dict[str, Any]:
        """Entries of a COCO category, limbs from 1; `skeleton_from_coco` reads the same skeleton back."""
        pairs = [(a, b) for a, b in enumerate(self.flips) if a < b]
        entries: dict[str, Any] = {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "skeleton": [[a + 1, b + 1] for a, b in self.limbs],
            "flips": [[self.keypoints[a], self.keypoints[b]] for a, b in pairs],
        }
        return entries if self.guessed else entries | {"sigmas": list(self.sigmas)}


def mirrored(names: Sequence[str]) -> tuple[int, ...]:
    """Which point is found in each point's place in a mirrored picture, by left and right in the names.

    Raises:
        UsageError: a left point without a right one, or the other way round.
    """
    index = {name: k for k, name in enumerate(names)}
    flips = []
    for name in names:
        twin = _SIDE.sub(_other_side, name, count=1)
        if twin not in index:
            raise UsageError(
                f"{name} has no counterpart {twin}",
                value=list(names),
                remedy="name both sides, or give the flips",
            )
        flips.append(index[twin])
    return tuple(flips)


def _other_side(found: re.Match[str]) -> str:
    word = found[0]
    other = _OTHER[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def _colours(names: Sequence[str], flips: Sequence[int]) -> tuple[Colour, ...]:
    """Warm colours on the left, cold ones on the right, green between; hues in the order of the names."""
    found = []
    for k, (name, twin) in enumerate(zip(names, flips, strict=True)):
        side = _SIDE.search(name)
        left = side[0].lower().startswith("l") if side else k < twin
        low, span = (0.25, 0.17) if k == twin else (-0.1, 0.25) if left else (0.5, 0.25)
        hue = low + span * (min(k, twin) / max(len(names) - 1, 1))
        red, green, blue = colorsys.hsv_to_rgb(hue % 1, 0.85, 0.95)
        found.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(found)
