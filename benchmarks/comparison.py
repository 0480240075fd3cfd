"""Kinds "inference", "training" and "memory": one network with every tool, each in its own process."""

import argparse
import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from harness import Worker, WorkerError, run_once, take_turns
from protocol import PRECISIONS, SHAPES, Job

#: Inputs at a time in training, where nothing is named; everything else takes one.
BATCHES = dict.fromkeys(SHAPES, 8) | {"hourglass": 4, "yolo-nano": 16}
#: The largest difference from our maps (relative to their largest value) and from our gradients (relative
#: in length, see `_gradient_error`) with which a tool still counts as computing the same: that of the less
#: precise of the two.
SAME = {
    "float32": {"maps": 1e-3, "gradients": 0.05},
    "bfloat16": {"maps": 0.1, "gradients": 1.0},
    "int8": {"maps": 0.3, "gradients": 0.0},
}


def ours(args: argparse.Namespace) -> str:
    """The tool that the others are measured against."""
    return "visionkit" + PRECISIONS[args.precision]


def measure(args: argparse.Namespace, network: str) -> dict[str, Any]:
    """One network: "ms" (or "memory_mb"), "ratio" (a tool's figure over ours), "error", and how it went."""
    batch = args.batch or (BATCHES[network] if args.kind == "training" else 1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:

        def job(tool: str, kind: str = args.kind) -> Job:
            return Job(tool, kind, network, batch, args.threads, folder)

        size = json.loads(run_once(job("visionkit", "prepare")))
        if args.kind == "memory":
            with Worker(job(ours(args))):  # what is compiled and timed once on a machine does not count
                pass
        failed: dict[str, str] = {}
        workers: dict[str, Worker] = {}
        errors: dict[str, dict[str, float]] = {}
        for tool in [ours(args), *args.against]:
            try:
                if job(tool).family not in ("visionkit", "torch") and not job(tool).onnx.exists():
                    run_once(job("torch", "export"))
                workers[tool] = stack.enter_context(Worker(job(tool)))
                errors[tool] = difference(job(ours(args)), job(tool))
            except WorkerError as error:
                failed[tool] = str(error)
                workers.pop(tool, None)
        if ours(args) not in workers:
            raise SystemExit(failed[ours(args)])
        if args.kind == "memory":
            figures = {tool: worker.facts["memory_mb"] for tool, worker in workers.items()}
            result = {"memory_mb": figures}
        else:
            taken = take_turns(workers, args.rounds, args.seconds)
            figures = {tool: one["ms"] for tool, one in taken.items()}
            result = {
                "ms": figures,
                "foreign_cores": {tool: one["foreign"] for tool, one in taken.items()},
                "rounds_ms": {tool: one["rounds"] for tool, one in taken.items()},
            }
        result |= {
            "input": [batch, *SHAPES[network]],
            **size,
            "ratio": {tool: one / figures[ours(args)] for tool, one in figures.items()},
            "error": errors,
            "tools": {tool: worker.facts for tool, worker in workers.items()},
            "failed": failed,
        }
    return result


def difference(mine: Job, other: Job) -> dict[str, float]:
    """The worst of "maps" and, in training, "gradients", as `SAME` bounds them; infinite for other shapes.

    Raises:
        WorkerError: it is out of bounds.
    """
    worst: dict[str, float] = {}
    with np.load(mine.results) as a, np.load(other.results) as b:
        for name in a.files:
            kind = "maps" if name.startswith("map.") else "gradients"
            error = np.inf
            if name in b.files and a[name].shape == b[name].shape:
                apart = a[name].astype(np.float64) - b[name]
                if kind == "maps":
                    error = np.abs(apart).max() / np.abs(a[name]).max()
                else:
                    error = _gradient_error(apart, name, a)
            worst[kind] = float(np.maximum(worst.get(kind, 0.0), error))  # NaN stays
    bounds = {kind: max(SAME[job.precision][kind] for job in (mine, other)) for kind in worst}
    if any(not worst[kind] <= bounds[kind] for kind in worst):
        raise WorkerError(f"{other.tool} computes something else: {worst}")
    return worst


def _gradient_error(apart: np.ndarray, name: str, ours: Mapping[str, np.ndarray]) -> float:
    """How far apart two gradients of a parameter are, over the size of its own, both per number.

    A bias and the weight beside it are sums over the same gradients, and the larger of the two says how large
    those are: where a batch-norm follows, the sum of a bias is 0, and what is computed is rounding.
    """
    sizes = (_rms(ours[one]) for one in {name, name.replace(".bias", ".weight")} if one in ours)
    return _rms(apart) / max(*sizes, 1e-20)


def _rms(a: np.ndarray) -> float:
    return float(np.linalg.norm(a)) / a.size**0.5


def show(args: argparse.Namespace, name: str, result: dict[str, Any]) -> None:
    """Print the table of one network."""
    batch = result["input"][0]
    # Backward computes two gradients, each as much work as the forward run.
    gflop = result["gflop"] * batch * (3 if args.kind == "training" else 1)
    print(f"\n{name}, {args.kind}, batch {batch}, {args.threads} threads, {gflop:.2f} GFLOP")
    if args.kind == "memory":
        print(f"{'tool':16}{'MB':>10}{'over ours':>11}")
        for tool, megabytes in result["memory_mb"].items():
            print(f"{tool:16}{megabytes:10.1f}{result['ratio'][tool]:11.2f}")
    else:
        print(f"{'tool':16}{'ms':>10}{'GFLOP/s':>10}{'over ours':>11}{'error':>10}{'others':>8}")
        for tool, ms in result["ms"].items():
            error = max(result["error"][tool].values())
            print(
                f"{tool:16}{ms:10.2f}{gflop / ms * 1e3:10.0f}{result['ratio'][tool]:11.2f}{error:10.1e}"
                f"{result['foreign_cores'][tool]:8.2f}"
            )
    for tool, reason in result["failed"].items():
        print(f"{tool:16} failed: {reason}")
