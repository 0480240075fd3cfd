"""`visionkit bench`: how fast a network is here, part by part, and how near the kernels come to the peak."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from visionkit.errors import UsageError

from .detector import open_detector, use_threads
from .sources import demo_picture

#: Height and width, channels in and out, kernel, stride: the stages of well-known networks at their usual
#: sizes, 3x3, 7x7 and 1x1, then what only our detectors have.
CONVOLUTIONS = (
    (56, 64, 64, 3, 1), (28, 128, 128, 3, 1), (14, 256, 256, 3, 1), (7, 512, 512, 3, 1),
    (208, 16, 32, 3, 1), (104, 32, 64, 3, 1), (52, 64, 128, 3, 1), (13, 512, 1024, 3, 1),
    (46, 128, 128, 7, 1), (64, 256, 128, 1, 1), (14, 96, 576, 1, 1), (416, 3, 16, 3, 1),
    (320, 3, 16, 3, 2), (160, 16, 32, 3, 2), (40, 64, 64, 3, 1), (40, 64, 128, 3, 2), (10, 512, 256, 1, 1),
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure and print the network's parts, or the kernels."""
    if args.lanes:
        return _with_lanes(args)
    use_threads(args)
    return _kernels(args) if args.what == "kernels" else _network(args)


def _network(args: argparse.Namespace) -> int:
    """Milliseconds a picture, batch 1, on the demonstration picture."""
    from visionkit.engine.validation import inference_mode
    from visionkit.graph import compile as compile_network
    from visionkit.io.image import read_image
    from visionkit.vision.letterbox import Letterbox

    detector = open_detector(args)
    info, size = detector.info, detector.size
    picture = read_image(demo_picture())
    letterbox = Letterbox(picture.shape[:2], size)
    pictures = letterbox.apply(picture)[None]
    with inference_mode(detector.network):
        plan = compile_network(detector.network, (1, *size, 3), mean=info.mean, scale=info.scale)
    maps = [array.copy() for array in plan.forward(pictures)]
    parts = {
        "preprocess": lambda: letterbox.apply(picture, pictures[0]),
        "network": lambda: plan.forward(pictures),
        "postprocess": lambda: detector.codec.decode(maps, detector.confidence, detector.iou),
    }
    milliseconds = {name: _times(part, args.runs) for name, part in parts.items()}
    facts = {**_machine(), "network": repr(detector), "runs": args.runs, "milliseconds": milliseconds}
    if args.json:
        print(json.dumps(facts))
        return 0
    print(f"{detector!r}\n{_machine_line(facts)}, {args.runs} runs, picture of {_shown(picture.shape[:2])}\n")
    print(f"{'ms a picture':14}{'best':>9}{'median':>9}{'95 %':>9}")
    for name, one in milliseconds.items():
        print(f"{name:14}{one['best']:9.2f}{one['median']:9.2f}{one['p95']:9.2f}")
    total = sum(one["median"] for one in milliseconds.values())
    print(f"{'together':14}{'':9}{total:9.2f}{'':9}   {1000 / total:.1f} pictures a second")
    return 0


def _with_lanes(args: argparse.Namespace) -> int:
    """The kernels once more in a process of its own: the width of vectors is settled when they are imported.

    Raises:
        UsageError: lanes for a whole network.
    """
    if args.what != "kernels":
        raise UsageError("--lanes goes with bench kernels", remedy="run visionkit bench kernels --lanes 8")
    command = [sys.executable, "-m", "visionkit.apps.cli", "bench", "kernels", "--runs", str(args.runs)]
    command += ["--threads", str(args.threads)] if args.threads else []
    command += ["--json"] if args.json else []
    sys.stdout.flush()
    environment = {**os.environ, "VISIONKIT_LANES": str(args.lanes)}
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603  (our own command)


def _kernels(args: argparse.Namespace) -> int:
    """GFLOP/s of single convolutions, and as a share of the peak of multiply-adds, measured before and after.

    Operations are counted as the direct sum, so that a kernel that needs fewer can pass 100 %.
    """
    from visionkit.kernels.peak import peak_gflops

    rows: list[dict[str, Any]] = []
    peak = peak_gflops()
    for side, before, after, kernel, stride in CONVOLUTIONS:
        gflop, milliseconds = _convolution(side, before, after, kernel, stride, args.runs)
        rate = gflop / milliseconds * 1e3
        rows.append({"side": side, "in": before, "out": after, "kernel": kernel, "stride": stride,
                     "ms": milliseconds, "gflops": rate})  # fmt: skip
    peak = max(peak, peak_gflops())
    for row in rows:
        row["of_peak"] = row["gflops"] / peak
    facts = {**_machine(), "peak_gflops": peak, "convolutions": rows}
    if args.json:
        print(json.dumps(facts))
        return 0
    print(f"{_machine_line(facts)}, peak {peak:.0f} GFLOP/s\n")
    print(f"{'input':>12}{'out':>6}{'kernel':>8}{'ms':>9}{'GFLOP/s':>10}{'of peak':>9}")
    for row in rows:
        given = f"{row['side']}x{row['side']}x{row['in']}"
        window = f"{row['kernel']}x{row['kernel']}/{row['stride']}"
        print(
            f"{given:>12}{row['out']:>6}{window:>8}{row['ms']:9.3f}{row['gflops']:10.1f}{row['of_peak']:9.0%}"
        )
    return 0


def _convolution(
    side: int, before: int, after: int, kernel: int, stride: int, runs: int
) -> tuple[float, float]:
    """(GFLOP counted directly, best milliseconds) of one convolution in a plan of its own."""
    from visionkit.graph import compile as compile_network
    from visionkit.nn import Conv2d

    rng = np.random.default_rng(0)
    layer = Conv2d(before, after, kernel, stride, kernel // 2, bias=False, rng=rng)
    plan = compile_network(layer, (1, side, side, before))
    picture = rng.standard_normal((1, side, side, before), np.float32)
    _, height, width, _ = plan.forward(picture)[0].shape
    best = sum(ms for _, _, ms in plan.profile(runs))
    return 2e-9 * height * width * after * before * kernel * kernel, best


def _times(part: Callable[[], object], runs: int) -> dict[str, float]:
    """Best, median and 95th percentile of `runs` calls in milliseconds, after one that warms up."""
    part()
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        part()
        taken.append(1e3 * (time.perf_counter() - begin))
    return {"best": min(taken), "median": float(np.median(taken)), "p95": float(np.quantile(taken, 0.95))}


def _machine() -> dict[str, Any]:
    from visionkit.kernels.jit import LANES, threads

    return {"threads": threads(), "lanes": LANES}


def _machine_line(facts: dict[str, Any]) -> str:
    return f"{facts['threads']} threads, {facts['lanes']} lanes"


def _shown(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
