"""Results over HTTP: what clients get, which are refused, and that none of them holds up the frames."""

import http.client
import io
import json
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from visionkit.apps.published import Published
from visionkit.apps.results import Look
from visionkit.errors import FileError
from visionkit.io.draw import Drawing
from visionkit.vision.results import Detections

VIDEO = SimpleNamespace(name="clip.mp4")


def seen(shade, drawn=None):
    def draw():
        if drawn is not None:
            drawn.append(shade)
        return np.full((48, 64, 3), shade, np.uint8).view(Drawing)

    return Look(Detections([[1, 2, 30, 40]], [0.5], [0], ("thing",), (48, 64)), {"": draw})


@pytest.fixture
def published():
    with Published(0) as server:
        yield server
    assert not [t for t in threading.enumerate() if "serve_forever" in t.name]


def get(published, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port(published), timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()
    finally:
        connection.close()


def port(published):
    return int(published.address.rstrip("/").rpartition(":")[2])


def shade(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(float).mean()


def parts(stream):
    """The pictures of a stream, one after the other."""
    assert stream.readline() == b"--frame\r\n"
    while head := stream.readline():
        assert head == b"Content-Type: image/jpeg\r\n"
        length = int(stream.readline().removeprefix(b"Content-Length: "))
        assert stream.readline() == b"\r\n"
        yield stream.read(length)
        assert stream.read(11) == b"\r\n--frame\r\n"


def test_only_this_machine_is_served(published):
    assert published._server.server_address[0] == "127.0.0.1"
    for host, status in (
        ("localhost:9", 200), ("127.0.0.1", 200), ("evil.example", 403), ("evil.example:80", 403), ("", 403),
    ):  # fmt: skip
        assert get(published, "/", Host=host)[0] == status
    assert get(published, "/../etc/passwd")[0] == 404


def test_the_newest_result_and_picture(published):
    with published.moving(VIDEO, 1) as take:
        for number in range(5):
            take(number, seen(40 * number))
        status, kind, content = get(published, "/latest.json")
        assert (status, kind) == (200, "application/json")
        record = json.loads(content)
        assert (record["file"], record["frame"]) == ("clip.mp4", 4)
        assert record["xyxy"] == [[1, 2, 30, 40]]
        status, kind, content = get(published, "/latest.jpg")
        assert (status, kind) == (200, "image/jpeg")
        assert abs(shade(content) - 160) < 3
    published.still("a.png", seen(10))
    assert json.loads(get(published, "/latest.json")[2])["file"] == "a.png"


def test_a_picture_that_nobody_asks_for_is_not_drawn(published):
    drawn = []
    for number in range(5):
        published.still("a.png", seen(number, drawn))
    assert drawn == []
    for _ in range(3):
        get(published, "/latest.jpg")
    assert drawn == [4]


def test_whoever_asks_before_the_first_frame_waits_for_it(published):
    answers = []
    asking = threading.Thread(target=lambda: answers.append(get(published, "/latest.jpg")))
    asking.start()
    time.sleep(0.3)
    assert answers == []
    published.still("a.png", seen(99))
    asking.join(20)
    assert abs(shade(answers[0][2]) - 99) < 3


def test_a_stream_of_every_new_picture(published):
    with socket.create_connection(("127.0.0.1", port(published)), timeout=20) as client:
        client.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream = client.makefile("rb")
        while (line := stream.readline()) != b"\r\n":
            assert line
        pictures = parts(stream)
        for number in (10, 60, 200):
            published.still("a.png", seen(number))
            assert abs(shade(next(pictures)) - number) < 3
        published.__exit__(None, None, None)
        assert next(pictures, None) is None  # the end of the source is the end of the stream


def test_clients_that_sleep_or_vanish_hold_nobody_up(published):
    """Frames go on being taken at the same speed, and another client is served."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    look = Look(Detections.empty((480, 640)), {"": lambda: noise.view(Drawing)})
    sleeping = [socket.create_connection(("127.0.0.1", port(published))) for _ in range(6)]
    for client in sleeping:
        client.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    begin = time.monotonic()
    with published.moving(VIDEO, 1) as take:
        for number in range(2000):
            take(number, look)
            if number == 1000:
                for client in sleeping[:3]:
                    client.close()
    assert time.monotonic() - begin < 20  # 5 s, the patience with one client, for each would be 30
    assert json.loads(get(published, "/latest.json")[2])["frame"] == 1999
    for client in sleeping:
        client.close()


def test_too_many_clients_are_refused(published):
    crowd = [socket.create_connection(("127.0.0.1", port(published))) for _ in range(16)]
    for client in crowd:
        client.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"
    assert get(published, "/latest.json")[0] == 503
    for client in crowd:
        client.close()


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(FileError, match=r"cannot listen on 127\.0\.0\.1:.* in use") as caught:
            Published(other.getsockname()[1])
        assert "another port" in str(caught.value)


def test_the_flag(visionkit, weights, shapes):
    """The address is told, and the port is free again after the last picture."""
    picture = next((shapes / "val" / "images").iterdir())
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    for _ in range(2):
        ran = visionkit("detect", picture, "--weights", weights, "--http", number)
        assert ran.code == 0
        assert f"http://127.0.0.1:{number}/" in ran.err
    assert visionkit("detect", picture, "--weights", weights, "--http", 70_000).code == 2
    assert not Path("latest.json").exists()
