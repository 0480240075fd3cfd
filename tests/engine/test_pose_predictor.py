"""From a picture to poses: exact on any aspect, the same from every thread; what cannot be is refused."""

import io
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.engine.sticks import STICK, STRIDE, Seeing, info, paint, stick
from tests.vision.pose_scenes import SIZE, person
from visionkit import nn
from visionkit.engine import pose_predictor
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_predictor import PoseMaps, PosePredictor
from visionkit.errors import DataError, FileError, ShapeError, UsageError
from visionkit.vision.fields import average_flipped_fields
from visionkit.vision.heatmaps import average_flipped
from visionkit.vision.letterbox import Letterbox
from visionkit.vision.poses import Poses
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import COCO_17


def seeing(people="many", size=(256, 256), **options):
    return PosePredictor(Seeing(people == "many"), info(people, size), **options)


def nearest(found: Poses, points: np.ndarray) -> float:
    """The largest distance between a given pose and that one of those found that lies nearest to it."""
    assert len(found) == len(points)
    gaps = np.abs(found.xy[:, None] - points[None]).max(axis=(2, 3))
    assert len(set(gaps.argmin(axis=0))) == len(points)
    return float(gaps.min(axis=0).max())


SIZES = [(480, 640), (640, 480), (427, 640), (200, 900), (1080, 1920), (96, 64), (333, 335)]


@pytest.mark.parametrize("size", SIZES)
def test_people_of_a_picture_of_any_aspect_are_found_where_they_are(size):
    height, width = size
    unit = np.sqrt(height * width) / 256  # picture pixels an input pixel
    sticks = np.array([
        stick(0.1 * width, 0.2 * height, 0.6 * width), stick(0.3 * width, 0.55 * height, 0.5 * width),
        stick(0.02 * width, 0.9 * height, 0.7 * width),
    ])  # fmt: skip
    found = seeing()(paint(size, sticks, 5 * unit))
    assert found.image_size == size
    assert found.skeleton is STICK
    assert nearest(found, sticks) < max(0.5 * unit, 0.25)
    assert found.keypoint_confidence.min() > 0.75
    assert (np.diff(found.confidence) <= 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_decoding_undoes_the_letterbox(size, rng):
    """Maps that are exact encodings of a known person: decoded and brought back they are that person."""
    predictor = PosePredictor(Seeing(), PoseInfo("exact", COCO_17, stride=8, input_size=(368, 656)))
    box = Letterbox(size, predictor.input_size(size))
    height, width = box.resized
    (top, left), (vertical, horizontal) = box.pad, box.scale
    done = 0
    while done < 5:
        points = person(rng)
        if not points[:, 2].all():
            continue
        points[:, :2] = points[:, :2] * [width / SIZE[1], height / SIZE[0]] + [left, top]
        maps = predictor.codec.encode([[points]], None, box.input_size).maps
        found = predictor.decode(PoseMaps(maps, box.matrix, size))
        expected = (points[:, :2] - [left, top]) / [horizontal, vertical]
        assert len(found) == 1
        assert (found.keypoint_confidence > 0).all()
        assert np.abs(found.xy[0] - expected).max() < 0.1 * 8 / min(box.scale)
        assert found.image_size == size
        done += 1


def test_points_in_the_padding_are_brought_to_the_border():
    predictor = PosePredictor(Seeing(), info())
    box = Letterbox((128, 256), (256, 256))
    points = np.concatenate([stick(20, 20, 200), np.ones((3, 1))], axis=1)  # above the picture
    found = predictor.decode(
        PoseMaps(predictor.codec.encode([[points]], None, (256, 256)).maps, box.matrix, (128, 256))
    )
    assert np.allclose(found.xy[0], [[20, 0], [120, 0], [220, 0]], atol=0.2)


def test_the_input_follows_the_picture_with_as_many_pixels():
    predictor = seeing(size=(256, 448))
    for size in [*SIZES, (1, 1), (1, 9999), (9999, 1)]:
        height, width = predictor.input_size(size)
        assert height % 32 == width % 32 == 0
        assert min(height, width) >= 32
        assert max(height, width) <= 4096
        if 1 / 6 < size[0] / size[1] < 6:
            assert 0.7 < height * width / (256 * 448) < 1.35
            assert abs(np.log(width / height * size[0] / size[1])) < 0.2


@pytest.mark.parametrize(
    ("given", "picture", "expected"),
    [
        (320, (480, 640), (288, 384)),
        ((256, 448), (480, 640), (256, 448)),
        ((-1, 384), (480, 640), (288, 384)),
        ((384, -1), (480, 640), (384, 512)),
        ((384, -1), (10, 10_000), (384, 4096)),
        (None, (256, 448), (256, 448)),
    ],
)
def test_sizes_that_are_asked_for(given, picture, expected):
    assert PosePredictor(Seeing(), info("many", (256, 448)), size=given).input_size(picture) == expected


def test_a_network_for_one_has_its_own_size():
    assert seeing("one", (256, 192)).input_size((480, 640)) == (256, 192)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 100}, "multiples of 32"),
        ({"size": (-1, -1)}, "-1"),
        ({"size": (0, 32)}, "multiples of 32"),
        ({"size": 8192}, "4096"),
        ({"confidence": 1.5}, "confidence"),
        ({"keypoint_confidence": 0}, "keypoint_confidence"),
        ({"max_people": 0}, "max_people"),
    ],
)
def test_what_cannot_be_is_refused(options, word):
    with pytest.raises(UsageError, match=word):
        PosePredictor(Seeing(), info(), **options)


def test_maps_of_another_network_are_refused():
    with pytest.raises(ShapeError, match=r"maps are .* expected"):
        PosePredictor(Seeing(False), info())(np.zeros((64, 64, 3), np.uint8))


def test_nothing_found_is_empty(rng):
    for picture in (np.full((90, 70, 3), 114, np.uint8), np.full((1, 1, 3), 114, np.uint8)):
        found = seeing()(picture)
        assert len(found) == 0
        assert found.xy.shape == (0, 3, 2)
        assert found.image_size == picture.shape[:2]
        assert len(seeing("one")(picture)) == 0


def test_pictures_come_as_files_bytes_arrays_and_pillow(tmp_path):
    pixels = paint((120, 160), [stick(30, 60, 100)], 4)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    predictor = seeing()
    expected = predictor(pixels)
    assert len(expected) == 1
    for given in (path, str(path), path.read_bytes(), Image.fromarray(pixels)):
        assert (predictor(given).xy == expected.xy).all()
    frames = list(predictor.stream([path, pixels]))
    assert [len(found) for _, found in frames] == [1, 1]
    assert (frames[0][0] == pixels).all()
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        predictor(tmp_path / "bad.jpg")
    with pytest.raises(FileError):
        predictor(tmp_path / "none.jpg")
    with pytest.raises(ShapeError):
        predictor(np.zeros((4, 4, 3), np.float32))


def test_a_picture_that_a_camera_turned_is_seen_upright():
    pixels = paint((120, 160), [stick(30, 40, 100)], 4)
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turned clockwise
    Image.fromarray(np.rot90(pixels, 1)).save(content, "JPEG", exif=exif, quality=95)
    found = seeing()(content.getvalue())
    assert found.image_size == (120, 160)
    assert nearest(found, np.array([stick(30, 40, 100)])) < 1


@pytest.mark.parametrize("people", ["many", "one"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_network_that_has_diverged_finds_finite_things_or_none(people, value, rng):
    predictor = seeing(people)
    for share in (1.0, 0.01):
        maps = tuple(
            np.where(rng.random((1, 64, 64, c)) < share, np.float32(value), np.float32(0.5))
            for c in predictor.info.channels
        )
        found = predictor.decode(PoseMaps(maps, Letterbox((256, 256), (256, 256)).matrix, (256, 256)))
        assert np.isfinite(found.xy).all()
        assert ((found.xy >= 0) & (found.xy <= 256)).all()
        assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


@pytest.mark.parametrize("people", ["many", "one"])
def test_confidence_ends_at_one(people):
    bright = PoseInfo("bright", STICK, input_size=(256, 256), stride=STRIDE, people=people)
    predictor = PosePredictor(Seeing(people == "many"), bright)
    points = np.concatenate([stick(40, 60, 120), np.ones((3, 1))], axis=1)
    maps = predictor.codec.encode([[points]], None, (256, 256)).maps
    found = predictor.poses((1.3 * maps[0], *maps[1:]))
    assert (found.keypoint_confidence == 1).all()
    assert found.confidence.tolist() == [1]
    assert np.abs(found.xy[0] - points[:, :2]).max() < 0.2  # a peak is not cut before it is measured


def test_limits_of_people_points_and_confidence():
    sticks = np.array([stick(20, y, 200) for y in (40, 120, 200)])
    picture = paint((256, 256), sticks, 5)
    assert len(seeing()(picture)) == 3
    assert len(seeing(max_people=2)(picture)) == 2
    weak = np.round(114 + (picture.astype(float) - 114) * 0.5).astype(np.uint8)
    assert len(seeing()(weak)) == 3
    assert len(seeing(confidence=0.6)(weak)) == 0
    assert len(seeing(confidence=0.6)(weak, 0.3)) == 3
    assert len(seeing(confidence=0.6).look(weak, 0.3)[0]) == 3
    assert len(seeing(keypoint_confidence=0.7)(weak)) == 0
    assert len(seeing("one", keypoint_confidence=0.7)(weak)) == 0
    assert len(seeing("one", confidence=0.6)(weak)) == 0
    assert len(seeing("one")(weak)) == 1


@pytest.mark.parametrize("people", ["many", "one"])
def test_flipping_averages_with_the_mirror_image(people, rng):
    network = Seeing(people == "many")
    network.heat = nn.Conv2d(3, 3, 3, padding=1, rng=rng)  # left and right of a cell count differently
    plain, flipped = (PosePredictor(network, info(people), flip=flip) for flip in (False, True))
    pixels = rng.integers(0, 256, (256, 256, 3), np.uint8)
    ours, mirrored = plain.forward(pixels), plain.forward(np.ascontiguousarray(pixels[:, ::-1]))
    mean = flipped.forward(pixels)
    assert np.allclose(mean[0], average_flipped(ours[0], mirrored[0], STICK), atol=1e-6)
    if people == "many":
        assert np.allclose(mean[1], average_flipped_fields(ours[1], mirrored[1], STICK), atol=1e-6)
    assert not np.allclose(mean[0], ours[0], atol=1e-2)


def test_fields_that_cannot_be_mirrored_are_refused_at_once():
    one_armed = Skeleton("one-armed", ("left_hand", "right_hand", "foot"), ((0, 2),))
    with pytest.raises(UsageError, match="counterpart"):
        PosePredictor(Seeing(), replace(info(), skeleton=one_armed), flip=True)


def test_plans_are_kept_for_the_last_sizes(monkeypatch):
    made = []
    real = pose_predictor.compile_network
    monkeypatch.setattr(
        pose_predictor, "compile_network", lambda net, shape, **o: made.append(shape) or real(net, shape, **o)
    )
    predictor = seeing(size=(64, 64))
    sizes = [(64, 64), (32, 128), (128, 32), (16, 300), (300, 16)]
    pictures = [np.zeros((*size, 3), np.uint8) for size in sizes]
    for picture in pictures * 2:
        predictor(picture)
    assert len(made) == 5
    held = [plan.memory.nbytes for plan in predictor._plans.values()]
    monkeypatch.setattr(pose_predictor, "ROOM", sum(held[1:]) - 1)
    predictor(np.zeros((16, 120, 3), np.uint8))  # the first two go, for the others and the new one
    predictor(pictures[2])
    assert len(made) == 6
    predictor(pictures[0])
    assert len(made) == 7
    monkeypatch.setattr(pose_predictor, "ROOM", 0)
    predictor(pictures[1])
    assert list(predictor._plans) == [predictor.input_size(sizes[1])]


def test_threads_get_the_results_of_their_own_pictures():
    predictor = seeing(size=(64, 64))
    places = [(30, 40), (30, 20), (70, 50), (60, 30)]
    shapes = [(80, 160), (160, 100), (90, 200), (64, 128)]
    pictures = [paint(s, [stick(10, y, 2 * 20)], 4) for s, (_, y) in zip(shapes, places, strict=True)]
    expected = [predictor(picture).xy for picture in pictures]
    wrong = []

    def work(k):
        for _ in range(20):
            found = predictor(pictures[k]).xy
            if found.shape != expected[k].shape or (found != expected[k]).any():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [len(one) for one in expected] == [1] * 4


def test_what_it_says_of_itself():
    assert repr(seeing()) == "PosePredictor(seeing, 256x256, stick, 3 points of many)"
    assert seeing().names == ("stick",)
    predictor = seeing(size=(64, 64))
    predictor.warm_up()
    assert list(predictor._plans) == [(64, 64)]
