"""Train the landmark network of FLM-04 on faces, then a regressor for each kind of face (TCNN, FLM-06).

    python benchmarks/landmarks.py --data FOLDER --out RUN

FOLDER holds keypoints.csv and images/ of ytfaces68. People in training and in validation are not the same.
Prints the mean error over the distance of the outer corners of the eyes (NME), for the network and for TCNN.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from lines import Lines

from visionkit.data.loader import Loader
from visionkit.data.person_crops import PersonCrops
from visionkit.data.pose_transforms import PersonAugment
from visionkit.datasets.faces import FacesDataset
from visionkit.engine.interrupt import Interrupted
from visionkit.engine.landmarks import LandmarkCriterion, LandmarkValidation, run
from visionkit.engine.settings import Settings
from visionkit.engine.trainer import Trainer
from visionkit.engine.tweaked import TweakedRegressors
from visionkit.errors import VisionKitError
from visionkit.models.landmarks import LandmarkNet
from visionkit.weights import safetensors

MEAN, SCALE, PADDING = 114.0, 1 / 64, 1.25
#: Times that every training face is shown to TCNN, another crop each time: some hundred for each regressor.
PASSES = 10


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with keypoints.csv and images/")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--components", type=int, default=64, help="kinds of faces")
    parser.add_argument(
        "--ridge", type=float, default=1000.0, help="samples that the common regressor is worth"
    )
    parser.add_argument("--loss", choices=["weighted", "plain"], default="weighted", help="FLM-05's two")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the pictures")
    parser.add_argument("--faces", type=int, help="train on the first so many only")
    parser.add_argument("--resume", action="store_true", help="go on where the run folder stops")
    return parser.parse_args()


def tweak(
    network: LandmarkNet, loader: Loader, criterion: LandmarkCriterion, given: argparse.Namespace
) -> TweakedRegressors:
    """The regressors of a trained network, from crops of the training faces as they come in use."""
    batches = [batch for number in range(PASSES) for batch in loader.batches(number)]
    targets = [criterion.targets(batch) for batch in batches]
    wanted, weights = (np.concatenate(parts) for parts in zip(*targets, strict=True))
    images = np.concatenate([batch.images for batch in batches])
    (features,) = run(network.features, images, MEAN, SCALE)
    last, rng = network.fc6, np.random.default_rng(given.seed)
    return TweakedRegressors.fit(
        features, wanted, weights.mean(axis=1), last.weight.data, last.bias.data,
        components=given.components, ridge=given.ridge, rng=rng,
    )  # fmt: skip


def main() -> int:
    given = arguments()
    lines = Lines("NME", ".4f", "loss/points")
    size = LandmarkNet.size
    train, val = (
        PersonCrops(
            FacesDataset(given.data / "keypoints.csv", given.data / "images", split), size, padding=PADDING
        )
        for split in ("train", "val")
    )
    train = train.part(range(min(given.faces or len(train), len(train))))
    print(f"{len(train)} faces to train on, {len(val)} of other people to validate on")
    skeleton = train.skeleton
    augment = PersonAugment(skeleton, PADDING, scale=(0.9, 1.1), rotation=15.0, shift=0.04, half_body=0.0)
    loader = Loader(train, 64, size, augment=augment, epochs=given.epochs, seed=given.seed)
    criterion = LandmarkCriterion(skeleton, "inter-ocular" if given.loss == "weighted" else None)
    validation = LandmarkValidation(val, size, padding=PADDING, mean=MEAN, scale=SCALE)
    network = LandmarkNet(len(skeleton), rng=np.random.default_rng(given.seed))
    settings = Settings(
        given.epochs, lr=3e-3, weight_decay=0.1, metric="AUC", evaluate_every=min(10, given.epochs)
    )
    trainer = Trainer(
        network, criterion, loader, given.out, settings, validation=validation, mean=MEAN, scale=SCALE,
        progress=lines, identity={"data": train.hash(), "seed": given.seed, "loss": given.loss},
    )  # fmt: skip
    folder = trainer.fit(resume=given.resume).folder
    network.load_state_dict(safetensors.read(folder / "last.safetensors")[0])
    network.eval()
    mild = PersonAugment(skeleton, PADDING, scale=(0.95, 1.05), rotation=5.0, shift=0.02, half_body=0.0)
    other = Loader(train, 64, size, augment=mild, epochs=PASSES, seed=given.seed + 1)
    regressors = tweak(network, other, criterion, given)
    safetensors.write(folder / "tweaked.safetensors", regressors.state_dict(), {})
    (features,) = run(network.features, validation.images, MEAN, SCALE)
    for name, scores in (("network", validation(network)), ("TCNN", validation.score(regressors(features)))):
        print(f"{name:8} NME {scores['NME']:.4f}, AUC {scores['AUC']:.4f}, FR {scores['FR']:.4f}")
    print(f"{lines.minutes} in all")
    print(folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VisionKitError, Interrupted) as error:
        sys.exit(f"error: {error}")
