"""A headless Chromium, spoken to in its DevTools protocol: as little as the tests of the page need."""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets", reason="websockets is not installed: pip install 'visionkit[serve]'")
from websockets.sync.client import connect


class Chromium:
    """One browser with one tab; a context manager.

    Args:
        folder: for its profile.
        flags: more of the command line.
        size: (width, height) of the window.
    """

    def __init__(self, folder: Path, *flags: str, size: tuple[int, int] = (1280, 800)) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if not program:
            pytest.skip("no chromium here: apt-get install chromium")
        self._folder, self._stack, self._ids = folder, ExitStack(), itertools.count(1)
        self.console: list[str] = []
        self._command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--mute-audio", "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={folder}",
            f"--window-size={size[0]},{size[1]}", *flags, "about:blank",
        ]  # fmt: skip

    def __enter__(self) -> "Chromium":
        with self._stack:
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet, process_group=0)
            self._stack.callback(self._end, process)
            address = f"http://127.0.0.1:{self._port()}/json/list"
            with urllib.request.urlopen(address, timeout=60) as reply:
                tab = next(one for one in json.load(reply) if one["type"] == "page")
            self._socket = self._stack.enter_context(
                connect(tab["webSocketDebuggerUrl"], max_size=None, open_timeout=60)
            )
            for domain in ("Page", "Runtime", "Log", "DOM"):
                self.do(f"{domain}.enable")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """End the browser and all its children."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _port(self) -> str:
        """Where it listens, as soon as it does."""
        path, end = self._folder / "DevToolsActivePort", time.monotonic() + 60
        while not (path.is_file() and "\n" in path.read_text()):
            assert time.monotonic() < end, "chromium does not start"
            time.sleep(0.05)
        return path.read_text().splitlines()[0]

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result; what the page logs meanwhile goes into `console`."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str([one.get("value") for one in params["args"]]))

    def open(self, address: str) -> None:
        """Go to an address."""
        self.do("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        answer = self.do(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.js(expression)):
            assert time.monotonic() < end, f"never true: {expression}; {self.js('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def give(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.do("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key: str) -> None:
        """Press and release a key, such as Tab or Enter."""
        code = {"Tab": 9, "Enter": 13, "ArrowRight": 39}[key]
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def window(self, width: int, height: int, scale: float = 1) -> None:
        """Be a screen of this many CSS pixels."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                mobile=width < 600)  # fmt: skip

    def screenshot(self, path: Path) -> None:
        """What can be seen, as PNG."""
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"]))
