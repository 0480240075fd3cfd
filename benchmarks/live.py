"""Kind "live": how late the results of a live source are, and that frames it sends too fast are dropped."""

import argparse
import io
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any

import numpy as np
from harness import WorkerError, environment
from PIL import Image

import visionkit as vk
from visionkit.apps.sources import demo_picture
from visionkit.kernels import jit

#: Frames a second of the source: of a camera, and more than can be looked at.
RATES = (30, 400)
SIZE = 320
_LINE = re.compile(r"frame (\d+) \((\S+) frames/s, (\S+) ms, (\d+) dropped\)")


def measure_live(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of the network, and by rate what `visionkit detect` says once a second, `rounds` times.

    The network alone runs time after time, and with pauses as between the frames of a camera, in which caches
    are lost and processors fall asleep. The source is MJPEG over HTTP on loopback, 640 x 480; latency is from
    the last byte of a frame to its printed result: decoding the JPEG, resizing and finding boxes are in it.
    """
    pictures = _pictures()
    jit.set_threads(args.threads)
    detector = vk.load("yolo-nano-person", size=SIZE)
    plan, seen = detector.plan(), np.zeros((1, SIZE, SIZE, 3), np.uint8)
    network = _median(lambda: plan.forward(seen))
    paced = _median(lambda: plan.forward(seen), pause=1 / RATES[0])
    jpegs = [_jpeg(picture) for picture in pictures]
    facts: dict[str, Any] = {"network_ms": network, "paced_network_ms": paced, "sources": {}}
    print(f"\nnetwork {network:.1f} ms, {paced:.1f} ms where it runs {RATES[0]} times a second")
    print(f"{'frames sent/s':>14}{'results/s':>11}{'latency ms':>12}{'dropped/s':>11}")
    for rate in RATES:
        one = facts["sources"][rate] = _watched(args, jpegs, rate)
        figures = (one["results_per_second"], one["latency_ms"], one["dropped_per_second"])
        print(f"{rate:14}{figures[0]:11.1f}{figures[1]:12.1f}{figures[2]:11.1f}")
    return facts


def _median(step: Callable[[], object], runs: int = 100, pause: float = 0.0) -> float:
    taken = []
    for _ in range(runs):
        time.sleep(pause)
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken[runs // 10 :])


def _pictures() -> list[np.ndarray]:
    """A portrait that moves to and fro."""
    with Image.open(demo_picture()) as portrait:
        wide = portrait.convert("RGB").resize((720, 844))
    return [np.asarray(wide.crop((x, 100, x + 640, 580))) for x in (*range(0, 80, 5), *range(80, 0, -5))]


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return file.getvalue()


@contextmanager
def _camera(jpegs: list[bytes], rate: float) -> Iterator[str]:
    """The address of a server that sends so many frames a second for as long as somebody listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            due = time.perf_counter()
            try:
                for jpeg in cycle(jpegs):
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                    due += 1 / rate
                    time.sleep(max(0.0, due - time.perf_counter()))
            except OSError:
                return  # nobody listens any more

        def log_message(self, *what: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def _watched(args: argparse.Namespace, jpegs: list[bytes], rate: float) -> dict[str, Any]:
    """What the command says of a source; its first second, in which caches fill, is left out."""
    words = ["--size", str(SIZE), "--no-window", "--threads", str(args.threads)]
    with _camera(jpegs, rate) as address:
        command = [sys.executable, "-m", "visionkit.apps.cli", "detect", address, *words]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(args.threads)
        ) as process:
            assert process.stdout
            assert process.stderr
            told = []
            for line in process.stdout:
                if found := _LINE.search(line):
                    told.append(tuple(map(float, found.groups())))
                if len(told) == args.rounds + 1:
                    break
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
    if len(told) <= args.rounds:
        raise WorkerError(f"visionkit detect, live: {said[-1000:].strip()}")
    frames, rates, late, dropped = zip(*told, strict=True)
    return {
        "results_per_second": statistics.median(rates[1:]),
        "latency_ms": statistics.median(late[1:]),
        "latencies_ms": late[1:],
        "dropped_per_second": (dropped[-1] - dropped[0]) / args.rounds,  # a line comes once a second
        "frames": frames[-1] - frames[0],
    }
