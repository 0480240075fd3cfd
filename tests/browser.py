"""What a real browser makes of a video: Debian's chromium without a screen, asked over the loopback."""

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

_PAGE = """<!doctype html><video id=v muted src=/clip.mp4></video><script>
const v = document.getElementById("v");
const tell = what => fetch("/told", {method: "POST", body: JSON.stringify(what)});
v.onerror = () => tell({error: v.error.message});
v.onloadedmetadata = () => { v.currentTime = TIME; };
v.onseeked = () => {
  const c = document.createElement("canvas");
  [c.width, c.height] = [v.videoWidth, v.videoHeight];
  const g = c.getContext("2d");
  g.drawImage(v, 0, 0);
  const [...colour] = g.getImageData(c.width >> 1, c.height >> 1, 1, 1).data;
  if (!colour.pop()) return setTimeout(v.onseeked, 50);  // transparent: no frame is painted yet
  tell({duration: v.duration, time: v.currentTime, size: [c.width, c.height], colour: colour});
};
</script>"""


class Shown(NamedTuple):
    """A video in a browser, at one moment.

    Attributes:
        duration, time: in seconds.
        size: (width, height) of the picture.
        colour: of its middle, RGB.
    """

    duration: float
    time: float
    size: tuple[int, int]
    colour: tuple[int, int, int]


def seek(path: Path, time: float) -> Shown:
    """Open an .mp4 file in chromium and go to `time`; the test is skipped where there is no chromium.

    Raises:
        AssertionError: the browser cannot play it, or says nothing within a minute.
    """
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed")
    told: list[dict] = []
    heard = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                return self._send(_PAGE.replace("TIME", str(time)).encode(), "text/html")
            if self.path != "/clip.mp4":
                return self.send_error(404)
            content = path.read_bytes()
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            return self._send(part, "video/mp4", started=True)

        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            heard.set()
            self._send(b"", "text/plain")

        def _send(self, content: bytes, kind: str, started: bool = False) -> None:
            if not started:
                self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the browser has seen enough
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command = [chromium, *flags, "--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}/"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            heard.wait(60)
            browser.terminate()
        server.shutdown()
    assert told, "the browser said nothing within a minute"
    assert "error" not in told[0], told[0]["error"]
    return Shown(told[0]["duration"], told[0]["time"], tuple(told[0]["size"]), tuple(told[0]["colour"]))
