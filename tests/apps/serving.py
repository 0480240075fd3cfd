"""`visionkit serve` on a loopback port, in a thread of the tests, and plain sockets to speak to it."""

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="starlette is not installed: pip install 'visionkit[serve]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'visionkit[serve]'")
pytest.importorskip("websockets", reason="websockets is not installed: pip install 'visionkit[serve]'")

from visionkit.apps.serve_app import application
from visionkit.apps.serve_desk import Desk, Limits
from visionkit.apps.serve_http import listen, server
from visionkit.models.zoo import load

TOKEN = "a-token"
#: Small, so that tests are quick.
SHORT = Limits(body=1_000_000, spill=50_000_000, queue=12, cameras=2, drain=2)
#: Seconds until something that should happen counts as never happening; a busy machine may hold a test up.
LONG = 150


class Reply(NamedTuple):
    """A status, headers by small letters, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON and say so."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The reason of a refusal."""
        assert self.status >= 400
        assert "Traceback" not in self.json["error"]
        return self.json["error"]


class Serving:
    """A server with these models; a context manager."""

    def __init__(self, models: Mapping[str, Any], **limits: Any) -> None:
        self.limits = replace(SHORT, **limits)
        self._listener = listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.host, self.origin = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}"
        self.desk = Desk(models, self.limits)
        self.server = server(application(self.desk, self.limits, TOKEN, self.port), self.limits)
        self._thread = threading.Thread(target=self.server.run, args=([self._listener],))

    def __enter__(self) -> "Serving":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(LONG)
        self.desk.close()
        self._listener.close()
        assert not self._thread.is_alive()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        root: str = f"/{TOKEN}",
    ) -> Reply:
        """One request on a connection of its own; `path` is below the token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        try:
            connection.request(method, root + path, body, dict(headers or {}))
            return reply_of(connection.getresponse())
        finally:
            connection.close()

    def find(self, data: bytes, query: str = "", **headers: str) -> Reply:
        """Ask what is in a picture."""
        return self.ask("POST", f"/find{query}", data, {"Content-Type": "image/png", **headers})

    def connect(self) -> socket.socket:
        """A connection that says nothing yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=LONG)

    def raw(self, data: bytes) -> bytes:
        """All that comes back, until the server closes."""
        with self.connect() as peer:
            peer.sendall(data)
            return rest(peer)

    def camera(self, query: str = "", **options: Any) -> Any:
        """A WebSocket, as the page opens it."""
        from websockets.sync.client import connect

        options = {
            "origin": self.origin,
            "compression": None,
            "open_timeout": LONG,
            "ping_interval": None,
        } | options
        return connect(f"ws://{self.host}/{TOKEN}/live{query}", **options)


def reply_of(response: http.client.HTTPResponse) -> Reply:
    """What http.client has received."""
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def rest(peer: socket.socket) -> bytes:
    """Everything until the end, or until the other side resets."""
    found = b""
    try:
        while data := peer.recv(65536):
            found += data
    except ConnectionError:
        pass
    return found


def head(method: str, path: str, host: str, *lines: str) -> bytes:
    """The beginning of a request, as bytes."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


def png(seed: int = 0, size: tuple[int, int] = (48, 64)) -> bytes:
    """A picture of noise, as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    """A result, less what differs from time to time."""
    return {key: value for key, value in found.items() if key != "ms"}


def until(true: Callable[[], Any]) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


class Gate:
    """A model that waits at a gate for as long as a test likes, and counts who has come through."""

    def __init__(self, model: Callable[..., Any]) -> None:
        self._model, self.open, self.passed = model, threading.Event(), 0
        self.info, self.confidence = model.info, 0.4

    def __call__(self, picture: Any, confidence: float | None = None) -> Any:
        assert self.open.wait(LONG)
        self.passed += 1
        return self._model(picture, confidence)


def opened(weights: Path) -> Any:
    """A model, warm."""
    model = load(weights)
    model.warm_up()
    return model


def memory() -> float:
    """Resident MB of this process."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1000
