"""From peaks to people: line integrals through part affinity fields, greedy matching, assembly."""

import math

from .jit import serial
from .pose_maps import columns, rows

#: Samples along a limb: one a cell, but so many at least and at most.
FEWEST, MOST = 5, 25


@serial
def judged(total, agreeing, count, floor, share):
    """The mean component of the field along a limb, or 0 where too little of the limb agrees."""
    if count == 0 or agreeing < share * count or total <= floor * count:
        return 0.0
    return total / count


@serial
def along_samples(maps, l, ax, ay, ux, uy, length, floor, share):
    """The line integral by sampling the nearest cells at equal steps from end to end."""
    height, width, _ = maps.shape
    count = min(max(math.ceil(length) + 1, FEWEST), MOST)
    total, agreeing = 0.0, 0
    for i in range(count):
        t = length * i / (count - 1)
        x = min(max(int(ax + t * ux + 0.5), 0), width - 1)
        y = min(max(int(ay + t * uy + 0.5), 0), height - 1)
        component = maps[y, x, 2 * l] * ux + maps[y, x, 2 * l + 1] * uy
        total += component
        agreeing += component > floor
    return judged(total, agreeing, count, floor, share)


@serial
def along_rectangle(maps, l, ax, ay, by, ux, uy, length, half, floor, share):
    """The line integral as the sum over all cells of the limb's rectangle (MPP-10)."""
    height, width, _ = maps.shape
    top, bottom = rows(ay, by, half, height)
    total, agreeing, count = 0.0, 0, 0
    for y in range(top, bottom + 1):
        left, right = columns(y, ax, ay, ux, uy, length, half, width)
        for x in range(left, right + 1):
            component = maps[y, x, 2 * l] * ux + maps[y, x, 2 * l + 1] * uy
            total += component
            agreeing += component > floor
            count += 1
    return judged(total, agreeing, count, floor, share)


@serial
def limb_scores(maps, limbs, found, counts, half, floor, share, scores):
    """How well the field agrees that two joints are the ends of one limb, for all pairs of all limbs.

    Args:
        maps: (h, w, 2 L or more) float32.
        limbs: (L, 2) int64.
        found, counts: what `peaks` found.
        half: half the limb's width in cells for the sum over a rectangle, 0 for samples on the line.
        floor: a cell agrees if the field's component along the limb is greater.
        share: so much of the limb must agree, 0..1.
        scores: (L, M, M) float32 zeros, receives the mean component where it is a limb.
    """
    for l in range(limbs.shape[0]):
        a, b = limbs[l, 0], limbs[l, 1]
        for i in range(counts[a]):
            ax, ay = found[a, i, 0], found[a, i, 1]
            for j in range(counts[b]):
                bx, by = found[b, j, 0], found[b, j, 1]
                length = math.hypot(bx - ax, by - ay)
                if length < 1e-6:  # two joints in one place: no direction, and in a field no mark
                    continue
                ux, uy = (bx - ax) / length, (by - ay) / length
                if half > 0.0:
                    scores[l, i, j] = along_rectangle(
                        maps, l, ax, ay, by, ux, uy, length, half, floor, share
                    )  # fmt: skip
                else:
                    scores[l, i, j] = along_samples(maps, l, ax, ay, ux, uy, length, floor, share)


@serial
def match(links, taken):
    """Greedy matching (MPP-11): take the strongest link, drop all of its limb that use either joint, repeat.

    Args:
        links: (X, 3) int64 limb, inner and outer peak, the strongest first; the kept ones move to the front.
        taken: (L, 2, M) bool, all False.

    Returns:
        How many links are kept.
    """
    kept = 0
    for at in range(links.shape[0]):
        l, i, j = links[at, 0], links[at, 1], links[at, 2]
        if not (taken[l, 0, i] or taken[l, 1, j]):
            taken[l, 0, i] = taken[l, 1, j] = True
            links[kept, 0], links[kept, 1], links[kept, 2] = l, i, j
            kept += 1
    return kept


@serial
def people(links, limbs, members):
    """Join links to people, the strongest first; a person has each joint once.

    A link between two parts joins them if no joint occurs in both; a link that would give a person a second
    joint of a kind is dropped.

    Args:
        links: (X, 3) int64 limb, inner and outer peak, the strongest first.
        limbs: (L, 2) int64.
        members: (X, K) int64, receives for every person the peak of each joint, -1 for none.

    Returns:
        How many people.
    """
    count, joints = 0, members.shape[1]
    for at in range(links.shape[0]):
        a, b = limbs[links[at, 0], 0], limbs[links[at, 0], 1]
        i, j = links[at, 1], links[at, 2]
        has_i, has_j = -1, -1
        for p in range(count):
            if members[p, a] == i:
                has_i = p
            if members[p, b] == j:
                has_j = p
        if has_i < 0 and has_j < 0:
            members[count] = -1
            members[count, a], members[count, b] = i, j
            count += 1
        elif has_j < 0:
            if members[has_i, b] < 0:
                members[has_i, b] = j
        elif has_i < 0:
            if members[has_j, a] < 0:
                members[has_j, a] = i
        elif has_i != has_j:
            apart = True
            for k in range(joints):
                apart &= members[has_i, k] < 0 or members[has_j, k] < 0
            if apart:
                for k in range(joints):
                    members[has_i, k] = max(members[has_i, k], members[has_j, k])
                count -= 1
                members[has_j] = members[count]
    return count
