"""`stream`: which frames, in which order, on which thread, and that a predictor's results stay its own."""

import threading

import numpy as np
import pytest

from tests.engine.sticks import Boxes, Seeing, info, paint, stick
from visionkit.engine.pose_predictor import PosePredictor
from visionkit.engine.stream import chosen, stream
from visionkit.engine.top_down import TopDown
from visionkit.errors import DataError, FileError, ShapeError, UsageError
from visionkit.io.video import Video
from visionkit.io.writer import VideoWriter
from visionkit.vision.results import Detections
from visionkit.vision.tracking import Tracker

LONG = 20  # seconds, after which a test has hung
FRAMES = 7


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A stick that walks to the right."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 10.0) as writer:
        for number in range(FRAMES):
            writer.write(paint((96, 160), [stick(30 + 2 * number, 20, 60)], 4))
    return path


@pytest.fixture(scope="module")
def frames(clip):
    with Video(clip) as video:
        return list(video)


class Camera:
    """A live source: three frames, of which the second came when two had been dropped."""

    live, name, fps = True, "camera 0", 30.0

    def __init__(self):
        self.dropped = self.frames = 0

    def __iter__(self):
        for number, dropped in enumerate((0, 2, 2)):
            self.dropped, self.frames = dropped, number + 1
            yield np.full((8, 8, 3), number, np.uint8)


def mean(picture):
    """One box as sure as the picture is bright: enough where only order matters."""
    return Detections([[0.0, 0, 4, 4]], [picture.mean() / 255], [0], ("thing",), picture.shape[:2])


def streamed(source, look=mean, first=0, last=None, step=1, tracker=None):
    return stream(look, source, first, last, step, tracker)


@pytest.mark.parametrize("first", [0, 1, 6])
@pytest.mark.parametrize("last", [None, 6, 100])
@pytest.mark.parametrize("step", [1, 2, 5, 50])
def test_chosen_frames_are_those_of_a_slice(clip, frames, first, last, step):
    end = None if last is None else last + 1
    seen = list(streamed(clip, first=first, last=last, step=step))
    expected = frames[first:end:step]
    assert len(seen) == len(expected) > 0
    for (frame, found), one in zip(seen, expected, strict=True):
        assert np.array_equal(frame, one)
        assert found.confidence == mean(one).confidence
    assert [n for n, _ in chosen(frames, first, last, step)] == list(range(FRAMES))[first:end:step]


def test_every_way_to_name_a_file(clip, frames):
    with Video(clip) as video:
        opened = list(streamed(video))
    for seen in (list(streamed(str(clip))), opened, list(streamed(frames)), list(streamed(iter(frames)))):
        assert np.array_equal([frame for frame, _ in seen], frames)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"first": -1}, UsageError, "first must be 0 or more"),
        ({"step": 0}, UsageError, "step 1 or more"),
        ({"first": 3, "last": 2}, UsageError, "before the first"),
        ({"first": FRAMES}, DataError, f"clip.mp4: no frame {FRAMES}: there are {FRAMES}. Choose a lower"),
    ],
)
def test_frames_that_cannot_be(clip, options, error, words):
    with pytest.raises(error, match=words):
        list(streamed(clip, **options))


def test_errors_of_the_source_and_of_its_pictures(tmp_path, clip):
    with pytest.raises(FileError):
        list(streamed(tmp_path / "none.mp4"))
    with pytest.raises(DataError, match="no frame 3: there are fewer"):
        list(streamed([np.zeros((4, 4, 3), np.uint8)], first=3))
    assert list(streamed([])) == []
    with pytest.raises(ShapeError):
        list(streamed([np.zeros((4, 4), np.float64)]))

    def look(picture):
        raise DataError("no eyes")

    with pytest.raises(DataError, match="no eyes"):
        list(streamed(clip, look))


def test_of_a_file_the_next_frame_is_looked_at_while_this_one_is_in_use(clip):
    looked = [threading.Event() for _ in range(FRAMES)]
    following = iter(looked)

    def look(picture):
        next(following).set()
        return mean(picture)

    for number, _ in enumerate(streamed(clip, look)):
        assert all(event.wait(LONG) for event in looked[: number + 2])


@pytest.mark.parametrize("source", [Camera, lambda: [np.full((8, 8, 3), n, np.uint8) for n in range(3)]])
def test_nothing_else_is_read_ahead(source):
    looked = []

    def look(picture):
        looked.append((int(picture[0, 0, 0]), threading.current_thread()))
        return mean(picture)

    here = threading.current_thread()
    for number, (frame, _) in enumerate(streamed(source(), look)):
        assert frame[0, 0, 0] == number
        assert looked == [(n, here) for n in range(number + 1)]


def test_who_stops_early_leaves_no_thread_and_no_open_file(clip):
    before = threading.active_count()
    frames = streamed(clip)
    next(frames)
    assert threading.active_count() > before
    frames.close()
    assert threading.active_count() == before
    for _ in streamed(clip):
        break
    assert threading.active_count() == before


class Passed(Tracker):
    """Notes how many frames passed."""

    def __init__(self):
        super().__init__(high=0.0, low=0.0)
        self.passed = []

    def update(self, found, frames=1):
        self.passed.append(frames)
        return super().update(found, frames)


@pytest.mark.parametrize(
    ("options", "passed"),
    [({}, [1] * FRAMES), ({"step": 3}, [1, 3, 3]), ({"first": 2, "step": 2}, [1, 2, 2])],
)
def test_a_tracker_numbers_things_and_knows_how_many_frames_passed(clip, options, passed):
    tracker = Passed()
    seen = list(streamed(clip, tracker=tracker, **options))
    assert tracker.passed == passed
    assert [found.tracker_id.tolist() for _, found in seen] == [[1]] * len(passed)


def test_frames_that_a_camera_dropped_have_passed():
    tracker = Passed()
    assert len(list(streamed(Camera(), tracker=tracker))) == 3
    assert tracker.passed == [1, 3, 1]
    assert [number for number, _ in chosen(Camera())] == [0, 3, 4]


def pose():
    return PosePredictor(Seeing(), info(), size=(96, 160))


def pair():
    boxes = Boxes(np.array([[0.0, 0, 160, 96]]), [0.9])
    return TopDown(boxes, PosePredictor(Seeing(False), info("one", (64, 96))))


@pytest.mark.parametrize("made", [pose, pair])
def test_a_stream_gives_what_calls_give(clip, frames, made):
    expected = [made()(frame) for frame in frames]
    seen = list(made().stream(clip, first=1, step=2))
    assert [len(one) for one in expected] == [1] * FRAMES
    for (frame, found), one, picture in zip(seen, expected[1::2], frames[1::2], strict=True):
        assert np.array_equal(frame, picture)
        assert np.array_equal(found.xy, one.xy)
        assert np.array_equal(found.keypoint_confidence, one.keypoint_confidence)
    followed = list(made().stream(clip, tracker=Tracker(high=0.1, low=0.1)))
    assert [found.tracker_id.tolist() for _, found in followed] == [[1]] * FRAMES
