"""Measure visionkit beside other tools: `python benchmarks/run.py inference|training|kernels --out FILE`."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from harness import Worker, WorkerError, environment, quietly, run_once, take_turns
from protocol import SHAPES, Job

#: What visionkit is measured against where nothing is named, best-known first.
AGAINST = {
    "inference": ["torch", "torch-cl", "torch-fold-cl", "onnxruntime", "openvino", "opencv5"],
    "training": ["torch", "torch-cl"],
}
#: The largest difference from our maps (relative to their largest value) and from our gradients (relative
#: in length, parameter by parameter) with which a tool still counts as computing the same.
SAME = {"maps": 1e-3, "gradients": 0.05}
OURS = "visionkit"
#: Inputs at a time in training, where nothing is named; inference takes one.
BATCHES = {"hourglass": 4, "yolo-nano": 16}


def main() -> int:
    """Measure, print a table, write the file; 1 if a tool failed or computed something else."""
    args = parse()
    facts: dict[str, Any] = {"kind": args.kind, "machine": machine(), "settings": vars(args).copy()}
    if args.kind == "kernels":
        facts["lanes"] = measure_kernels(args)
    else:
        facts["networks"] = {name: measure(args, name) for name in args.network}
    args.out.write_text(json.dumps(facts, indent=1, default=str) + "\n")
    print(f"\n{args.out.resolve()}")
    return int(any(one["failed"] for one in facts.get("networks", {}).values()))


def parse() -> argparse.Namespace:
    """The command line, with the defaults that depend on the kind."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("kind", choices=("inference", "training", "kernels"))
    parser.add_argument("--network", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--against", nargs="*", choices=AGAINST["inference"], metavar="TOOL")
    parser.add_argument(
        "--batch", type=int, help="inputs at a time (1; training 8, hourglass 4, yolo-nano 16)"
    )
    parser.add_argument("--threads", type=int, help="of every tool (all cores; kernels 1)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="of one round (0.2; training 0.8)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    training = args.kind == "training"
    if args.against is None:
        args.against = AGAINST.get(args.kind, [])
    if wrong := sorted(set(args.against) - set(AGAINST.get(args.kind, []))):
        parser.error(f"{args.kind}: cannot measure {', '.join(wrong)}")
    args.seconds = args.seconds or (0.8 if training else 0.2)
    args.threads = args.threads or (1 if args.kind == "kernels" else os.cpu_count())
    return args


def measure(args: argparse.Namespace, network: str) -> dict[str, Any]:
    """One network with all tools: "ms", "ratio" (a tool's time over ours), "error", and how it went."""
    batch = args.batch or (BATCHES.get(network, 8) if args.kind == "training" else 1)
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:

        def job(tool: str, kind: str = args.kind) -> Job:
            return Job(tool, kind, network, batch, args.threads, folder)

        size = json.loads(run_once(job(OURS, "prepare")))
        workers: dict[str, Worker] = {}
        errors: dict[str, dict[str, float]] = {}
        for tool in [OURS, *args.against]:
            try:
                if not tool.startswith((OURS, "torch")) and not job(tool).onnx.exists():
                    run_once(job("torch", "export"))
                workers[tool] = stack.enter_context(Worker(job(tool)))
                errors[tool] = difference(job(OURS).results, job(tool).results)
                worst = {name: size for name, size in errors[tool].items() if not size <= SAME[name]}
                if worst:
                    raise WorkerError(f"{tool} computes something else: {worst}")
            except WorkerError as error:
                failed[tool] = str(error)
                workers.pop(tool, None)
        if OURS not in workers:
            raise SystemExit(failed[OURS])
        taken = take_turns(workers, args.rounds, args.seconds)
        result = {
            "input": [batch, *SHAPES[network]],
            **size,
            "ms": {tool: one["ms"] for tool, one in taken.items()},
            "ratio": {tool: one["ms"] / taken[OURS]["ms"] for tool, one in taken.items()},
            "error": errors,
            "foreign_cores": {tool: one["foreign"] for tool, one in taken.items()},
            "rounds_ms": {tool: one["rounds"] for tool, one in taken.items()},
            "tools": {tool: worker.facts for tool, worker in workers.items()},
            "failed": failed,
        }
    print_network(args, network, result)
    return result


def difference(ours: Path, theirs: Path) -> dict[str, float]:
    """The worst of "maps" and, in training, "gradients", as `SAME` bounds them; infinite for other shapes."""
    worst: dict[str, float] = {}
    with np.load(ours) as a, np.load(theirs) as b:
        for name in a.files:
            kind = "maps" if name.startswith("map.") else "gradients"
            size = np.inf
            if name in b.files and a[name].shape == b[name].shape:
                apart = a[name].astype(np.float64) - b[name]
                size = np.abs(apart).max() / np.abs(a[name]).max() if kind == "maps" else (
                    np.linalg.norm(apart) / max(float(np.linalg.norm(a[name])), 1e-20)
                )  # fmt: skip
            worst[kind] = max(worst.get(kind, 0.0), float(size))
    return worst


def print_network(args: argparse.Namespace, name: str, result: dict[str, Any]) -> None:
    """The table of one network."""
    # Backward computes two gradients, each as much work as the forward run.
    batch = result["input"][0]
    gflop = result["gflop"] * batch * (3 if args.kind == "training" else 1)
    print(f"\n{name}, {args.kind}, batch {batch}, {args.threads} threads, {gflop:.2f} GFLOP")
    print(f"{'tool':16}{'ms':>10}{'GFLOP/s':>10}{'over ours':>11}{'error':>10}{'others':>8}")
    for tool, ms in result["ms"].items():
        error = max(result["error"][tool].values())
        print(
            f"{tool:16}{ms:10.2f}{gflop / ms * 1e3:10.0f}{result['ratio'][tool]:11.2f}{error:10.1e}"
            f"{result['foreign_cores'][tool]:8.2f}"
        )
    for tool, reason in result["failed"].items():
        print(f"{tool:16} failed: {reason}")


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


def machine() -> dict[str, Any]:
    """Where this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
