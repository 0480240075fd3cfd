"""Kind "startup": how long a user waits before the first picture, each time in a new process."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from harness import WorkerError, environment, quietly

_CLI = ("-m", "visionkit.apps.cli")
#: What is started, as arguments of Python.
_COMMANDS = {
    "python": ("-c", "pass"),
    "visionkit --help": (*_CLI, "--help"),
    "import visionkit": ("-c", "import visionkit"),
    "import numpy, cv2": ("-c", "import numpy, cv2"),
    "detect": (*_CLI, "detect", "--demo", "--json"),
}


def measure_startup(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every command, kernels in the cache: medians of rounds in turn.

    Besides, "detect beyond the imports" (less numpy and cv2), and "warmup, cold": what inference needs,
    compiled into an empty cache, once.
    """
    seconds(_COMMANDS["detect"], args.threads)  # fills the cache
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in _COMMANDS}
    for _ in range(args.rounds):
        for name, command in _COMMANDS.items():
            taken[name].append(quietly(lambda command=command: seconds(command, args.threads)))
    with tempfile.TemporaryDirectory() as folder:
        cold = quietly(lambda: seconds((*_CLI, "warmup"), args.threads, VISIONKIT_CACHE=folder), tries=1)
    medians = {name: statistics.median(one for one, _ in pairs) for name, pairs in taken.items()}
    medians["detect beyond the imports"] = medians["detect"] - medians["import numpy, cv2"]
    medians["warmup, cold"] = cold[0]
    load = max(load for pairs in [*taken.values(), [cold]] for _, load in pairs)
    print(f"\n{'startup':28}{'seconds':>9}   others {load:.2f}")
    for name, one in medians.items():
        print(f"{name:28}{one:9.2f}")
    return {"seconds": medians, "foreign_cores": load}


def seconds(command: tuple[str, ...], threads: int, **more: str) -> float:
    """From start to end of a process.

    Raises:
        WorkerError: it failed.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command],
        env=environment(threads, **more),
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        raise WorkerError(f"{' '.join(command)}: {done.stderr[-1000:].strip()}")
    return taken
