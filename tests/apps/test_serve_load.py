"""The server and those who send too much, too slowly or often, or leave (H01, H02, H08, H09, H13, H15)."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack

import pytest

from tests.apps.serving import (
    LONG,
    TOKEN,
    Gate,
    Serving,
    head,
    memory,
    opened,
    png,
    rest,
    until,
    without_times,
)


@pytest.fixture(scope="module")
def model(weights):
    return opened(weights)


@pytest.fixture
def served(model):
    with Serving({"boxes": model}) as serving:
        yield serving


@pytest.fixture
def impatient(model):
    """A server that gives a request one second, not ten."""
    with Serving({"boxes": model}, patience=1) as serving:
        yield serving


def upload(served, *lines):
    return head("POST", f"/{TOKEN}/find", served.host, "Content-Type: image/png", *lines)


def test_a_body_that_says_it_is_too_large(served):
    """H01: refused before a byte of it is read."""
    for length in ("4000001", "9" * 17, "9" * 400):
        text = served.raw(upload(served, f"Content-Length: {length}"))
        assert text.startswith(b"HTTP/1.1 4")
        assert b"connection: close" in text.lower()
    assert b" 413 " in served.raw(upload(served, "Content-Length: 4000001"))


def test_a_body_that_never_ends(served):
    """H01: chunks for ever are refused at the limit and cut off after fifty of them; memory stays flat."""
    before = memory()
    for _ in range(3):
        with served.connect() as peer:
            peer.sendall(upload(served, "Transfer-Encoding: chunked"))
            chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            sent = 0
            try:
                while sent < 3000:
                    peer.sendall(chunk)
                    sent += 1
            except ConnectionError:
                pass
            assert sent < 3000, "200 MB were taken"
            text = rest(peer)
            assert not text or b" 413 " in text
    assert memory() - before < 20
    assert served.find(png()).status == 200


@pytest.mark.parametrize("size", [1_000_001, 45_000_000])
def test_who_sends_too_much_learns_why(served, size):
    """H01: also those that listen only when they have sent everything; the very limit is allowed."""
    reply = served.find(bytes(size))
    assert reply.status == 413
    assert reply.headers["connection"] == "close"
    chunks = (bytes(100_000) for _ in range(size // 100_000 + 1))
    reply = served.find(chunks)  # http.client sends them as such
    assert reply.status == 413
    assert "1,000,000" in reply.error
    assert served.find(bytes(1_000_000)).status == 422


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        (f"/{TOKEN}/find", "multipart/form-data", 400),
        (f"/{TOKEN}/find", "text/plain", 403),
        (f"/{TOKEN}/find", "application/json", 415),
        (f"/{TOKEN}/nothing", "image/png", 404),
        ("/another-token/find", "image/png", 403),
    ],
)
def test_every_refusal_of_a_large_body_is_heard(served, path, kind, status):
    reply = served.ask("POST", path, bytes(30_000_000), {"Content-Type": kind}, root="")
    assert reply.status == status
    assert reply.error


def test_a_refusal_comes_before_the_body_and_silence_ends_it(served):
    """Those that wait for leave to send (Expect: 100-continue) send nothing."""
    with served.connect() as peer:
        peer.sendall(upload(served, "Content-Length: 40000000", "Expect: 100-continue"))
        text = rest(peer)
    assert text.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in text
    assert text.endswith(b'{"error":"more than 1,000,000 bytes"}')


def test_a_length_that_lies(impatient):
    """H01: less than said is waited for in vain; more is another request, and no good one."""
    data = png()
    assert impatient.raw(upload(impatient, f"Content-Length: {len(data) + 1}") + data) == b""
    text = impatient.raw(upload(impatient, f"Content-Length: {len(data) // 2}") + data)
    assert text.count(b"HTTP/1.1 ") <= 2
    assert b"422" in text.splitlines()[0]


@pytest.mark.parametrize("slowly", ["nothing", "a request line", "headers", "a body", "a second request"])
def test_slow_requests_end(impatient, slowly):
    """H02: byte by byte or not at all, the whole request has its second here, ten in real life."""
    first = head("GET", f"/{TOKEN}/models", impatient.host)
    whole = {
        "nothing": b"",
        "a request line": first[:12],
        "headers": first[:-2] + b"A: b\r\n" * 1000,
        "a body": upload(impatient, "Content-Length: 1000") + b"x" * 999,
        "a second request": first[:40],
    }[slowly]
    with impatient.connect() as peer:
        if slowly == "a second request":
            peer.sendall(first)
            until(lambda: peer.recv(65536).endswith(b"}"))
        peer.settimeout(0.01)
        begin, ended = time.monotonic(), False
        for at in range(1000):
            try:
                peer.sendall(whole[at : at + 1])
                ended = peer.recv(100) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True
            if ended or time.monotonic() - begin > LONG:
                break
        assert ended
        assert time.monotonic() - begin > 0.5
    assert impatient.find(png()).status == 200


def test_two_hundred_silent_connections_bar_nobody(impatient):
    """H02."""
    silent = [impatient.connect() for _ in range(200)]
    slow = [impatient.connect() for _ in range(50)]
    for peer in slow:
        peer.sendall(upload(impatient, "Content-Length: 1000") + b"x" * 10)
    for _ in range(5):
        assert impatient.find(png()).status == 200
    for peer in silent + slow:
        assert rest(peer) == b""
        peer.close()
    until(lambda: not impatient.server.server_state.connections)


def test_more_than_may_wait_is_told_to_come_again(model):
    """H08: the queue is bounded, and those in it are served."""
    gate = Gate(model)
    with Serving({"boxes": gate}, queue=5) as served:
        replies = []
        visitors = [threading.Thread(target=lambda: replies.append(served.find(png()))) for _ in range(5)]
        for visitor in visitors:
            visitor.start()
        until(lambda: served.desk._inside == 5)
        for _ in range(20):
            refused = served.find(png())
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            assert "again" in refused.error
        gate.open.set()
        for visitor in visitors:
            visitor.join()
        assert [reply.status for reply in replies] == [200] * 5
        assert gate.passed == 5
        assert served.find(png()).status == 200


def test_who_leaves_is_forgotten(model):
    """H09: pictures of those who have left are not looked at, but for those already begun."""
    gate = Gate(model)
    with Serving({"boxes": gate}) as served:
        data = png()
        peers = [served.connect() for _ in range(8)]
        for peer in peers:
            peer.sendall(upload(served, f"Content-Length: {len(data)}") + data)
        until(lambda: served.desk._inside == 8)
        for peer in peers:
            peer.close()
        until(lambda: served.desk._inside == 0)
        gate.open.set()
        assert served.find(data).status == 200
        assert gate.passed <= 3


def test_leaving_amid_a_body_leaks_nothing(served):
    """H09."""
    for _ in range(100):
        with served.connect() as peer:
            peer.sendall(upload(served, "Content-Length: 100000") + b"x" * 5000)
    until(lambda: not served.server.server_state.connections)
    assert not served.server.server_state.tasks
    assert served.desk._inside == 0
    assert served.find(png()).status == 200


def test_a_thousand_failures_leave_no_file(served, tmp_path, monkeypatch):
    """H15, and no descriptor either."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    served.find(b"no")
    until(lambda: not served.server.server_state.connections)
    before = len(os.listdir("/proc/self/fd"))
    bodies = [b"no", png()[:200], b"\xff\xd8\xff" + b"x" * 50_000, b"II*\0" + b"\1" * 1000]
    for turn in range(1000):
        assert served.find(bodies[turn % len(bodies)]).status == 422
    until(lambda: not served.server.server_state.connections)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_failure_that_nobody_thought_of(model, capfd):
    """500 and not a word of why to the visitor; a line for whoever runs the server."""

    def broken(picture, confidence):
        raise RuntimeError("secret")

    broken.info, broken.confidence = model.info, 0.4
    with Serving({"boxes": broken}) as served:
        reply = served.find(png())
        assert (reply.status, reply.error) == (500, "internal error")
        assert served.desk._inside == 0
        assert served.find(b"no").status == 422
    err = capfd.readouterr().err
    assert err.count("secret") == 1
    assert "Traceback" not in err


@pytest.mark.slow
def test_ten_thousand_requests_take_no_memory(served):
    """H13: 8 visitors; at most 10 MB more than after the first thousand."""
    wanted = without_times(served.find(png(0)).json)
    wrong = []

    def visit(count):
        wrong.extend(turn for turn in range(count) if without_times(served.find(png(0)).json) != wanted)

    def everybody(count):
        visitors = [threading.Thread(target=visit, args=(count,)) for _ in range(8)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()

    everybody(125)
    before, files = memory(), len(os.listdir("/proc/self/fd"))
    everybody(1125)
    grown = memory() - before
    print(f"10,000 requests: {grown:+.1f} MB")
    assert not wrong
    assert grown < 10
    assert len(os.listdir("/proc/self/fd")) <= files + 8


@pytest.fixture
def started(weights, tmp_path):
    """The command itself, in a process of its own: (process, port, path)."""
    command = [sys.executable, "-m", "visionkit.apps.cli", "serve", "--port", "0", "--weights", str(weights)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        host, _, path = address.removeprefix("http://").partition("/")
        yield process, int(host.partition(":")[2]), "/" + path
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time(started, number):
    """H13: amid uploads, with silent visitors; the address is all that was printed."""
    process, port, path = started
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
        text = f"POST {path}find HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/png\r\n"
        peers[0].sendall(f"{text}Content-Length: 1000\r\n\r\nx".encode())
        data = png()
        peers[1].sendall(f"{text}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        assert b" 200 " in peers[1].recv(65536)
        begin = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=LONG)
        assert time.monotonic() - begin < 10  # three seconds of patience, and a busy machine's
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert out == ""
    assert "Traceback" not in err


def test_what_was_begun_is_answered(model):
    """H13: told to stop amid a picture, the server answers it first."""
    gate = Gate(model)
    with Serving({"boxes": gate}, drain=5) as served:
        replies = []
        visitor = threading.Thread(target=lambda: replies.append(served.find(png())))
        visitor.start()
        until(lambda: served.desk._inside == 1)
        served.server.should_exit = True
        time.sleep(0.3)
        gate.open.set()
        visitor.join()
        assert replies[0].status == 200
