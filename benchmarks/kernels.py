"""Kind "kernels": single convolutions against the peak of multiply-adds."""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from harness import environment, quietly


def measure_kernels(args: argparse.Namespace) -> dict[str, Any]:
    """`visionkit bench kernels` at the machine's own width of vectors and at 8 lanes, in turn; medians."""
    samples: dict[int, list[tuple[dict[str, Any], float]]] = {}
    for _ in range(args.rounds):
        for lanes in (None, "8"):
            sample = quietly(lambda lanes=lanes: bench_kernels(args.threads, lanes))
            samples.setdefault(sample[0]["lanes"], []).append(sample)
    return {str(lanes): summarised(lanes, runs) for lanes, runs in samples.items()}


def bench_kernels(threads: int, lanes: str | None) -> dict[str, Any]:
    """One run of the command."""
    more = {"VISIONKIT_LANES": lanes} if lanes else {}
    command = [sys.executable, "-m", "visionkit.apps.cli", "bench", "kernels", "--json", "--runs", "50"]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, env=environment(threads, **more), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def summarised(lanes: int, runs: Sequence[tuple[dict[str, Any], float]]) -> dict[str, Any]:
    """Medians over the runs at one width of vectors; prints their table."""
    peak = statistics.median(run["peak_gflops"] for run, _ in runs)
    load = max(load for _, load in runs)
    print(f"\n{lanes} lanes, peak {peak:.0f} GFLOP/s, others {load:.2f}")
    print(f"{'convolution':>28}{'GFLOP/s':>10}{'of peak':>9}")
    table = {}
    for same in zip(*(run["convolutions"] for run, _ in runs), strict=True):
        one = same[0]
        name = f"{one['side']}^2 {one['in']}->{one['out']} {one['kernel']}x{one['kernel']}/{one['stride']}"
        table[name] = {
            key: statistics.median(row[key] for row in same) for key in ("gflops", "of_peak", "ms")
        }
        print(f"{name:>28}{table[name]['gflops']:10.1f}{table[name]['of_peak']:9.0%}")
    return {"peak_gflops": peak, "foreign_cores": load, "convolutions": table}
