"""Sources on loopback that behave as badly as real ones: an HTTP server that follows a script, pictures."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

#: What a server does with one connection, once the request has been read.
Act = Callable[[socket.socket, bytes], None]

MULTIPART = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


def picture(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Red tells the number, 0 to 15; green and blue are a slope, so that no two sizes look alike."""
    height, width = size
    slope = np.add.outer(np.arange(height), np.arange(width)) % 256
    return np.stack([np.full(size, 16 * number), slope, slope], axis=2).astype(np.uint8)


def number_of(frame: np.ndarray) -> int:
    """Which `picture` a frame is."""
    return round(float(frame[..., 0].mean()) / 16)


def jpeg(number: int, size: tuple[int, int] = (48, 64), **options: Any) -> bytes:
    """A `picture` as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture(number, size)).save(buffer, "JPEG", **({"quality": 95} | options))
    return buffer.getvalue()


def part(content: bytes) -> bytes:
    """One part of a multipart stream."""
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
        len(content),
        content,
    )


def sends(*contents: bytes, pause: float = 0.0, head: bytes = MULTIPART) -> Act:
    """Send the head and the contents, with a pause after each; then the connection is closed."""

    def act(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        for content in contents:
            connection.sendall(content)
            time.sleep(pause)

    return act


def then_silent(*contents: bytes, head: bytes = MULTIPART) -> Act:
    """Send the contents and nothing more, and keep the connection until the other side closes it."""

    def act(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head + b"".join(contents))
        connection.recv(1)

    return act


def answers(status: str, *headers: str, body: bytes = b"") -> Act:
    """Answer and close."""
    lines = [f"HTTP/1.0 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return sends("\r\n".join(lines).encode() + body, head=b"")


class Server:
    """Listens on loopback; the first connection gets the first act, and so on; the last act repeats.

    Attributes:
        address: of the server, with http://.
        requests: all that were read.
    """

    def __init__(self, *acts: Act) -> None:
        self._acts = acts
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/live"
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._listen)
        self._threads: list[threading.Thread] = []

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            act = self._acts[min(len(self._open), len(self._acts) - 1)]
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, act))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, act: Act) -> None:
        try:
            request = b""
            tls = b"\x16"
            while b"\r\n\r\n" not in request and request[:1] != tls and (data := connection.recv(4096)):
                request += data
            self.requests.append(request)
            act(connection, request)
        except OSError:
            pass  # the other side has closed
        finally:
            connection.close()

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
