"""Networks of Caffe, OpenPose's among them: a description (.prototxt) and its weights (.caffemodel)."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from visionkit.errors import UnknownNameError, UsageError, WeightsError
from visionkit.functional import Pair
from visionkit.graph.trace import trace
from visionkit.nn import Module
from visionkit.tensor import Tensor
from visionkit.weights import caffe, prototxt, safetensors
from visionkit.weights.caffe import CaffeLayer
from visionkit.weights.files import StrPath
from visionkit.weights.prototxt import Message

from .caffe_build import Builder, compare_names, input_of, layers_of

#: Numbers that the parameters of a description without weights may hold: 1 GB.
ROOM = 2**28


class CaffeNetwork(Module):
    """The network of a description, in inference mode; layers without a file's weights start at random.

    It takes pictures (B, H, W, C) in the channels' order of the file, BGR for nearly all, and returns the
    blobs `outputs`, one Tensor or a tuple; parameters are called ``conv1_1.weight``, after their layers.

    Args:
        description: from `visionkit.weights.prototxt`.
        size: (height, width) of the pictures, where fully connected layers follow and the description's own
            is not meant.
        outputs: names of the blobs to return; those that no layer reads, where none are given.
        weights: of the layers, by name.
        allow_extra: pass over weights of layers that the description does not have.
        room: most numbers that its parameters may hold.
        seed: of initial weights and of dropout.

    Attributes:
        layers: the modules by layer name. A Scale right behind a BatchNorm in its place is part of it.
        outputs: names of what `forward` returns.

    Raises:
        WeightsError: the description asks for what cannot be had, or the weights are not its own; with line
            and column.
        UnknownNameError: there is no blob of a name in `outputs`.
    """

    def __init__(
        self, description: Message, *, size: Pair | None = None, outputs: Sequence[str] = (),
        weights: Mapping[str, CaffeLayer] | None = None, allow_extra: bool = False, room: int = ROOM,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.source = description.source
        layers = layers_of(description)
        self.input, self.size, channels = input_of(description, size)
        if weights is not None:
            compare_names(description, layers, weights, allow_extra)
        builder = Builder(weights, room, np.random.default_rng(seed))
        # Traced, so that every shape is known before the memory for it is taken.
        trace(lambda x: builder.build(layers, self.input, x), (1, *self.size, channels))
        self.layers, self._steps = builder.layers, builder.steps
        for name in outputs:
            if name not in builder.blobs:
                near = difflib.get_close_matches(name, list(builder.blobs), n=3)
                remedy = (
                    f"did you mean {' or '.join(near)}?" if near else f"the last is {self._steps[-1].top}"
                )
                raise UnknownNameError("no such blob in the description", value=name, remedy=remedy)
        self.outputs = tuple(outputs) or tuple(builder.unread)
        self.eval()

    @property
    def joined(self) -> tuple[str, ...]:
        """Names of the blobs that the last layer reads, such as those that a Concat joins into one."""
        return self._steps[-1].bottoms

    def parts(self) -> Iterator[tuple[str, Tensor | Module]]:
        """The modules under their layers' names."""
        yield from self.layers.items()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(B, H, W, C) to `outputs`: maps (B, h, w, c), rows (B, n) behind fully connected layers."""
        blobs = {self.input: x}
        for step in self._steps:
            blobs[step.top] = step.module(*(blobs[bottom] for bottom in step.bottoms))
        found = tuple(blobs[name] for name in self.outputs)
        return found[0] if len(found) == 1 else found


def load_caffe(
    description: StrPath, weights: StrPath, *, size: Pair | None = None, outputs: Sequence[str] = (),
    allow_extra: bool = False, allow_nonfinite: bool = False, seed: int = 0,
) -> CaffeNetwork:  # fmt: skip
    """The network of a .prototxt with the weights of a .caffemodel, in inference mode.

    Args:
        description: the .prototxt, the one for deployment.
        weights: the .caffemodel.
        allow_nonfinite: accept weights that are NaN or infinite.
        size, outputs, allow_extra, seed: see `CaffeNetwork`.

    Raises:
        FileError: a file cannot be read.
        WeightsError: a file is damaged or something else, a layer is not supported, or the two do not fit.
        UnknownNameError: there is no blob of a name in `outputs`.
    """
    described = prototxt.read(description)
    found = caffe.read(weights, allow_nonfinite=allow_nonfinite)
    room = sum(blob.size for layer in found.values() for blob in layer.blobs)
    return CaffeNetwork(
        described, size=size, outputs=outputs, weights=found, allow_extra=allow_extra, room=room, seed=seed
    )


def save(path: StrPath, network: CaffeNetwork) -> None:
    """Write a network as a .safetensors file that `load` opens; the description travels in its metadata."""
    metadata = {
        "architecture": "caffe",
        "description": network.source.text,
        "outputs": json.dumps(network.outputs),
        "size": json.dumps(network.size),
    }
    safetensors.write(path, network.state_dict(), metadata)


def load(path: StrPath) -> CaffeNetwork:
    """The network of a .safetensors file that `save` wrote, in inference mode.

    Raises:
        FileError: the file cannot be read.
        WeightsError: it is damaged, or holds something else.
    """
    tensors, metadata = safetensors.read(path)
    if metadata.get("architecture") != "caffe":
        raise WeightsError(
            "not a network that came from Caffe", file=path, value=metadata.get("architecture"),
            remedy="open it with visionkit.load",
        )  # fmt: skip
    try:
        height, width = (int(n) for n in json.loads(metadata["size"]))
        outputs = [str(name) for name in json.loads(metadata["outputs"])]
        described = prototxt.parse(metadata["description"], path)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"damaged metadata: {error}", file=path) from None
    room = sum(tensor.size for tensor in tensors.values()) + len(tensors)
    try:
        network = CaffeNetwork(described, size=(height, width), outputs=outputs, room=room)
    except UsageError as error:
        raise WeightsError(f"damaged metadata: {error}", file=path) from None
    try:
        network.load_state_dict(tensors)
    except WeightsError as error:
        raise WeightsError(error.reason, file=path, remedy=error.remedy) from None
    return network
