"""Fair timing of several tools: each in its own process, in turn, while nobody else computes.

Rounds go round the tools, so a slow minute of the machine hits all of them; a tool's figure is the median of
its rounds. A round during which other processes took too much of the processor is run again.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from protocol import Job

#: Cores that other processes may use on average while a round runs, and how often it is tried.
QUIET, TRIES = 0.15, 4
#: Folders under VISIONKIT_PEERS, where it is not that of torch.
_PEERS = {"opencv4": "cv4"}
#: Left out of every worker's environment: they hold OpenBLAS back on the machines that set them.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

T = TypeVar("T")
_HERE = Path(__file__).resolve().parent
_TICK = os.sysconf("SC_CLK_TCK")


class WorkerError(Exception):
    """A tool that cannot run; the message is its last words."""


def environment(threads: int, **more: str) -> dict[str, str]:
    """The environment of a measured process."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    path = os.pathsep.join(filter(None, (str(_HERE.parent), kept.get("PYTHONPATH"))))
    return {**kept, **counts, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path, **more}


def python_of(family: str) -> str:
    """The interpreter that has a family of tools: ours, or one of the peers'.

    Raises:
        WorkerError: there are no peers here.
    """
    if family == "visionkit":
        return sys.executable
    python = Path(os.environ.get("VISIONKIT_PEERS", ""), _PEERS.get(family, "torch"), "bin", "python")
    if not python.is_file():
        raise WorkerError(f"{family}: no interpreter {python}; set VISIONKIT_PEERS")
    return str(python)


def command_of(job: Job) -> list[str]:
    """What starts the worker that does `job`.

    Raises:
        WorkerError: its interpreter is not here.
    """
    family = job.family if job.family in ("visionkit", "torch") else "engine"
    return [python_of(job.family), str(_HERE / f"{family}_worker.py"), str(job)]


def run_once(job: Job) -> str:
    """A job that only writes files; returns what it prints.

    Raises:
        WorkerError: it failed.
    """
    done = subprocess.run(
        command_of(job), capture_output=True, text=True, env=environment(job.threads), check=False
    )
    if done.returncode:
        raise WorkerError(f"{job.tool}, {job.kind}: {done.stderr[-1000:].strip()}")
    return done.stdout


class Worker:
    """The process of one tool; ready once it is made.

    Attributes:
        facts: its version, the milliseconds of its first run and the megabytes it took until then.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._log = Path(job.folder, f"{job.tool}.log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command_of(job), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=environment(job.threads),
            )  # fmt: skip
        self.facts = self._answer()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def run(self, seconds: float) -> float:
        """Median milliseconds of one step, measured for `seconds`.

        Raises:
            WorkerError: the process died.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells more
        return float(self._answer()["ms"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise WorkerError(f"{self.job.tool}: {self._log.read_text(errors='replace')[-1000:].strip()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._process.communicate()


class Foreign:
    """Processor time that neither this process, its finished children, nor `pids` used, from now on."""

    def __init__(self, pids: Sequence[int] = ()) -> None:
        self._pids = pids
        self._start = time.perf_counter()
        self._before = self._seconds()

    def cores(self) -> float:
        """How many cores others kept busy on average."""
        return max(0.0, (self._seconds() - self._before) / (time.perf_counter() - self._start))

    def _seconds(self) -> float:
        user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        ours = sum(os.times()[:4])
        for pid in self._pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ours += (int(fields[11]) + int(fields[12])) / _TICK
        return (user + nice + system + irq + soft + steal) / _TICK - ours


def quietly(measure: Callable[[], T], pids: Sequence[int] = (), tries: int = TRIES) -> tuple[T, float]:
    """What `measure` returns and the foreign load while it ran: the first quiet try, or the quietest."""
    best: tuple[T, float] | None = None
    for attempt in range(tries):
        time.sleep(0.02 + attempt)
        foreign = Foreign(pids)
        value = measure()
        load = foreign.cores()
        if best is None or load < best[1]:
            best = value, load
        if load < QUIET:
            break
    assert best
    return best


def take_turns(workers: Mapping[str, Worker], rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """For each tool: "ms" (the median of its rounds), "rounds", and "foreign" (the loudest round's load)."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            taken[name].append(quietly(lambda one=worker: one.run(seconds), [worker.pid]))
    return {
        name: {
            "ms": statistics.median(ms for ms, _ in pairs),
            "rounds": [ms for ms, _ in pairs],
            "foreign": max(load for _, load in pairs),
        }
        for name, pairs in taken.items()
    }
