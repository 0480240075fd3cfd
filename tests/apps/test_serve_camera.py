"""The WebSocket of `visionkit serve`: a picture a message, an answer each."""

import json
import socket
import time
from contextlib import ExitStack

import pytest

from tests.apps.serving import LONG, SHORT, Gate, Serving, png, until, without_times

pytest.importorskip("websockets", reason="websockets is not installed: pip install 'visionkit[serve]'")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


@pytest.mark.parametrize("name", ["boxes", "poses"])
def test_frames_get_what_pictures_get(served, name):
    query = f"?model={name}&confidence=0.0001"
    with served.camera(query) as camera:
        for seed in range(5):
            camera.send(png(seed))
            assert without_times(json.loads(camera.recv(LONG))) == without_times(
                served.find(png(seed), query).json
            )


def test_a_bad_frame_gets_a_reason_and_the_next_one_is_looked_at(served):
    with served.camera() as camera:
        camera.send(b"no picture")
        assert "not a picture" in json.loads(camera.recv(LONG))["error"]
        camera.send(png())
        assert "xyxy" in json.loads(camera.recv(LONG))


def closing(camera):
    """The code with which the server hangs up."""
    with pytest.raises(ConnectionClosed) as closed:
        camera.recv(LONG)
    return closed.value.rcvd.code


def test_text_ends_it(served):
    """H14: no message is ever parsed."""
    for text in ("{}", "[" * 100_000, "NaN"):
        with served.camera() as camera:
            camera.send(text)
            assert closing(camera) == 1003


def test_a_frame_that_is_too_large_ends_it(served):
    """H01, in one piece and in many."""
    with served.camera() as camera:
        camera.send(bytes(SHORT.body + 1))
        assert closing(camera) == 1009
    with served.camera() as camera:
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
            camera.send(bytes(100_000) for _ in range(100))
            camera.recv(LONG)
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


def test_silence_ends_it(models):
    with Serving(models, idle=1) as served, served.camera() as camera:
        begin = time.monotonic()
        assert closing(camera) == 1001
        assert time.monotonic() - begin > 0.5


def refused(served, query="", **options):
    """The status of a handshake that fails, and its reason."""
    with pytest.raises(InvalidStatus) as error:
        served.camera(query, **options)
    return error.value.response.status_code, json.loads(error.value.response.body)["error"]


@pytest.mark.parametrize("origin", [None, "http://evil.com", "null", "https://127.0.0.1"])
def test_only_its_own_page_may_open_it(served, origin):
    """H10: without an Origin, too."""
    status, reason = refused(served, origin=origin)
    assert status == 403
    assert "page" in reason


def test_wrong_host_or_token(served):
    for address in (f"ws://{served.host}/wrong/live", f"ws://{served.host}/live"):
        with pytest.raises(InvalidStatus) as error:
            connect(address, origin=served.origin)
        assert error.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as error:
        connect(f"ws://{served.host}/a-token/nowhere", origin=served.origin)
    assert error.value.response.status_code in (403, 404)


@pytest.mark.parametrize("query", ["?model=none", "?confidence=nan", "?confidence=2", "?source=0"])
def test_bad_parameters(served, query):
    assert refused(served, query)[0] == 400


def test_more_cameras_than_may(served):
    """H08."""
    with ExitStack() as stack:
        for _ in range(SHORT.cameras):
            stack.enter_context(served.camera())
        status, reason = refused(served)
    assert status == 503
    assert "again" in reason
    until(lambda: not served.server.server_state.tasks)
    with served.camera() as camera:
        camera.send(png())
        assert "xyxy" in json.loads(camera.recv(LONG))


def test_a_full_desk_gets_a_word_and_no_end(models):
    """H08."""
    gate = Gate(models["boxes"])
    with Serving({"boxes": gate}, queue=1) as served, served.camera() as first, served.camera() as second:
        first.send(png())
        until(lambda: served.desk._inside == 1)
        second.send(png())
        assert "again" in json.loads(second.recv(LONG))["error"]
        gate.open.set()
        assert "xyxy" in json.loads(first.recv(LONG))
        second.send(png())
        assert "xyxy" in json.loads(second.recv(LONG))


def test_frames_that_were_not_waited_for(served):
    """Answers come one after the other, in order; the rest waits at the camera's end."""
    with served.camera("?confidence=0.0001") as camera:
        for seed in range(10):
            camera.send(png(seed, (40 + seed, 64)))
        sizes = [json.loads(camera.recv(LONG))["image_size"] for _ in range(10)]
    assert sizes == [[40 + seed, 64] for seed in range(10)]


def test_a_camera_that_vanishes_leaves_nothing(models):
    """H09: amid a frame, without a word."""
    gate = Gate(models["boxes"])
    with Serving({"boxes": gate}) as served:
        for _ in range(4):
            with served.camera() as camera:
                camera.send(png())
                until(lambda: served.desk._inside >= 1)
                camera.socket.shutdown(socket.SHUT_RDWR)
            gate.open.set()
            until(lambda: not served.server.server_state.tasks)
            gate.open.clear()
        assert served.desk._inside == 0


def test_stopping_hangs_up(models):
    """H13: a camera does not keep the server from ending."""
    with ExitStack() as stack:
        with Serving(models) as served:
            camera = stack.enter_context(served.camera())
            camera.send(png())
            camera.recv(LONG)
            begin = time.monotonic()
        assert time.monotonic() - begin < 10  # two seconds of patience
        assert closing(camera) in (1012, 1001)
