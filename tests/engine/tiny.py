"""A training run of a second: a small network of one's own on made-up pictures, also run as a program.

Usage: tiny.py FOLDER [--resume] [--epochs N] [--slow SECONDS] [--threads N] [--tell] [--limit BYTES] ...
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit import nn
from visionkit.engine.interrupt import Interrupted
from visionkit.engine.progress import Silent
from visionkit.engine.settings import Settings
from visionkit.engine.trainer import Trainer
from visionkit.errors import VisionKitError
from visionkit.kernels import jit

SIZE, BATCH, STEPS = 16, 4, 5


class Net(nn.Module):
    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False, rng=rng)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.LeakyReLU(0.1)
        self.last = nn.Conv2d(8, 2, 1, rng=rng)

    def forward(self, x):
        return self.last(self.act(self.norm(self.first(x))))


class Dropped(Net):
    def __init__(self, seed=0):
        super().__init__(seed)
        self.drop = nn.Dropout(0.25, rng=np.random.default_rng(seed))

    def forward(self, x):
        return self.last(self.drop(self.act(self.norm(self.first(x)))))


@dataclass
class Picture:
    images: np.ndarray
    aim: np.ndarray
    files: list


class Source:
    """Pictures keyed by (epoch, index), slow on demand, with one poisoned batch on demand."""

    def __init__(self, slow=0.0, nan=None):
        self.slow, self.nan = slow, nan

    def __len__(self):
        return STEPS

    def batches(self, epoch, start=0) -> Iterator[Picture]:
        for index in range(start, STEPS):
            rng = np.random.default_rng([epoch, index])
            images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
            aim = images[:, ::2, ::2, :2].astype(np.float32) / 255
            if self.nan == epoch * STEPS + index:
                aim[0, 0, 0, 0] = np.nan
            if self.slow:
                time.sleep(self.slow)
            yield Picture(images, aim, [f"picture-{epoch}-{index}.png"])


class SquaredError:
    """Mean squared error, by hand and on the tape."""

    def __call__(self, maps, batch):
        return {"squared": ((maps[0] - batch.aim) ** 2).mean()}


class Fast(SquaredError):
    def value_and_gradients(self, maps, batch):
        error = maps[0] - batch.aim
        return {"squared": float((error**2).mean())}, (2 * error / np.float32(error.size),)


class StopAt(Silent):
    """Sends a signal to itself at a step, as Ctrl-C would."""

    def __init__(self, step, number=signal.SIGINT):
        self.left, self.number = step, number

    def step(self, loss, images):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


class Tell(Silent):
    """Prints the number of the step that a run stands at, in the beginning and after each."""

    def epoch(self, epoch, epochs, steps, done):
        self.at = epoch * steps + done
        print(self.at, flush=True)

    def step(self, loss, images):
        self.at += 1
        print(self.at, flush=True)


def validation(network):
    weights = network.state_dict()["last.weight"]
    return {"AP": float(1 / (1 + np.abs(weights).sum())), "AP50": None}


def trainer(
    folder, epochs=4, slow=0.0, nan=None, criterion=None, lr=1e-2, progress=None, net=Net, **settings
):
    return Trainer(
        net(),
        criterion or Fast(),
        Source(slow, nan),
        folder,
        Settings(epochs, lr=lr, warmup=3, **settings),
        validation=validation,
        mean=114.0,
        scale=1 / 64,
        identity={"data": "made up"},
        progress=progress,
    )


def digest(folder: Path) -> dict[str, bytes]:
    """Everything of a run that must not depend on how often it was stopped."""
    names = ["best.safetensors", "last.safetensors", "metrics.csv", "config.toml"]
    newest = max((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    names += sorted(str(path.relative_to(folder)) for path in newest.iterdir())
    return {name: (folder / name).read_bytes() for name in names}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--save-minutes", type=float)
    parser.add_argument("--tell", action="store_true", help="print the step reached, a line each")
    parser.add_argument("--limit", type=int, help="most bytes a file may grow to: a full disk")
    args = parser.parse_args()
    if args.threads:
        jit.set_threads(args.threads)
    progress = Tell() if args.tell else None
    run = trainer(args.folder, args.epochs, args.slow, progress=progress, save_minutes=args.save_minutes)
    if args.limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (args.limit, args.limit))
    try:
        run.fit(resume=args.resume)
    except VisionKitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Interrupted as error:
        print(error, file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
