"""Lines, zones and their counts on a picture: where they should be, and nowhere else."""

import numpy as np
import pytest

from visionkit.io.draw_zones import draw_zones
from visionkit.vision.zones import Line, Watch, Zone

WHITE = np.array([255, 255, 255])


def drawn(areas, size=(200, 300)):
    grey = np.full((*size, 3), 90, np.uint8)
    picture = draw_zones(grey, areas, Watch(areas).counts)
    assert (grey == 90).all()
    assert picture.shape == grey.shape
    assert picture.dtype == np.uint8
    return (picture == WHITE).all(axis=2), picture


def test_a_line_lies_between_its_ends_with_a_mark_to_the_side_of_in():
    """From left to right, so that "in" is downwards; the label stands above the start."""
    white, _ = drawn([Line("door", (50, 100), (250, 100))])
    assert white[100, 50:250].all()
    assert not white[110:].any()
    assert not white[:, 252:].any()
    middle = white[102:108, 145:156].any(axis=1)
    assert middle.any()
    assert not white[90:98, 145:156].any()
    turned, _ = drawn([Line("door", (250, 100), (50, 100))])
    assert turned[92:98, 145:156].any()
    assert not turned[103:].any()


def test_a_zone_is_its_outline():
    white, _ = drawn([Zone("mat", [(100, 60), (200, 60), (200, 160), (100, 160)])])
    for y, x in ((slice(60, 160), 100), (slice(60, 160), 200), (60, slice(100, 200)), (160, slice(100, 200))):
        assert white[y, x].all()
    assert not white[70:150, 110:190].any()


def test_the_label_says_name_and_counts():
    """Longer counts make a wider label."""
    line = Line("a", (20, 150), (21, 190))
    widths = []
    for count in (1, 1_000_000):
        picture = draw_zones(np.full((200, 600, 3), 90, np.uint8), [line], {"a": {"in": count, "out": 0}})
        widths.append(np.flatnonzero((picture[:148] == WHITE).all(axis=2).any(axis=0)).max())
    assert widths[0] + 20 < widths[1]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (40, 50)])
def test_any_size_and_any_place(size):
    areas = [
        Line("far", (-1e12, 5), (1e12, 6)), Line("outside", (900, 900), (950, 900)),
        Zone("around", [(-50, -50), (1e6, -50), (1e6, 1e6), (-50, 1e6)]),
    ]  # fmt: skip
    drawn(areas, size)


def test_nothing_to_watch_changes_nothing():
    white, picture = drawn([])
    assert not white.any()
    assert (picture == 90).all()
