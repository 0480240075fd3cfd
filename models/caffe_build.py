"""From the layers of a Caffe description to modules, each checked before any memory is taken for it."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from visionkit.errors import ShapeError, UsageError
from visionkit.functional import Pair
from visionkit.nn import Module
from visionkit.tensor import Tensor
from visionkit.weights.caffe import CaffeLayer
from visionkit.weights.prototxt import Message

from .caffe_layers import CHANNELS, LAYERS, Layer
from .caffe_modules import Norm

_TOP = (
    "name", "input", "input_dim", "input_shape", "layer", "layers", "force_backward", "state", "debug_info",
)  # fmt: skip
_LAYER = (
    "name", "type", "bottom", "top", "param", "phase", "loss_weight", "propagate_down", "blobs_lr",
    "weight_decay",
)  # fmt: skip
#: Where the name of a layer's settings is not its type in small letters.
_SETTINGS = {"InnerProduct": "inner_product_param", "BatchNorm": "batch_norm_param"}


class Step(NamedTuple):
    """A module, the blobs it reads, and the blob it makes."""

    module: Module
    bottoms: tuple[str, ...]
    top: str


class Builder:
    """Makes a network's layers one after the other while it is traced.

    Args:
        weights: of the layers, by name; None starts them at random.
        room: most numbers that the parameters may hold.
        rng: of initial weights and of dropout.

    Attributes:
        layers: the modules by layer name; steps: how they hang together.
        blobs: every blob as its last layer leaves it; unread: those that nobody reads, in order.
    """

    def __init__(self, weights: Mapping[str, CaffeLayer] | None, room: int, rng: np.random.Generator) -> None:
        self._weights, self._room, self._rng = weights, room, rng
        self.layers: dict[str, Module] = {}
        self.steps: list[Step] = []
        self.blobs: dict[str, Tensor] = {}
        self.unread: dict[str, None] = {}
        self._norms: dict[str, Norm] = {}  # by the blob that nobody has read since

    def build(self, layers: Sequence[Message], given: str, x: Tensor) -> tuple[Tensor, ...]:
        """All layers; returns the blobs that none of them reads."""
        self.blobs[given], self.unread[given] = x, None
        for layer in layers:
            self._add(layer)
        return tuple(self.blobs[name] for name in self.unread)

    def _add(self, layer: Message) -> None:
        kind, name, bottoms, top = self._checked(layer)
        xs = [self.blobs[bottom] for bottom in bottoms]
        made = LAYERS[kind][0](layer, xs[0].shape, self._rng)
        self._check_weights(layer, name, made)
        norm = self._norms.get(top) if bottoms == [top] else None
        for bottom in bottoms:
            self.unread.pop(bottom, None)
            self._norms.pop(bottom, None)
        self.unread[top] = None
        merged = kind == "Scale" and norm is not None
        module = norm.scaled(len(made.blobs) > 1) if merged and norm else made.make().eval()
        if self._weights is not None and made.blobs:
            made.fill(module, *self._weights[name].blobs)
        if merged:
            return
        self.layers[name] = module
        self.steps.append(Step(module, tuple(bottoms), top))
        try:
            self.blobs[top] = module(*xs)
        except (ShapeError, UsageError) as error:
            layer.fail(f"layer {name!r}: {error.reason}")
        if kind == "BatchNorm" and isinstance(module, Norm):
            self._norms[top] = module

    def _checked(self, layer: Message) -> tuple[str, str, list[str], str]:
        """Type, name, bottoms and top of a layer."""
        kind, name = kind_of(layer), layer.text("name")
        bottoms, tops = layer.texts("bottom"), layer.texts("top")
        layer.only({*_LAYER, _SETTINGS.get(kind, f"{kind.lower()}_param")})
        if not name or not name.isprintable() or name in self.layers:
            layer.fail("every layer needs a printable name of its own", "name", value=name)
        if len(tops) != 1 or not bottoms or (len(bottoms) > 1 and kind not in ("Concat", "Eltwise")):
            layer.fail(f"{kind} with {len(bottoms)} bottoms and {len(tops)} tops is not supported")
        for bottom in bottoms:
            if bottom not in self.blobs:
                layer.fail("no layer above makes this blob", "bottom", value=bottom)
        if tops[0] in self.blobs and bottoms[0] != tops[0]:
            layer.fail("another layer makes this blob, too", "top", value=tops[0])
        return kind, name, bottoms, tops[0]

    def _check_weights(self, layer: Message, name: str, made: Layer) -> None:
        """Refuse weights that are not those of the file, or too many."""
        if self._weights is not None and made.blobs:
            found = [blob.shape for blob in self._weights[name].blobs]
            # An axis of size 1 more or less, as old files have them, changes nothing in the numbers' order.
            if [_bare(shape) for shape in found] != [_bare(shape) for shape in made.blobs]:
                layer.fail(
                    f"layer {name!r} needs weights of shapes {_listed(made.blobs)}, the file has "
                    f"{_listed(found)} at byte {self._weights[name].at:,}",
                    remedy="use the description that the weights were made with",
                )
        needed = sum(math.prod(shape) for shape in made.blobs)
        if needed > self._room:
            layer.fail(f"layer {name!r} needs {4 * needed:,} bytes of weights, {4 * self._room:,} are left")
        self._room -= needed


def layers_of(net: Message) -> list[Message]:
    """The layers of a description, without its inputs."""
    net.only(_TOP)
    layers = [*net.messages("layers"), *net.messages("layer")]
    if not layers:
        net.fail("a description without layers", remedy="give the .prototxt of the network")
    return [layer for layer in layers if kind_of(layer) != "Input"]


def kind_of(layer: Message) -> str:
    """A layer's type in its present spelling.

    Raises:
        WeightsError: the type is missing, not supported, or only meant for training.
    """
    if "layer" in layer.fields:
        remedy = "bring it to the present form with Caffe's own upgrade_net_proto_text"
        layer.fail("a layer in the form of before 2013 (V0)", "layer", remedy)
    for rule in ("include", "exclude"):
        if rule in layer.fields:
            layer.fail(f"{rule}: this description is meant for training", rule, "give the one for deployment")
    words = layer.fields.get("type", [])
    if len(words) != 1:
        layer.fail("a layer needs one type", "type")
    old = [kind for kind, (_, word) in LAYERS.items() if word and word == getattr(words[0], "text", "")]
    kind = old[0] if old else layer.text("type")
    if kind not in LAYERS and kind != "Input":
        remedy = f"supported are {', '.join(sorted(LAYERS))}"
        layer.fail("unsupported layer", "type", remedy, value=kind)
    return kind


def input_of(net: Message, size: Pair | None) -> tuple[str, Pair, int]:
    """The input's name, (height, width), `size` where that is given, and channels."""
    names, shapes = net.texts("input"), net.messages("input_shape")
    sizes = [net.integers("input_dim", 1, CHANNELS)] if "input_dim" in net.fields else []
    for layer in net.messages("layer"):
        if kind_of(layer) == "Input":
            names += layer.texts("top")
            shapes += layer.message("input_param").messages("shape")
    sizes += [shape.integers("dim", 1, CHANNELS) for shape in shapes]
    if len(names) != 1 or len(sizes) != 1 or len(sizes[0]) != 4:
        net.fail("expected one input of four sizes (pictures, channels, height, width)", "input", value=sizes)
    _, channels, *there = sizes[0]
    height, width = size or there
    if not 0 < height <= CHANNELS or not 0 < width <= CHANNELS:
        raise UsageError("a picture's height and width are 1 or more", value=size)
    return names[0], (height, width), channels


def compare_names(
    net: Message, layers: Sequence[Message], weights: Mapping[str, CaffeLayer], allow_extra: bool
) -> None:
    """Compare the names of layers with weights on both sides, all of them."""
    kinds = ("Convolution", "InnerProduct", "BatchNorm", "Scale", "PReLU")
    wanted = {layer.text("name") for layer in layers if kind_of(layer) in kinds}
    complaints = [f"missing {name}" for name in sorted(wanted - weights.keys())]
    if not allow_extra:
        complaints += [f"unexpected {name}" for name in sorted(weights.keys() - wanted)]
    if complaints:
        more = f"; and {len(complaints) - 50} more" if len(complaints) > 50 else ""
        over = "" if allow_extra else ", or allow_extra where weights are left over"
        net.fail(
            f"{len(complaints)} layers of the weights are not those of this description: "
            f"{'; '.join(complaints[:50])}{more}",
            remedy=f"use the description that the weights were made with{over}",
        )


def _bare(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _listed(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes) or "none"
