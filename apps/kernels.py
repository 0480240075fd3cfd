"""`visionkit bench kernels`: how near single convolutions come to the peak of multiply-adds."""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from visionkit.errors import UsageError

#: Height and width, channels in and out, kernel, stride: the stages of well-known networks at their usual
#: sizes, 3x3, 7x7 and 1x1, then what only our detectors have.
CONVOLUTIONS = (
    (56, 64, 64, 3, 1), (28, 128, 128, 3, 1), (14, 256, 256, 3, 1), (7, 512, 512, 3, 1),
    (208, 16, 32, 3, 1), (104, 32, 64, 3, 1), (52, 64, 128, 3, 1), (13, 512, 1024, 3, 1),
    (46, 128, 128, 7, 1), (64, 256, 128, 1, 1), (14, 96, 576, 1, 1), (416, 3, 16, 3, 1),
    (320, 3, 16, 3, 2), (160, 16, 32, 3, 2), (40, 64, 64, 3, 1), (40, 64, 128, 3, 2), (10, 512, 256, 1, 1),
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure and print, with `--lanes` in another process.

    Raises:
        UsageError: several thread counts or sizes, or a rate.
    """
    if args.size or args.rate or len(args.threads or ()) > 1:
        raise UsageError("bench kernels takes one thread count, and neither --size nor --rate")
    if args.lanes:
        return _with_lanes(args)
    from visionkit.kernels.jit import set_threads

    if args.threads:
        set_threads(args.threads[0])
    return _measure(args)


def _with_lanes(args: argparse.Namespace) -> int:
    """In a process of its own: the width of vectors is settled when kernels are imported."""
    command = [sys.executable, "-m", "visionkit.apps.cli", "bench", "kernels", "--runs", str(args.runs)]
    command += ["--threads", str(args.threads[0])] if args.threads else []
    command += ["--json"] if args.json else []
    sys.stdout.flush()
    environment = {**os.environ, "VISIONKIT_LANES": str(args.lanes)}
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603  (our own command)


def _measure(args: argparse.Namespace) -> int:
    """GFLOP/s of single convolutions, and as a share of the peak of multiply-adds, measured before and after.

    Operations are counted as the direct sum, so that a kernel that needs fewer can pass 100 %.
    """
    from visionkit.kernels.jit import LANES, threads
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
    facts = {"threads": threads(), "lanes": LANES, "peak_gflops": peak, "convolutions": rows}
    if args.json:
        print(json.dumps(facts))
        return 0
    print(f"{facts['threads']} threads, {LANES} lanes, peak {peak:.0f} GFLOP/s\n")
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
