"""The screen as a source, with a Pillow that has made-up screens."""

from itertools import islice

import numpy as np
import pytest
from PIL import Image, ImageGrab

from tests.io.streams import number_of, picture
from visionkit.errors import SourceLostError, UsageError
from visionkit.io.screen import is_screen
from visionkit.io.video import Video, is_live


@pytest.fixture
def screen(monkeypatch):
    """A screen of 120 rows and 160 columns that counts how often it was looked at."""
    looked = []

    def grab():
        looked.append(None)
        return Image.fromarray(picture(len(looked) % 16, (120, 160))).convert("RGBA")

    monkeypatch.setattr(ImageGrab, "grab", grab)


def test_names():
    assert is_screen("screen")
    assert is_live("screen:1,2,3x4")
    assert not is_screen("screen.png")
    assert not is_screen("screens/")


def test_the_whole_screen(screen):
    with Video("screen") as video:
        assert video.live
        assert video.fps == 30
        for frame in islice(video, 5):
            assert np.array_equal(frame, picture(number_of(frame), (120, 160)))


def test_a_region(screen):
    with Video("screen:10,20,30x40") as video:
        frame = next(iter(video))
        assert np.array_equal(frame, picture(number_of(frame), (120, 160))[20:60, 10:40])


def test_a_screen_may_stand_still(monkeypatch):
    monkeypatch.setattr(ImageGrab, "grab", lambda: Image.new("RGB", (8, 8)))
    with Video("screen", stale=0.01, reconnect=0) as video:
        assert len(list(islice(video, 10))) == 10


@pytest.mark.parametrize("region", ["screen:", "screen:1,2", "screen:-1,0,5x5", "screen:0,0,0x5", "screen:a"])
def test_regions_that_are_none(region):
    with pytest.raises(UsageError, match="screen:X,Y,WxH"):
        Video(region)


@pytest.mark.parametrize("region", ["screen:0,0,161x120", "screen:0,1,160x120", "screen:500,500,1x1"])
def test_regions_beyond_the_screen(screen, region):
    with pytest.raises(UsageError, match="not within the screen of 160x120"):
        Video(region)


@pytest.mark.parametrize("error", [OSError("X connection failed: error 5"), NotImplementedError("not here")])
def test_no_screen_is_told(monkeypatch, error):
    def grab():
        raise error

    monkeypatch.setattr(ImageGrab, "grab", grab)
    with pytest.raises(SourceLostError, match=f"^the screen cannot be read: {error}. .*DISPLAY"):
        Video("screen")
