"""MJPEG over HTTP from servers on loopback that refuse, stall, break off and send rubbish."""

import base64
import logging
import threading
import time
from functools import partial
from itertools import islice

import numpy as np
import pytest

from tests.io.streams import MULTIPART, Server, answers, jpeg, number_of, part, picture, sends, then_silent
from visionkit.errors import DataError, SourceLostError
from visionkit.io.live import Live
from visionkit.io.video import Video
from visionkit.io.web import HttpPictures


def live(server, **options):
    """The stream of a server, with short times."""
    options = {"timeout": 0.5, "delay": 0.01, "reconnect": 20.0} | options
    return Live(partial(HttpPictures, server.address, options["timeout"]), "cam", **options)


def numbers(source, count):
    return [number_of(frame) for frame in islice(source, count)]


def slow(*pictures, **options):
    """Parts with time between them, so that none is dropped."""
    return sends(*map(part, pictures), pause=0.05, **options)


@pytest.mark.parametrize(
    "head",
    [
        MULTIPART,
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed\r\n\r\n",  # no boundary at all
        b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n",
    ],
)
def test_pictures_arrive_whatever_the_server_calls_them(head):
    with Server(slow(*map(jpeg, range(5)), head=head)) as server:
        source = live(server)
        for number, frame in enumerate(islice(source, 5)):
            assert np.abs(frame.astype(int) - picture(number)).max() < 12
        assert source.dropped == 0
        source.close()


def test_chunked_transfer():
    def act(connection, request):
        connection.sendall(MULTIPART.replace(b"1.0", b"1.1", 1)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
        for content in map(part, map(jpeg, range(4))):
            for piece in (content[:100], content[100:]):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                time.sleep(0.03)
        connection.recv(1)

    with Server(act) as server:
        source = live(server)
        assert numbers(source, 4) == [0, 1, 2, 3]
        source.close()


def late(connection, request):
    """Twice in time, but not together."""
    time.sleep(0.45)
    connection.sendall(MULTIPART)
    time.sleep(0.45)
    connection.sendall(part(jpeg(1)))
    connection.recv(1)


def html(connection, request):
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>")


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (answers("401 Unauthorized"), SourceLostError, "HTTP 401 Unauthorized: a wrong user or password"),
        (answers("404 Not Found"), SourceLostError, "HTTP 404 Not Found: the path of the address is wrong"),
        (answers("503 Busy"), SourceLostError, "HTTP 503 Busy"),
        (answers("302 Found", "Location: file:///etc/passwd"), SourceLostError, "HTTP 302 .*not allowed"),
        (answers("302 Found", "Location: ftp://127.0.0.1/x"), SourceLostError, "unknown url type: ftp"),
        (answers("302 Found", "Location: /live"), SourceLostError, "HTTP 302 .*infinite loop"),
        (html, DataError, "it sends text/html, not MJPEG"),
        (sends(head=b"garbage and nothing else\r\n\r\n"), SourceLostError, "garbage"),
        (sends(head=b""), SourceLostError, "(?i)without response|reset"),
        (sends(b"x" * 2000), SourceLostError, "the server ended the stream"),
        (sends(jpeg(1)[:300]), SourceLostError, "the server ended the stream"),
        (then_silent(head=b""), SourceLostError, "no answer within 0.5 seconds|no picture for 0.5 seconds"),
        (then_silent(), SourceLostError, "no answer within 0.5 seconds|no picture for 0.5 seconds"),
        (then_silent(jpeg(1)[:300]), SourceLostError, "no answer within|no picture for 0.5 seconds"),
        (late, SourceLostError, "no answer within|no picture for 0.5 seconds"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_has_a_reason_and_no_password(act, kind, words):
    """Torture V15, V16, V19."""
    begin = time.monotonic()
    with Server(act) as server, pytest.raises(kind, match=words) as caught:
        Video(server.address.replace("//", "//admin:s3cr%40t@") + "?token=t0ken", timeout=0.5)
    assert time.monotonic() - begin < 5
    assert str(caught.value).startswith(f"http://***@127.0.0.1:{server.port}/live?***: ")
    assert "s3cr" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:1/x", "refused"),
        ("http://nowhere.invalid/x", "(?i)name|known|address|no picture"),
        ("http://127.0.0.1:99999/x", "(?i)port"),
        ("http://[::1/x", "(?i)ipv6|address"),
    ],
)
def test_servers_that_are_not_there(address, words):
    with pytest.raises((SourceLostError, ValueError), match=words):
        Video(address, timeout=2.0)


def test_tls_that_fails_is_named():
    with (
        Server(answers("200 OK")) as server,
        pytest.raises(SourceLostError, match=r"(?i)ssl|tls|wrong version|eof|record"),
    ):
        Video(server.address.replace("http", "https"), timeout=0.5)


def test_bytes_that_drip_are_no_pictures():
    """Each byte is in time, a whole picture never is."""

    def act(connection, request):
        connection.sendall(MULTIPART)
        for byte in jpeg(1):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    begin = time.monotonic()
    with Server(act) as server, pytest.raises(SourceLostError, match=r"no picture for 0\.5 seconds"):
        live(server)
    assert time.monotonic() - begin < 5


def test_a_slow_first_picture_is_waited_for():
    def act(connection, request):
        connection.sendall(MULTIPART)
        time.sleep(0.3)
        connection.sendall(part(jpeg(3)))
        connection.recv(1)

    with Server(act) as server:
        source = live(server, timeout=2.0)
        assert numbers(source, 1) == [3]
        source.close()


def test_fifty_disconnections():
    """Torture V14: half of the connections end between pictures, half in one; none shows half a picture."""
    acts = []
    for number in range(50):
        rest = part(jpeg(15))[: 400 if number % 2 else 0]
        acts.append(sends(part(jpeg(number % 10)), rest, pause=0.02))
    with Server(*acts, then_silent(part(jpeg(12)))) as server:
        source = live(server)
        seen = numbers(source, 51)
        assert seen == [number % 10 for number in range(50)] + [12]
        source.close()
        assert len(server.requests) == 51


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\0" * 10_000,
        b"<html>an error page</html>",
        b"\xff\xd8\xff" + b"\x55" * 500,
        part(jpeg(9)[:200]),
        part(b""),
        part(jpeg(9)[:2] + jpeg(9)[300:]),
        b"\xff" * 70_000,
    ],
)
def test_rubbish_between_pictures_is_never_shown(rubbish):
    contents = [part(jpeg(1)), rubbish, part(jpeg(2)), rubbish, part(jpeg(3))]
    with Server(sends(*contents, pause=0.1)) as server:
        source = live(server)
        assert numbers(source, 3) == [1, 2, 3]
        source.close()


def test_a_stall_is_noticed_and_the_stream_comes_back(caplog):
    """Torture V17."""
    caplog.set_level(logging.INFO, "visionkit")
    with Server(then_silent(part(jpeg(1))), then_silent(part(jpeg(2)))) as server:
        source = live(server)
        begin = time.monotonic()
        assert numbers(source, 2) == [1, 2]
        assert time.monotonic() - begin < 5
        source.close()
    assert "seconds; trying again in 0.01 s" in caplog.messages[0]
    assert caplog.messages[1] == "cam: back after 0 seconds"


def test_another_size_after_a_reconnection_and_within_a_stream():
    """Torture V09."""
    with Server(
        slow(jpeg(1, (48, 64)), jpeg(2, (96, 128))), slow(jpeg(3, (600, 800)), jpeg(4, (8, 8)))
    ) as server:
        source = live(server)
        shapes = [frame.shape[:2] for frame in islice(source, 4)]
        assert shapes == [(48, 64), (96, 128), (600, 800), (8, 8)]
        source.close()


def test_a_slow_consumer_gets_the_newest():
    """Torture V20: 5 pictures a second of 60."""
    rate = [part(jpeg(number % 16)) for number in range(120)]
    with Server(sends(*rate, pause=1 / 60)) as server:
        source = live(server)
        seen = []
        for frame in islice(source, 6):
            seen.append(frame)
            time.sleep(0.2)
            assert time.monotonic() - source.arrived < 0.2 + 0.5
        assert 30 < source.dropped < 115
        source.close()


def test_it_is_lost_for_good():
    with Server(sends(part(jpeg(1))), answers("503 Busy")) as server:
        source = live(server, reconnect=0.5)
        with pytest.raises(SourceLostError, match=r"cam: lost for good: .* 0\.5 seconds; .*: HTTP 503 Busy"):
            list(source)
        source.close()


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_passwords_are_given_to_those_who_ask(scheme):
    """RFC 7617 and RFC 7616; the escape in the address is undone."""

    def guard(connection, request):
        if b"Authorization: " + scheme.encode() in request:
            then_silent(part(jpeg(4)))(connection, request)
        else:
            challenge = f'WWW-Authenticate: {scheme} realm="cam", nonce="abc", qop="auth"'
            answers("401 Unauthorized", challenge)(connection, request)

    with Server(guard) as server:
        address = server.address.replace("//", "//admin:s3cr%40t@")
        source = Live(partial(HttpPictures, address, 1.0), "cam", timeout=1.0)
        assert numbers(source, 1) == [4]
        source.close()
        first, second = server.requests
    assert b"s3cr" not in first + second
    assert b"@" not in first
    if scheme == "Basic":
        assert base64.b64encode(b"admin:s3cr@t") in second
    else:
        assert b'username="admin"' in second


def test_closing_while_the_server_is_silent_is_quick():
    before = threading.active_count()
    with Server(then_silent(part(jpeg(1)))) as server:
        with Video(server.address) as video:
            frames = iter(video)
            next(frames)
            begin = time.monotonic()
        assert time.monotonic() - begin < 0.9
    assert threading.active_count() == before
