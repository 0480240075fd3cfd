"""Broken streams with the times that users get: 5 seconds, 1, 2, 4 ... 30 seconds of waiting."""

import logging
import time
from itertools import islice

import pytest

from tests.io.rtsp import RtspServer, plays
from tests.io.streams import MULTIPART, Server, answers, jpeg, number_of, part, sends, then_silent
from visionkit.errors import SourceLostError
from visionkit.io.video import Video

pytestmark = pytest.mark.slow


@pytest.fixture
def said(caplog):
    """What was logged, with the seconds since the beginning of the test."""
    caplog.set_level(logging.INFO, "visionkit")
    begin = time.time()
    return lambda: [(round(record.created - begin, 2), record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(
    "server",
    [
        Server(then_silent(head=b"")),
        Server(then_silent()),
        Server(then_silent(part(jpeg(1))[:400])),
        Server(sends(*[MULTIPART[at : at + 1] for at in range(20)], pause=1.0, head=b"")),
        RtspServer(then_silent(head=b"")),
        RtspServer(plays([], hold=True)),
        RtspServer(plays([4.5, jpeg(1)], hold=True, slow=0.5)),
        RtspServer(plays([jpeg(1)], hold=True, slow=1.4)),
        RtspServer(plays([jpeg(1)], hold=True, slow=4.5)),
    ],
    ids=[
        *("http-nothing", "http-head", "http-half", "http-drips", "rtsp-nothing", "rtsp-head"),
        *("rtsp-picture-late", "rtsp-steps", "rtsp-slow-steps"),
    ],
)
def test_silence_ends_within_its_time(server):
    """Torture V16: 5 seconds for all steps together to the first picture; and a process has to start."""
    with server:
        begin = time.monotonic()
        with pytest.raises(SourceLostError) as caught:
            Video(server.address)
        lasted = time.monotonic() - begin
    print(f"{lasted:.2f} s, {caught.value}")
    assert lasted < 5 + 4


@pytest.mark.parametrize("kind", ["http", "rtsp"])
def test_a_stall_is_shown_within_five_seconds(kind, caplog):
    """Torture V17."""
    caplog.set_level(logging.INFO, "visionkit")
    pictures = [[item for _ in range(30) for item in (jpeg(number), 0.05)] for number in (1, 2)]
    if kind == "http":
        server = Server(*(then_silent(part(one[0])) for one in pictures))
    else:
        server = RtspServer(*(plays(one, hold=True) for one in pictures))
    with server, Video(server.address) as video:
        frames = iter(video)
        while number_of(next(frames)) == 1:
            last = time.time()
        back = time.time() - last
    stalled = caplog.records[0].created - last
    print(f"{kind}: {caplog.messages[0]!r} after {stalled:.2f} s, the next picture after {back:.2f} s")
    assert 4 < stalled < 7
    assert back < stalled + 8


def test_waits_are_1_2_4_8_and_then_it_is_lost(said):
    """Torture V14."""
    with Server(sends(part(jpeg(1)), pause=0.1), answers("503 Busy")) as server:
        begin = time.monotonic()
        with (
            Video(server.address, reconnect=16) as video,
            pytest.raises(SourceLostError, match="lost for good"),
        ):
            list(video)
        lasted = time.monotonic() - begin
    print(*said(), f"{lasted:.2f} s", sep="\n")
    waits = [text.split()[-2] for _, text in said()]
    assert waits[:4] == ["1", "2", "4", "8"]
    assert 15.5 < lasted < 20


def test_fifty_disconnections_with_a_second_each(said):
    acts = [
        sends(part(jpeg(number % 16)), part(jpeg(9))[: 400 * (number % 2)], pause=0.05)
        for number in range(50)
    ]
    with Server(*acts, then_silent(part(jpeg(12)))) as server:
        begin = time.monotonic()
        with Video(server.address) as video:
            seen = [number_of(frame) for frame in islice(video, 51)]
        lasted = time.monotonic() - begin
    print(f"{lasted:.1f} s, {len(server.requests)} connections")
    assert seen == [number % 16 for number in range(50)] + [12]
    assert 50 < lasted < 75


def test_a_frozen_camera_is_lost_after_thirty_seconds(said):
    """Torture V12."""
    with Server(sends(*[part(jpeg(1))] * 900, pause=0.05)) as server:
        begin = time.monotonic()
        with (
            Video(server.address, reconnect=4) as video,
            pytest.raises(SourceLostError, match="same picture"),
        ):
            list(video)
        lasted = time.monotonic() - begin
    print(*said(), f"{lasted:.2f} s", sep="\n")
    assert 33 < lasted < 42
