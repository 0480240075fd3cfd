"""`visionkit bench`: how fast a detector is here, part by part, and which one keeps up with a wanted rate."""

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from visionkit.errors import UsageError

from . import kernels
from .detector import WEIGHTS, calibrated, load_detector, predictor_options
from .sources import demo_picture

if TYPE_CHECKING:
    from visionkit.engine.predictor import Predictor

Size = tuple[int, int]

PARTS = ("preprocess", "network", "postprocess")
#: Sides of the square inputs that `--rate` tries where no sizes are given.
SIDES = (640, 544, 480, 416, 352, 320, 256, 224, 192, 160)


def run(args: argparse.Namespace) -> int:
    """Measure and print the parts of a network, what holds a rate, or the kernels; 1 if nothing holds it.

    Raises:
        UsageError: lanes for a whole network.
    """
    if args.what == "kernels":
        return kernels.run(args)
    if args.lanes:
        raise UsageError("--lanes goes with bench kernels", remedy="run visionkit bench kernels --lanes 8")
    return _propose(args) if args.rate else _table(args)


def _table(args: argparse.Namespace) -> int:
    """A row for each size and number of threads."""
    report = _Report(args)
    for size in args.size or [None]:
        for threads in args.threads or _counts():
            report.add(args.weights or WEIGHTS, _open(args, args.weights or WEIGHTS, size), threads)
    report.close()
    return 0


def _propose(args: argparse.Namespace) -> int:
    """Try networks and sizes from much work to little until one keeps up in 95 of 100 pictures."""
    from visionkit.graph import summary
    from visionkit.models.zoo import CARDS, shipped, task

    def work(candidate: tuple[str, "Predictor"]) -> int:
        return summary(candidate[1].network.eval(), (1, *candidate[1].size, 3)).flops

    sizes = args.size or [(side, side) for side in SIDES]
    detectors = [name for name in shipped() if task(None, name) == "detect"]
    names = [args.weights] if args.weights else [*detectors, *CARDS]
    candidates = [(name, _open(args, name, size)) for name in names for size in sizes]
    threads = max(args.threads or _counts())
    report = _Report(args)
    for name, detector in sorted(candidates, key=work, reverse=True):
        row = report.add(name, detector, threads)
        if row["together"]["p95"] <= 1000 / args.rate:
            report.close(f"{name} at {row['size']} keeps up with {args.rate:g} pictures a second", row)
            return 0
    report.close(f"nothing tried here keeps up with {args.rate:g} pictures a second", None)
    return 1


def _open(args: argparse.Namespace, name: str, size: Size | None) -> "Predictor":
    """The detector of a weight file or shipped name, or an untrained one of an architecture's name."""
    from visionkit.engine.predictor import Predictor
    from visionkit.models.zoo import CARDS

    options = predictor_options(args) | {"size": size}
    if name in CARDS:
        detector = Predictor(CARDS[name].network(1), CARDS[name].info(["object"]), **options)
        return calibrated(detector, args)
    return calibrated(load_detector(name, **options), args)


def _counts() -> list[int]:
    """1, 2, 4 and so on, and all threads."""
    from visionkit.kernels.jit import threads

    return sorted({min(2**i, threads()) for i in range(threads().bit_length() + 1)})


class _Report:
    """Rows that are printed as they are measured, or together as JSON."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._json, self._runs = args.json, args.runs
        self._rows: list[dict[str, Any]] = []

    def add(self, name: str, detector: "Predictor", threads: int) -> dict[str, Any]:
        """Measure one detector on so many threads."""
        row: dict[str, Any] = {
            "weights": name, "size": "x".join(map(str, detector.size)), "threads": threads,
            **_measure(detector, threads, self._runs),
        }  # fmt: skip
        self._rows.append(row)
        if not self._json:
            if len(self._rows) == 1:
                print(
                    f"milliseconds a picture: medians of {self._runs} runs, and what 95 of 100 stay below\n"
                )
                heads = ("size", "threads", *PARTS, "together", "95 %")
                print(f"{'network':24}" + "".join(f"{head:>12}" for head in heads) + "    a second")
            medians = [row[part]["median"] for part in (*PARTS, "together")] + [row["together"]["p95"]]
            figures = "".join(f"{one:12.2f}" for one in medians)
            rate = 1000 / row["together"]["median"]
            print(f"{name:24}{row['size']:>12}{threads:12}{figures}{rate:12.1f}", flush=True)
        return row

    def close(self, verdict: str = "", proposal: dict[str, Any] | None = None) -> None:
        """The last line, or all as JSON."""
        if self._json:
            from visionkit.kernels.jit import LANES

            facts = {"lanes": LANES, "runs": self._runs, "rows": self._rows}
            print(json.dumps(facts | ({"proposal": proposal} if verdict else {})))
        elif verdict:
            print(f"\n{verdict}")


def _measure(detector: "Predictor", threads: int, runs: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each part and of all together, batch 1, on the demonstration picture."""
    from visionkit.io.image import read_image
    from visionkit.kernels.jit import set_threads
    from visionkit.vision.letterbox import Letterbox

    set_threads(threads)
    picture, plan = read_image(demo_picture()), detector.plan()
    letterbox = Letterbox(picture.shape[:2], detector.size)
    pictures = letterbox.apply(picture)[None]
    taken = np.empty((runs, len(PARTS)))
    for i in range(-1, runs):  # the first, which warms up, is overwritten by the last
        times = [time.perf_counter()]
        letterbox.apply(picture, pictures[0])
        times.append(time.perf_counter())
        maps = plan.forward(pictures)
        times.append(time.perf_counter())
        detector.codec.decode(maps, detector.confidence, detector.iou)
        times.append(time.perf_counter())
        taken[i] = 1e3 * np.diff(times)
    columns = {**dict(zip(PARTS, taken.T, strict=True)), "together": taken.sum(1)}
    return {
        name: {
            "best": float(one.min()),
            "median": float(np.median(one)),
            "p95": float(np.quantile(one, 0.95)),
        }
        for name, one in columns.items()
    }
