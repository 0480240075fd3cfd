"""Several sources and threads at once: bit for bit what they would get one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest

import visionkit as vk
from visionkit.engine.pose_predictor import PosePredictor
from visionkit.engine.predictor import Predictor
from visionkit.engine.top_down import TopDown
from visionkit.io.writer import VideoWriter
from visionkit.models.zoo import pose_card
from visionkit.vision.skeletons import COCO_17

THREADS, ROUNDS = 8, 3
SIZES = [(120, 160), (160, 120), (96, 200), (90, 161)]


def noise(size, seed):
    """Coarse noise, in which a network with a low threshold finds something."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[: size[0], : size[1]]


PICTURES = [noise(size, seed) for seed, size in enumerate(SIZES)]


def detector(size=96) -> Predictor:
    return vk.load("yolo-nano-person", confidence=0.002, size=size)


def poses(name, people="many", **options) -> PosePredictor:
    """A network of poses that has learned nothing."""
    kind = pose_card(name)
    info = replace(kind.info(COCO_17, ["person"], [1]), input_size=(128, 128))
    assert info.people == people
    network = kind.network(info.channels, seed=0)
    return PosePredictor(network, info, confidence=0.0, keypoint_confidence=0.001, **options)


def many(**options):
    return poses("openpose-lite", **options)


def pair():
    return TopDown(detector(), poses("hourglass-lite", "one"), max_people=3)


def bits(found):
    """Everything in a result, so that equal bits mean equal results."""
    values = [getattr(found, field.name) for field in fields(found)]
    return [value.tobytes() if isinstance(value, np.ndarray) else value for value in values]


@pytest.mark.parametrize("made", [detector, many, pair])
def test_eight_threads_that_call_one_predictor(made):
    predictor = made()
    expected = [bits(predictor(picture)) for picture in PICTURES]
    assert sum(len(predictor(picture)) for picture in PICTURES) > 0
    together = threading.Barrier(THREADS)

    def work(number):
        together.wait(20)
        turns = np.random.default_rng(number).permutation(len(PICTURES) * ROUNDS) % len(PICTURES)
        return [turn for turn in turns if bits(predictor(PICTURES[turn])) != expected[turn]]

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [[]] * THREADS


@pytest.mark.parametrize("made", [detector, many, pair])
def test_the_first_calls_may_come_at_once(made):
    """The plan is made by the first of them."""
    expected = [bits(made()(picture)) for picture in PICTURES[:2]]
    predictor, together = made(), threading.Barrier(4)

    def work(number):
        together.wait(20)
        return bits(predictor(PICTURES[number % 2]))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == expected * 2


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two videos of twelve frames, of different sizes."""
    folder = tmp_path_factory.mktemp("clips")
    for number, size in enumerate([(120, 160), (96, 200)]):
        with VideoWriter(folder / f"{number}.mp4", 10.0) as writer:
            for seed in range(12):
                writer.write(noise(size, 100 * number + seed))
    return [folder / "0.mp4", folder / "1.mp4"]


@pytest.mark.parametrize("apart", [False, True], ids=["one predictor", "a predictor each"])
@pytest.mark.parametrize("made", [detector, many])
def test_two_sources_at_once(clips, made, apart):
    predictors = [made(), made()] if apart else [made()] * 2
    expected = [[bits(found) for _, found in predictors[0].stream(clip)] for clip in clips]
    assert [len(one) for one in expected] == [12, 12]
    together = threading.Barrier(2)

    def work(number):
        together.wait(20)
        return [bits(found) for _, found in predictors[number].stream(clips[number])]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == expected


def test_two_sources_in_turns_on_one_thread(clips):
    predictor = detector()
    expected = [[bits(found) for _, found in predictor.stream(clip)] for clip in clips]
    streams = [predictor.stream(clip) for clip in clips]
    seen = [(bits(one[1]), bits(two[1])) for one, two in zip(*streams, strict=True)]
    assert [list(column) for column in zip(*seen, strict=True)] == expected
