"""Caffe's layers as modules: which arrays each takes from a .caffemodel, and what it computes.

A builder reads one layer of a description and returns a `Layer`: the shapes of its arrays, known before any
memory is taken for them, and how to make and fill its module. Maps are (B, H, W, C) here, (B, C, H, W) there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionkit import nn
from visionkit.shapes import Shape
from visionkit.weights.prototxt import Message

from .caffe_modules import GlobalMaxPool2d, InnerProduct, Join, Norm

Array = NDArray[Any]
Pair = tuple[int, int]

#: Largest window, stride, padding and dilation, and most channels, that a description may ask for.
REACH, CHANNELS = 4096, 2**20


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a description before any memory is taken for it.

    Attributes:
        make: its module, with initial weights.
        blobs: the shapes of its arrays in a .caffemodel.
        fill: puts those arrays into the module.
    """

    make: Callable[[], nn.Module]
    blobs: tuple[Shape, ...] = ()
    fill: Callable[..., None] = lambda module: None


Builder = Callable[[Message, Shape, np.random.Generator], Layer]


def _fill(module: Any, weight: Array, bias: Array | None = None) -> None:
    module.weight.data[...] = weight.reshape(module.weight.shape)
    if bias is not None:
        module.bias.data[...] = bias.reshape(-1)


def _pair(given: Message, name: str, low: int, default: int | None, stem: str = "") -> Pair:
    """`name`, once or twice (height, width), or its two spellings `stem`_h and `stem`_w."""
    values = given.integers(name, low, REACH)
    apart = [f"{stem or name}_{axis}" for axis in "hw"]
    if any(one in given.fields for one in apart):
        if values or not all(one in given.fields for one in apart):
            given.fail(f"give {name}, or both {apart[0]} and {apart[1]}", name)
        return (given.integer(apart[0], low, low, REACH), given.integer(apart[1], low, low, REACH))
    if not values and default is not None:
        values = [default]
    if len(values) not in (1, 2):
        given.fail(f"{name} must be given once or twice", name)
    return (values[0], values[-1])


_WINDOW = {
    "kernel_size", "kernel_h", "kernel_w", "pad", "pad_h", "pad_w", "stride", "stride_h", "stride_w",
    "engine",
}  # fmt: skip
_FILLERS = {"bias_term", "weight_filler", "bias_filler", "axis"}


def _channels(given: Message) -> int:
    if "num_output" not in given.fields:
        given.fail("num_output is missing")
    return given.integer("num_output", 0, 1, CHANNELS)


def _axis(given: Message, name: str = "axis", what: int = 1) -> None:
    if given.integer(name, what, -32, 32) != what:
        given.fail(f"only {name}: {what} is supported", name)


def convolution(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Convolution, with groups and dilation."""
    given = layer.message("convolution_param")
    given.only({*_WINDOW, *_FILLERS, "num_output", "dilation", "group", "force_nd_im2col"})
    _axis(given)
    outputs, groups = _channels(given), given.integer("group", 1, 1, CHANNELS)
    if x[-1] % groups or outputs % groups:
        given.fail(f"{groups} groups do not divide {x[-1]} and {outputs} channels", "group")
    kernel, stride = _pair(given, "kernel_size", 1, None, "kernel"), _pair(given, "stride", 1, 1)
    padding, dilation = _pair(given, "pad", 0, 0), _pair(given, "dilation", 1, 1)
    bias = given.flag("bias_term", True)

    def make() -> nn.Module:
        return nn.Conv2d(x[-1], outputs, kernel, stride, padding, dilation, groups, bias, rng=rng)

    return Layer(make, ((outputs, x[-1] // groups, *kernel), (outputs,))[: 1 + bias], _fill)


def inner_product(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Fully connected layer."""
    given = layer.message("inner_product_param")
    given.only({*_FILLERS, "num_output", "transpose"})
    _axis(given)
    if given.flag("transpose", False):
        given.fail("transpose is not supported", "transpose")
    outputs, bias, inputs = _channels(given), given.flag("bias_term", True), math.prod(x[1:])

    def fill(module: nn.Module, weight: Array, *rest: Array) -> None:
        h, w, c = x[1:] if len(x) == 4 else (1, 1, x[-1])
        _fill(module, weight.reshape(outputs, c, h, w).transpose(0, 2, 3, 1), *rest)

    return Layer(
        lambda: InnerProduct(inputs, outputs, bias, rng=rng),
        ((outputs, inputs), (outputs,))[: 1 + bias],
        fill,
    )


def batch_norm(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Batch normalisation without factors; the file holds sums of statistics and their weight."""
    given = layer.message("batch_norm_param")
    given.only({"use_global_stats", "moving_average_fraction", "eps", "engine"})
    eps, kept = given.number("eps", 1e-5), given.number("moving_average_fraction", 0.999)
    frozen = given.flag("use_global_stats", False)
    if eps < 0 or not 0 <= kept <= 1:
        given.fail("eps must not be negative, and moving_average_fraction lies from 0 to 1")

    def fill(module: Any, mean: Array, variance: Array, weight: Array) -> None:
        total = float(weight.reshape(-1)[0])
        share = 1 / total if total else 0.0  # nothing collected: Caffe takes zeros, too
        module.running_mean.data[...] = mean.reshape(-1) * share
        module.running_var.data[...] = variance.reshape(-1) * share
        if module.running_var.data.min() + eps <= 0:
            layer.fail(f"variance {module.running_var.data.min()} + eps {eps} of the weights is not positive")

    return Layer(lambda: Norm(x[-1], eps, 1 - kept, frozen), ((x[-1],), (x[-1],), (1,)), fill)


def scale(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """A factor and a summand a channel."""
    given = layer.message("scale_param")
    given.only({"axis", "num_axes", "filler", "bias_term", "bias_filler"})
    _axis(given)
    _axis(given, "num_axes")
    bias = given.flag("bias_term", False)
    return Layer(lambda: Norm(x[-1], 0.0, 0.0, True).scaled(bias), ((x[-1],),) * (1 + bias), _fill)


def relu(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """ReLU, leaky where a slope is given."""
    given = layer.message("relu_param")
    given.only({"negative_slope", "engine"})
    slope = given.number("negative_slope", 0.0)
    return Layer(lambda: nn.LeakyReLU(slope) if slope else nn.ReLU())


def prelu(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """ReLU with a learnt slope a channel."""
    given = layer.message("prelu_param")
    given.only({"filler", "channel_shared"})
    if given.flag("channel_shared", False):
        given.fail("one slope for all channels is not supported", "channel_shared")
    return Layer(lambda: nn.PReLU(x[-1]), ((x[-1],),), _fill)


def pooling(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Maximum or mean; windows that reach over the edge count, unless round_mode is FLOOR."""
    given = layer.message("pooling_param")
    given.only({*_WINDOW, "pool", "global_pooling", "round_mode"})
    mean = given.choice("pool", ("MAX", "AVE")) == 1
    if len(x) != 4:
        layer.fail(f"pooling needs maps, not rows {x}")
    if given.flag("global_pooling", False):
        return Layer(nn.GlobalAvgPool2d if mean else GlobalMaxPool2d)
    kernel, stride = _pair(given, "kernel_size", 1, None, "kernel"), _pair(given, "stride", 1, 1)
    padding, ceil = _pair(given, "pad", 0, 0), given.choice("round_mode", ("CEIL", "FLOOR")) == 0
    kind = nn.AvgPool2d if mean else nn.MaxPool2d
    return Layer(lambda: kind(kernel, stride, padding, ceil))


def concat(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Channels side by side."""
    given = layer.message("concat_param")
    given.only({"axis", "concat_dim"})
    _axis(given)
    _axis(given, "concat_dim")
    return Layer(lambda: Join("concat"))


def eltwise(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Sum, product or maximum of maps."""
    given = layer.message("eltwise_param")
    given.only({"operation", "coeff", "stable_prod_grad"})
    how = ("product", "sum", "maximum")[given.choice("operation", ("PROD", "SUM", "MAX"), 1)]
    if any(factor != 1 for factor in given.numbers("coeff")):
        given.fail("only coefficients of 1 are supported", "coeff")
    return Layer(lambda: Join(how))


def softmax(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Softmax over the channels."""
    given = layer.message("softmax_param")
    given.only({"axis", "engine"})
    _axis(given)
    return Layer(nn.Softmax)


def dropout(layer: Message, x: Shape, rng: np.random.Generator) -> Layer:
    """Dropout; nothing in inference."""
    given = layer.message("dropout_param")
    given.only({"dropout_ratio"})
    ratio = given.number("dropout_ratio", 0.5)
    if not 0 <= ratio < 1:
        given.fail("dropout_ratio lies from 0 to below 1", "dropout_ratio")
    return Layer(lambda: nn.Dropout(ratio, rng=rng))


#: By the name in `type`: the builder and, in descriptions of before 2014, the word for it.
LAYERS: dict[str, tuple[Builder, str]] = {
    "Convolution": (convolution, "CONVOLUTION"),
    "InnerProduct": (inner_product, "INNER_PRODUCT"),
    "BatchNorm": (batch_norm, ""),
    "Scale": (scale, ""),
    "ReLU": (relu, "RELU"),
    "PReLU": (prelu, ""),
    "Sigmoid": (lambda layer, x, rng: Layer(nn.Sigmoid), "SIGMOID"),
    "TanH": (lambda layer, x, rng: Layer(nn.Tanh), "TANH"),
    "Pooling": (pooling, "POOLING"),
    "Concat": (concat, "CONCAT"),
    "Eltwise": (eltwise, "ELTWISE"),
    "Softmax": (softmax, "SOFTMAX"),
    "Dropout": (dropout, "DROPOUT"),
}
