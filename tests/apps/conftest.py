"""A small data set on disk, networks that have learned nothing, what serves them, and the command line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from visionkit.apps.cli import main
from visionkit.datasets.convert import convert
from visionkit.datasets.shapes import NAMES, ShapesDataset

if TYPE_CHECKING:
    from tests.apps.serving import Serving


class Ran(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on standard output."""
        return self.out.splitlines()[-1] if self.out else ""


@pytest.fixture
def visionkit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`visionkit("detect", path, ...)` as on the command line; only the exit code says what failed."""

    def run(*argv: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train/ and val/, each with images/ and TRAIN-or-VAL.json: 16 and 4 pictures of 64 x 64."""
    folder = tmp_path_factory.mktemp("shapes")
    for name, count, seed in (("train", 16, 0), ("val", 4, 1)):
        convert(ShapesDataset(count, (64, 64), seed=seed, most=3), "coco", folder / name, split=name)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly initialised detector of shapes for 64 x 64 pictures."""
    from dataclasses import replace

    from visionkit.models.zoo import card, save

    kind = card("yolo-nano")
    info = replace(kind.info(NAMES, (1, 2, 3)), input_size=(64, 64))
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save(path, kind.network(3, seed=0), info)
    return path


@pytest.fixture(scope="session")
def pose_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly initialised network of people's poses for 64 x 64 pictures."""
    from dataclasses import replace

    from visionkit.models.zoo import pose_card, save
    from visionkit.vision.skeletons import COCO_17

    kind = pose_card("openpose-lite")
    info = replace(kind.info(COCO_17, ["person"], [1]), input_size=(64, 64))
    path = tmp_path_factory.mktemp("weights") / "poses.safetensors"
    save(path, kind.network(info.channels, seed=0), info)
    return path


@pytest.fixture(scope="module")
def models(weights: Path, pose_weights: Path) -> dict[str, Any]:
    """What `served` offers: a detector named boxes, and a network of poses."""
    from tests.apps.serving import opened

    return {"boxes": opened(weights), "poses": opened(pose_weights)}


@pytest.fixture(scope="module")
def served(models: dict[str, Any]) -> Iterator["Serving"]:
    """A server with both models."""
    from tests.apps.serving import Serving

    with Serving(models) as serving:
        yield serving
