"""What the harness and its workers agree on. Standard library and NumPy only: every interpreter reads it.

A worker builds one network for one tool, writes its maps (in training its gradients too) to a file, says that
it is ready and what memory it took, then runs for as many seconds as each line on standard input asks for and
answers with the median time. Both directions carry one JSON object per line; the end of the input ends the
worker.
"""

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

#: The networks, and what they see: height, width, channels.
SHAPES = {
    "resnet18": (224, 224, 3),
    "vgg19-front": (368, 368, 3),
    "mobilenet-v2": (224, 224, 3),
    "yolov3-tiny": (416, 416, 3),
    "hourglass": (64, 64, 256),
    "openpose-stage": (46, 46, 185),
    "yolo-nano": (320, 320, 3),
}

#: What the end of a tool's name says of the numbers that it multiplies: float32 where it says nothing.
PRECISIONS = {"float32": "", "bfloat16": "-bf16", "int8": "-int8"}

#: Learning rate of the measured training step: the weights move, the numbers stay tame.
LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Job:
    """What one worker does.

    Attributes:
        tool: its name in the tables; kind: "inference", "memory" or "training"; network: one of `SHAPES`.
        batch: inputs at a time; threads: to compute on.
        folder: holds the weights and input for all, takes the results.
    """

    tool: str
    kind: str
    network: str
    batch: int
    threads: int
    folder: str

    @classmethod
    def given(cls) -> "Job":
        """The job on the command line."""
        return cls(**json.loads(sys.argv[1]))

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @property
    def family(self) -> str:
        """The tool without its variants."""
        return self.tool.partition("-")[0]

    @property
    def precision(self) -> str:
        """One of `PRECISIONS`."""
        return next((name for name, end in PRECISIONS.items() if end and end in self.tool), "float32")

    @property
    def weights(self) -> Path:
        """Arrays by PyTorch's names and in PyTorch's layout, .npz."""
        return Path(self.folder, "weights.npz")

    @property
    def input(self) -> Path:
        """(batch, *SHAPES[network]) float32, .npy."""
        return Path(self.folder, "input.npy")

    @property
    def onnx(self) -> Path:
        """The network for the engines that read ONNX."""
        return Path(self.folder, "network.onnx")

    @property
    def results(self) -> Path:
        """What this tool computed, .npz: map.0 (finest), map.1, ... and gradient.NAME."""
        return Path(self.folder, f"{self.tool}.npz")


def numbered(maps: Any) -> dict[str, np.ndarray]:
    """Maps (B, h, w, C) or scores (B, C) in any order as map.0, map.1, ...: copies, finest first."""
    ordered = sorted((np.array(one) for one in maps), key=lambda one: -one.shape[1])
    return {f"map.{i}": one for i, one in enumerate(ordered)}


class Rise:
    """How far this process's resident memory rises above where it stands when this is made."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
        self._start = _kilobytes("VmRSS")

    def megabytes(self) -> float:
        """Peak minus start."""
        return (_kilobytes("VmHWM") - self._start) / 1024


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def serve(
    job: Job, version: str, rise: Rise, check: Callable[[], Mapping[str, np.ndarray]],
    step: Callable[[], object],
) -> None:  # fmt: skip
    """Run `check` once and keep what it returns, then time `step` until the input ends.

    Args:
        job: what this worker does; version: of the tool.
        rise: made when the tool was imported and nothing else done.
        check: one step that returns what it computed; step: one that need not.
    """
    answers = _private_stdout()
    start = time.perf_counter()
    computed = check()
    first = time.perf_counter() - start
    np.savez(job.results, **computed)
    for _ in range(2):
        step()
    facts = {"version": version, "first_ms": 1e3 * first, "memory_mb": rise.megabytes()}
    _answer(answers, facts)
    for line in sys.stdin:
        _answer(answers, _timed(step, json.loads(line)["seconds"]))


def _timed(step: Callable[[], object], seconds: float) -> dict[str, float]:
    """Median milliseconds of the steps that fit in `seconds`, two at least."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return {"ms": 1e3 * statistics.median(taken), "steps": len(taken)}


def _private_stdout() -> TextIO:
    """Standard output for the answers alone; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, facts: Mapping[str, Any]) -> None:
    answers.write(json.dumps(facts) + "\n")
    answers.flush()
