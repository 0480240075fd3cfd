"""Train the digit reader of ARC-01 on MNIST and print its accuracy after every epoch.

    python benchmarks/mnist.py --data FOLDER --out RUN

FOLDER holds the four idx files, gzipped or not. The recipe is the published one: batch 50, learning rate
0.01 halved every 3 epochs a little at each step, biases at twice the rate, pictures divided by 255. Momentum
0.95 is ours: the source states none. The accuracy is that of the plain weights, no average over steps, on the
10,000 test digits.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lines import Lines
from numpy.typing import NDArray

from visionkit import functional as F
from visionkit.datasets.mnist import Mnist
from visionkit.engine.interrupt import Interrupted
from visionkit.engine.settings import Settings
from visionkit.engine.trainer import Trainer
from visionkit.engine.validation import inference_mode
from visionkit.errors import VisionKitError
from visionkit.graph import compile as compile_network
from visionkit.models.classifiers import MnistNet
from visionkit.nn import Module
from visionkit.optim import SGD, Optimizer, parameter_groups
from visionkit.optim.schedule import Schedule, half_life
from visionkit.tensor import Tensor

TEST_BATCH = 100
#: The source states none; without, 14 epochs of this rate are too short (docs/mnist.md).
MOMENTUM = 0.95


@dataclass(frozen=True, slots=True)
class Digits:
    """A batch: `images` (B, 28, 28, 1) uint8 and `labels` (B,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class DigitLoader:
    """Batches in an order that depends on seed and epoch alone; what fills no batch is left out."""

    def __init__(self, digits: Mnist, batch: int, seed: int) -> None:
        self.digits, self.batch, self.seed = digits, batch, seed

    def __len__(self) -> int:
        return len(self.digits) // self.batch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Digits]:
        """The batches of an epoch from index `start` on."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order = rng.permutation(len(self.digits))
        for i in range(start, len(self)):
            index = order[i * self.batch : (i + 1) * self.batch]
            yield Digits(self.digits.images[index], self.digits.labels[index])


@dataclass(frozen=True, slots=True)
class Recipe(Settings):
    """The published course: no warm-up, no cosine, the rate halved every so many epochs (OPT-17)."""

    half_life: float = 3.0
    momentum: float = MOMENTUM

    def schedule(self, steps: int) -> Schedule:
        """The rate falls a little at every step."""
        return half_life(self.lr, self.half_life * steps / self.epochs)

    def optimiser(self, network: Module) -> Optimizer:
        """Gradient descent with biases at twice the rate (OPT-12)."""
        groups = parameter_groups(network, weight_decay=0.0, bias_lr_scale=2.0)
        return SGD(groups, self.lr, self.momentum)


def criterion(maps: Sequence[Tensor], batch: Digits) -> Mapping[str, Tensor]:
    """Softmax cross-entropy."""
    return {"cross-entropy": F.cross_entropy(maps[0], batch.labels)}


class Accuracy:
    """Share of digits that are read right."""

    def __init__(self, digits: Mnist) -> None:
        self.digits, self._plan = digits, None

    def __call__(self, network: Module) -> dict[str, float]:
        """The accuracy of the network's present weights."""
        if self._plan is None:
            with inference_mode(network):
                self._plan = compile_network(network, (TEST_BATCH, 28, 28, 1), scale=1 / 255)
        else:
            self._plan.refresh()
        right = 0
        for i in range(0, len(self.digits), TEST_BATCH):
            (scores,) = self._plan.forward(self.digits.images[i : i + TEST_BATCH])
            right += int((scores.argmax(1) == self.digits.labels[i : i + TEST_BATCH]).sum())
        return {"accuracy": right / len(self.digits)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the idx files")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--momentum", type=float, default=MOMENTUM, help="0 for the bare recipe")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of digits")
    parser.add_argument("--digits", type=int, help="train on the first so many only")
    parser.add_argument("--resume", action="store_true", help="go on where the run folder stops")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    lines = Lines("accuracy", ".2%", "loss/cross-entropy")
    train, test = Mnist.read(given.data, "train"), Mnist.read(given.data, "test")
    train = Mnist(train.images[: given.digits], train.labels[: given.digits])
    recipe = Recipe(
        given.epochs, lr=0.01, warmup=0, clip=1e9, ema_decay=0.0, metric="accuracy", momentum=given.momentum
    )
    network = MnistNet(rng=np.random.default_rng(given.seed))
    trainer = Trainer(
        network, criterion, DigitLoader(train, 50, given.seed), given.out, recipe,
        validation=Accuracy(test), scale=1 / 255, optimiser=recipe.optimiser, progress=lines,
        identity={"data": "MNIST", "digits": len(train), "seed": given.seed},
    )  # fmt: skip
    summary = trainer.fit(resume=given.resume)
    print(
        f"best {summary.best:.2%} after epoch {summary.best_epoch}, last {summary.rows[-1]['accuracy']:.2%}"
    )
    print(f"{lines.minutes} in all")
    print(summary.folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VisionKitError, Interrupted) as error:
        sys.exit(f"error: {error}")
