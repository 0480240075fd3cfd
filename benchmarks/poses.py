"""Kind "poses": rendering and decoding of heat maps and fields, by the number of people."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import quietly

from visionkit.vision.fields import FieldCodec
from visionkit.vision.skeletons import COCO_17

#: The input of the published network: maps of 46 x 82 at stride 8.
SIZE = (368, 656)
PEOPLE = (1, 5, 10, 20)


def measure_poses(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of `encode` and of `decode` with each integral, one picture at a time, on one thread."""
    by_rectangle, by_samples = FieldCodec(COCO_17), FieldCodec(COCO_17, integral="samples")
    facts: dict[str, Any] = {}
    print(f"{'people':>8}{'encode ms':>12}{'decode ms':>12}{'by samples':>12}")
    for count in PEOPLE:
        people = _people(np.random.default_rng(count), count)
        maps = by_rectangle.encode([people], None, SIZE).maps
        if len(by_rectangle.decode(maps)[0]) != count:
            raise SystemExit(f"{count} people are not found again: the figures would mean nothing")
        runs: dict[str, Callable[[], object]] = {
            "encode_ms": lambda people=people: by_rectangle.encode([people], None, SIZE),
            "decode_ms": lambda maps=maps: by_rectangle.decode(maps),
            "decode_by_samples_ms": lambda maps=maps: by_samples.decode(maps),
        }
        facts[str(count)] = {name: _median(run, args.rounds, args.seconds) for name, run in runs.items()}
        print(f"{count:>8}" + "".join(f"{value:12.2f}" for value in facts[str(count)].values()))
    return facts


def _people(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, 17, 3) people side by side, 150 pixels high, their joints scattered a little."""
    x = [0, 4, -4, 9, -9, 19, -19, 30, -30, 33, -33, 13, -13, 15, -15, 15, -15]
    y = [12, 7, 7, 9, 9, 30, 30, 54, 54, 75, 75, 78, 78, 112, 112, 145, 145]
    one = np.stack([x, y, np.ones(17)], axis=1)
    rows = np.arange(count) % 2
    columns = np.arange(count) // 2
    place = np.stack([50 + 60 * columns, 10 + 180 * rows, np.zeros(count)], axis=1)
    shaken = np.concatenate([rng.normal(0, 2, (count, 17, 2)), np.zeros((count, 17, 1))], axis=2)
    return one + place[:, None] + shaken


def _median(run: Callable[[], object], rounds: int, seconds: float) -> float:
    """Milliseconds of one call: the median over the rounds, each as long as `seconds`."""

    def one_round() -> float:
        calls, start = 0, time.perf_counter()
        while (now := time.perf_counter()) - start < seconds:
            run()
            calls += 1
        return 1000 * (now - start) / calls

    run()
    return statistics.median(quietly(one_round)[0] for _ in range(rounds))
