"""Made-up people: scenes whose poses are known, and the comparison with what was decoded."""

import numpy as np

from visionkit.vision.poses import Poses
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import COCO_17

SIZE = (368, 656)

#: A standing person of height 1, feet at 1; x to the person's left.
_STANDING = {
    "nose": (0, 0.08), "left_eye": (0.03, 0.05), "left_ear": (0.06, 0.06), "left_shoulder": (0.13, 0.2),
    "left_elbow": (0.2, 0.36), "left_wrist": (0.22, 0.5), "left_hip": (0.09, 0.52), "left_knee": (0.1, 0.75),
    "left_ankle": (0.1, 0.97),
}  # fmt: skip


def person(rng: np.random.Generator, size=SIZE, low=90.0, high=300.0) -> np.ndarray:
    """(17, 3) a person with limbs at random angles, at a random place, partly outside or unmarked."""
    points = np.zeros((17, 2))
    for k, name in enumerate(COCO_17.keypoints):
        x, y = _STANDING[name.replace("right", "left")]
        points[k] = (-x if "right" in name else x), y
    height = rng.uniform(low, high)
    at = {name: k for k, name in enumerate(COCO_17.keypoints)}
    # elbows, wrists, knees and ankles swing freely about the joint before them
    for inner, outer in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
        for side in ("left", "right"):
            a, b = at[f"{side}_{inner}"], at[f"{side}_{outer}"]
            reach = np.hypot(*np.subtract(_STANDING[f"left_{outer}"], _STANDING[f"left_{inner}"]))
            angle = rng.uniform(-np.pi, np.pi) if inner in ("shoulder", "elbow") else rng.uniform(0, np.pi)
            points[b] = points[a] + reach * np.array([np.cos(angle), np.sin(angle)])
    turn = rng.normal(0, 0.25)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = points * height * rng.choice([-1, 1], p=[0.3, 0.7]) ** np.array([1, 0])
    points += rng.uniform([0, -0.2 * height], [size[1], size[0] - 0.5 * height])
    inside = ((points >= 0) & (points < [size[1], size[0]])).all(axis=1)
    marked = inside & (rng.random(17) > rng.choice([0, 0.15]))
    return np.concatenate([points, 2.0 * marked[:, None]], axis=1)


def scene(
    rng: np.random.Generator, people: int, skeleton: Skeleton = COCO_17, stride=8, apart=3.0, size=SIZE
) -> np.ndarray:
    """(N, K, 3) people whose joints of one kind are at least `apart` cells from each other.

    Nearer ones are one bump of the heat map, which no decoder can tell apart.
    """
    found: list[np.ndarray] = []
    while len(found) < people:
        one = as_skeleton(person(rng, size), skeleton)
        gaps = [
            np.linalg.norm(one[both, :2] - other[both, :2], axis=1).min(initial=np.inf)
            for other in found
            if (both := (one[:, 2] > 0) & (other[:, 2] > 0)).any()
        ]
        if one[:, 2].any() and min(gaps, default=np.inf) >= apart * stride:
            found.append(one)
    return np.array(found)


def as_skeleton(people: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(..., 17, 3) people of COCO with the points of another skeleton."""
    xy, shown = COCO_17.convert(people[..., :2], people[..., 2], skeleton)
    return np.concatenate([xy, shown[..., None]], axis=-1)


def groups(people: np.ndarray, skeleton: Skeleton, least=3) -> list[dict[int, np.ndarray]]:
    """What a decoder can find: the parts of people that marked limbs hold together, as {joint: point}."""
    found = []
    for one in people:
        left = {int(k) for k in np.flatnonzero(one[:, 2])}
        while left:
            part = {left.pop()}
            while more := {
                b for limb in skeleton.limbs for a, b in (limb, limb[::-1]) if a in part and b in left
            }:
                part |= more
                left -= more
            if len(part) >= least:
                found.append({k: one[k, :2] for k in part})
    return found


def score(found: Poses, wanted: list[dict[int, np.ndarray]]) -> tuple[int, int, float]:
    """How many wanted groups were found with just their joints, how many found are nobody, largest error."""
    right, largest, left = 0, 0.0, list(range(len(found)))
    for group in wanted:
        joints = sorted(group)
        for n in left:
            if np.flatnonzero(found.keypoint_confidence[n]).tolist() == joints:
                error = max(float(np.abs(found.xy[n, k] - group[k]).max()) for k in joints)
                if error < 8:
                    right, largest = right + 1, max(largest, error)
                    left.remove(n)
                    break
    return right, len(left), largest
