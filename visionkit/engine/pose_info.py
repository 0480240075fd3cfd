"""What a weight file says about its pose network: enough to run, train and score it without guessing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..errors import UsageError
from ..vision.fields import FieldCodec
from ..vision.heatmaps import HeatmapCodec
from ..vision.skeleton import Skeleton
from ..weights.files import StrPath
from .description import reading, texts
from .pose_criterion import PoseCriterion

PEOPLE = ("many", "one")


@dataclass(frozen=True, slots=True)
class PoseInfo:
    """A pose network's description, written into and read from the metadata of its weights.

    Attributes:
        architecture: the name of the network, see `visionkit.models.zoo`.
        skeleton: its points are what the network finds, whole: names, limbs, flips, tolerances.
        names: the categories that it was trained on, such as person; it does not tell them apart.
        category_ids: the original id of each in the data.
        input_size: (height, width) of the network's input.
        stride: input pixels a cell of its maps.
        people: "many" in a picture, told apart by fields (`FieldCodec`), or "one" in a crop (`HeatmapCodec`).
        sigma: of the Gaussians of the heat maps, in cells.
        limb_width: of the fields, in cells.
        background: the heat maps have one channel more.
        mean, scale: the network sees (pixel - mean) * scale, RGB, of pictures that are letterboxed, or of
            crops, on grey 114.
        padding: a crop is the person's box made larger by this factor about its centre.
        focus: of the loss, see `PoseCriterion`.
        licence: of the weights.
        training: a summary of the training: data, epochs, scores.

    Raises:
        UsageError, ShapeError: values that no codec takes, or an input that is no multiple of the stride.
    """

    architecture: str
    skeleton: Skeleton
    names: tuple[str, ...] = ("person",)
    category_ids: tuple[int, ...] = (1,)
    input_size: tuple[int, int] = (320, 320)
    stride: int = 8
    people: str = "many"
    sigma: float = 1.0
    limb_width: float = 2.0
    background: bool = False
    mean: float = 114.0
    scale: float = 1 / 64
    padding: float = 1.25
    focus: float = 0.0
    licence: str = "unknown"
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.people not in PEOPLE:
            raise UsageError(f"people is one of {PEOPLE}", value=self.people)
        codec = self.codec()
        heat = codec.heatmaps if isinstance(codec, FieldCodec) else codec
        heat.map_size(self.input_size)
        self.criterion()

    def codec(self) -> FieldCodec | HeatmapCodec:
        """The codec between this network's maps and poses."""
        if self.people == "many":
            return FieldCodec(
                self.skeleton, self.stride, self.sigma, self.limb_width, background=self.background
            )
        return HeatmapCodec(self.skeleton, self.stride, self.sigma, background=self.background)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map of a stage: heat maps, and fields where there are many people."""
        heat = len(self.skeleton) + self.background
        return (heat, self.skeleton.field_channels) if self.people == "many" else (heat,)

    def criterion(self) -> PoseCriterion:
        """The loss it is trained with."""
        return PoseCriterion(self.codec(), self.focus)

    def to_metadata(self, training: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Texts by name for a safetensors file; `training` replaces the summary."""
        skeleton = self.skeleton
        return texts(
            "pose",
            self,
            training,
            resize="letterbox" if self.people == "many" else "crop",
            skeleton={
                "name": skeleton.name,
                "keypoints": skeleton.keypoints,
                "limbs": skeleton.limbs,
                "flips": skeleton.flips,
                "sigmas": skeleton.sigmas,
                "guessed": skeleton.guessed,
                "colours": skeleton.colours,
            },
            people=self.people,
            codec={
                "stride": self.stride,
                "sigma": self.sigma,
                "limb_width": self.limb_width,
                "background": self.background,
            },
            crop={"padding": self.padding},
            loss={"focus": self.focus},
        )

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: StrPath | None = None) -> Self:
        """The description in a file's metadata.

        Raises:
            WeightsError: an entry is missing or malformed; the message names it.
        """
        with reading(metadata, "pose", file) as entries:
            skeleton = _skeleton(entries.json("skeleton"))
            padding, focus = float(entries.json("crop")["padding"]), float(entries.json("loss")["focus"])
            people, common, codec = entries.json("people"), entries.common(), entries.json("codec")
            return cls(
                **common,
                skeleton=skeleton,
                people=people,
                stride=int(codec["stride"]),
                sigma=float(codec["sigma"]),
                limb_width=float(codec["limb_width"]),
                background=bool(codec["background"]),
                padding=padding,
                focus=focus,
            )

    def with_skeleton(
        self, skeleton: Skeleton, names: tuple[str, ...], category_ids: tuple[int, ...]
    ) -> Self:
        """The same network for other points and categories."""
        return replace(self, skeleton=skeleton, names=names, category_ids=category_ids)


def _skeleton(entry: Mapping[str, Any]) -> Skeleton:
    return Skeleton(
        str(entry["name"]),
        tuple(map(str, entry["keypoints"])),
        tuple((int(a), int(b)) for a, b in entry["limbs"]),
        tuple(map(int, entry["flips"])),
        tuple(map(float, entry["sigmas"])),
        bool(entry["guessed"]),
        tuple((int(r), int(g), int(b)) for r, g, b in entry["colours"]),
    )
