"""Made-up sequences: boxes that walk, cross and hide each other, and a detector that errs."""

import numpy as np

from visionkit.vision.results import Detections

SIZE = (480, 640)


def boxes_of(xyxy, confidence, tracker_id=None, class_id=None):
    """Detections from lists, in a picture of SIZE."""
    xyxy = np.asarray(xyxy, np.float32).reshape(-1, 4)
    class_id = np.zeros(len(xyxy), np.int64) if class_id is None else np.asarray(class_id)
    ids = None if tracker_id is None else np.asarray(tracker_id, np.int64)
    return Detections(xyxy, np.asarray(confidence, np.float32), class_id, ("a", "b"), SIZE, ids)


def walkers(rng, things=8, frames=150):
    """Truth: things that enter at different times, walk steadily with a little sway, and leave."""
    height = rng.uniform(80, 160, things)
    half = np.stack([height * rng.uniform(0.35, 0.5, things), height], axis=1) / 2
    start = rng.uniform([0, 100], [SIZE[1], SIZE[0] - 80], (things, 2))
    pace = rng.uniform(1, 4, things)[:, None] * np.stack(
        [rng.choice([-1, 1], things), rng.normal(0, 0.15, things)], axis=1
    )
    begin, sway = rng.integers(0, frames // 3, things), rng.uniform(0, 6, things)
    truth = []
    for t in range(frames):
        centre = start + pace * (t - begin)[:, None]
        centre[:, 1] += sway * np.sin(t / 5 + np.arange(things))
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        there = (t >= begin) & ((centre > 0) & (centre < SIZE[::-1])).all(axis=1)
        truth.append(boxes_of(boxes[there], np.ones(there.sum()), np.flatnonzero(there) + 1))
    return truth


def covered(boxes):
    """The part of each box that lies behind one box nearer to the camera, which stands lower."""
    shares = np.zeros(len(boxes))
    for i, a in enumerate(boxes):
        for b in boxes:
            if b[3] > a[3]:
                sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
                shares[i] = max(shares[i], sides.clip(0).prod() / (a[2:] - a[:2]).prod())
    return shares


def detected(rng, truth, misses=0.05, false=0.3, noise=0.03):
    """What a detector would say: noise, misses, unsure or nothing where things hide, and false positives.

    Args:
        rng: random numbers.
        truth: Detections of each frame.
        misses: share of boxes that are not found for no reason.
        false: false positives a frame, in the mean; half of them unsure.
        noise: of corners, a part of the box's sides.
    """
    found = []
    for frame in truth:
        hidden = covered(frame.xyxy)
        confidence = np.clip(rng.normal(0.85, 0.08, len(frame)) - 0.7 * hidden, 0, 1)
        there = (rng.random(len(frame)) > misses) & (hidden < 0.75)
        sides = np.tile(frame.xyxy[:, 2:] - frame.xyxy[:, :2], 2)
        boxes = (frame.xyxy + rng.normal(0, noise, (len(frame), 4)) * sides)[there]
        count = rng.poisson(false)
        corner = rng.uniform(0, SIZE[::-1], (count, 2))
        wrong = np.concatenate([corner, corner + rng.uniform(20, 120, (count, 2))], axis=1)
        both, score = (
            np.concatenate([boxes, wrong]),
            np.append(confidence[there], rng.uniform(0.1, 0.9, count)),
        )
        order = rng.permutation(len(both))
        found.append(boxes_of(both[order], score[order]))
    return found
