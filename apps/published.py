"""Results over HTTP, to this machine alone: pictures as they come, the newest one, and what is in it."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from visionkit.errors import FileError

from .results import Look, Take
from .terminal import say

if TYPE_CHECKING:
    from visionkit.io.video import Video

_HOST = "127.0.0.1"
_PATIENCE = 5  # seconds that a client may take to send or to receive something
_CLIENTS = 16
_PAGE = b'<!doctype html><title>visionkit</title><img src="/stream.mjpg"><p><a href="/latest.json">JSON</a>'


class _Newest:
    """What was seen last; its picture is drawn and compressed when the first client asks, and once."""

    def __init__(self, seen: Look, record: dict[str, Any]) -> None:
        self._seen, self._record, self._lock, self._jpeg = seen, record, threading.Lock(), b""

    def json(self) -> bytes:
        """One object, as `--json` prints it."""
        return json.dumps(self._record).encode() + b"\n"

    def jpeg(self) -> bytes:
        """The drawn picture."""
        with self._lock:
            if not self._jpeg:
                buffer = io.BytesIO()
                drawn = next(iter(self._seen.layers.values()))()
                Image.fromarray(np.asarray(drawn)).save(buffer, "JPEG", quality=80)
                self._jpeg = buffer.getvalue()
            return self._jpeg


class Published:
    """The server of `--http`; a sink and a context manager, which serves while it is entered.

    A client gets the newest picture when it has taken the last; one that is slow or gone holds nobody up.

    Args:
        port: of 127.0.0.1; 0 for any that is free.

    Raises:
        FileError: the port cannot be had.
    """

    written: Path | None = None  # nothing stays

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self._newest: _Newest | None = None
        self._closed = False
        self._clients = threading.BoundedSemaphore(_CLIENTS)
        handler = type("Handler", (_Handler,), {"published": self})
        try:
            self._server = ThreadingHTTPServer((_HOST, port), handler)
        except OSError as error:
            reason = f"cannot listen on {_HOST}:{port}: {error.strerror}"
            raise FileError(reason, remedy="choose another port for --http") from None
        self.address = f"http://{_HOST}:{self._server.server_port}/"

    def still(self, source: str, seen: Look) -> None:
        """Show what was seen in a picture."""
        self._show(_Newest(seen, seen.record(source)))

    @contextmanager
    def moving(self, video: "Video", step: int) -> Iterator[Take]:
        """Show what is seen in every frame."""
        yield lambda number, seen: self._show(_Newest(seen, seen.record(video.name, frame=number)))

    def _show(self, newest: _Newest) -> None:
        with self._changed:
            self._newest = newest
            self._changed.notify_all()

    def after(self, last: _Newest | None) -> _Newest | None:
        """What came after `last`, waited for; None once there will be nothing more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._newest is not last)
            return None if self._newest is last else self._newest

    @contextmanager
    def client(self) -> Iterator[bool]:
        """Whether there is room for one more client, which there is until the end of the block."""
        room = self._clients.acquire(blocking=False)
        try:
            yield room
        finally:
            if room:
                self._clients.release()

    def __enter__(self) -> "Published":
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        say(f"to look at: {self.address}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One client."""

    published: Published
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """The page, the newest picture or result, or all pictures to come."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in (_HOST, "localhost"):  # a page from elsewhere whose name leads here
            return self.send_error(403)
        with self.published.client() as room:
            if not room:
                return self.send_error(503)
            if self.path == "/":
                return self._answer("text/html", _PAGE)
            if self.path == "/stream.mjpg":
                return self._stream()
            if self.path in ("/latest.json", "/latest.jpg"):
                newest = self.published.after(None)
                if newest is None:
                    return self.send_error(503)
                if self.path == "/latest.jpg":
                    return self._answer("image/jpeg", newest.jpeg())
                return self._answer("application/json", newest.json())
        return self.send_error(404)

    def _answer(self, kind: str, content: bytes) -> None:
        self._begin(kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        self._begin("multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        self.wfile.write(b"--frame\r\n")
        newest = None
        while newest := self.published.after(newest):
            jpeg = newest.jpeg()
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            # browsers show a picture when the next one begins
            self.wfile.write(head.encode() + jpeg + b"\r\n--frame\r\n")

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")

    def handle(self) -> None:
        """Serve; a client that goes away or sleeps is forgotten."""
        with suppress(OSError):
            super().handle()

    def log_message(self, *args: object) -> None:
        """Say nothing."""
