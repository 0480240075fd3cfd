"""What a weight file says about its detector: enough to run, train and score it without guessing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..vision.losses import YoloLoss
from ..vision.yolo import YoloCodec
from ..weights.files import StrPath
from .criterion import DetectionCriterion
from .description import reading, texts

#: Weights of the loss that trained well with each assignment: where fewer places are positive, the mean
#: over all places wants a higher weight of the objectness.
LOSS_WEIGHTS = {
    "v5": {"box": 0.05, "objectness": 0.25, "classes": 0.1},
    "v3": {"box": 0.05, "objectness": 0.25, "classes": 0.1},
    "hy": {"box": 0.1, "objectness": 0.5, "classes": 0.1},
    "shape": {"box": 0.1, "objectness": 0.5, "classes": 0.1},
}

Anchors = tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """A detector's description, written into and read from the metadata of its weights.

    Attributes:
        architecture: the name of the network, see `visionkit.models.zoo`.
        names: the classes; class_id is the position.
        category_ids: the original id of each class in the data it was trained on.
        anchors: one row of (width, height) a level, in input pixels.
        strides: input pixels a cell, one a level.
        input_size: (height, width) of the network's input.
        mean, scale: the network sees (pixel - mean) * scale, RGB, letterboxed and centred on grey 114.
        form, class_scores: of the codec, see `YoloCodec`.
        assignment: the rule that the network was trained with.
        loss: weights of the parts of its loss: box, objectness, classes.
        licence: of the weights.
        training: a summary of the training: data, epochs, scores.
    """

    architecture: str
    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    anchors: Anchors
    strides: tuple[int, ...]
    input_size: tuple[int, int]
    mean: float = 114.0
    scale: float = 1 / 64
    form: str = "v5"
    class_scores: str = "sigmoid"
    assignment: str = "v5"
    loss: Mapping[str, float] = field(default_factory=dict)
    licence: str = "unknown"
    training: Mapping[str, Any] = field(default_factory=dict)

    def codec(self) -> YoloCodec:
        """The codec between this detector's maps and boxes."""
        return YoloCodec(
            self.anchors, self.strides, len(self.names), self.form, self.assignment,  # type: ignore[arg-type]
            class_scores=self.class_scores,  # type: ignore[arg-type]
        )  # fmt: skip

    def criterion(self) -> DetectionCriterion:
        """The loss it is trained with."""
        codec = self.codec()
        return DetectionCriterion(codec, YoloLoss(codec, **self.loss))  # type: ignore[arg-type]

    def to_metadata(self, training: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Texts by name for a safetensors file; `training` replaces the summary."""
        return texts(
            "detect",
            self,
            training,
            resize="letterbox",
            anchors=self.anchors,
            strides=self.strides,
            codec={"form": self.form, "class_scores": self.class_scores},
            assignment=self.assignment,
            loss=dict(self.loss),
        )

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: StrPath | None = None) -> Self:
        """The description in a file's metadata.

        Raises:
            WeightsError: an entry is missing or malformed; the message names it.
        """
        with reading(metadata, "detect", file) as entries:
            info = cls(
                **entries.common(),
                anchors=tuple(
                    tuple((float(w), float(h)) for w, h in level) for level in entries.json("anchors")
                ),
                strides=tuple(map(int, entries.json("strides"))),
                assignment=entries.json("assignment"),
                loss=entries.json("loss"),
                form=entries.json("codec")["form"],
                class_scores=entries.json("codec")["class_scores"],
            )
            info.codec().map_sizes(info.input_size)
        return info

    def with_assignment(self, assignment: str) -> Self:
        """The description with another assignment and the loss weights that go with it."""
        return replace(self, assignment=assignment, loss=LOSS_WEIGHTS[assignment])

    def with_classes(self, names: tuple[str, ...], category_ids: tuple[int, ...]) -> Self:
        """The same detector for other classes."""
        return replace(self, names=names, category_ids=category_ids)
