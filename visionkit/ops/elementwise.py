"""Element-wise operations of one input: activations and elementary functions.

NaN and infinity pass through. At kinks the gradient is PyTorch's: relu 0 at 0, relu6 0 at 0 and 6, abs 0 at
0, leaky_relu and prelu their slope at 0, clip 1 on both bounds.
"""

import numpy as np

from ..errors import ShapeError, UsageError
from ..shapes import Shape
from .op import Array, Grads, Op, same_shape, unbroadcast


def sigmoid_into(out: Array, x: Array) -> None:
    """Fill `out` with 1 / (1 + exp(-x)), exact to rounding in both tails."""
    np.negative(x, out=out)
    np.exp(out, out=out)  # overflow to infinity gives the right limit, 0
    out += 1
    np.reciprocal(out, out=out)


def _relu(out: Array, x: Array) -> None:
    np.maximum(x, 0, out=out)


def _relu_back(grad: Array, saved: None, x: Array) -> Grads:
    return (grad * (x > 0),)


def _relu6(out: Array, x: Array) -> None:
    np.clip(x, 0, 6, out=out)


def _relu6_back(grad: Array, saved: None, x: Array) -> Grads:
    return (grad * ((x > 0) & (x < 6)),)


def _leaky_relu(out: Array, x: Array, *, slope: float) -> None:
    np.multiply(x, slope, out=out)
    np.copyto(out, x, where=x > 0)


def _leaky_relu_back(grad: Array, saved: None, x: Array, *, slope: float) -> Grads:
    return (np.where(x > 0, grad, grad * x.dtype.type(slope)),)


def _prelu_shape(x: Shape, slope: Shape) -> Shape:
    if len(x) < 2 or slope != x[-1:]:
        raise ShapeError(f"prelu: slopes {slope} do not fit {x}: expected one a channel, the last axis")
    return x


def _prelu(out: Array, x: Array, slope: Array) -> None:
    np.multiply(x, slope, out=out)
    np.copyto(out, x, where=x > 0)


def _prelu_back(grad: Array, saved: None, x: Array, slope: Array) -> Grads:
    below = np.where(x > 0, x.dtype.type(0), grad)
    return np.where(x > 0, grad, grad * slope), unbroadcast(below * x, slope.shape)


def _silu(out: Array, x: Array) -> Array:
    gate = np.empty_like(out)
    sigmoid_into(gate, x)
    np.multiply(x, gate, out=out)
    return gate


def _silu_back(grad: Array, gate: Array, x: Array) -> Grads:
    return (grad * (gate * (1 + x * (1 - gate))),)


def _sigmoid(out: Array, x: Array) -> Array:
    sigmoid_into(out, x)
    return out


def _sigmoid_back(grad: Array, y: Array, x: Array) -> Grads:
    return (grad * (y * (1 - y)),)


def _tanh(out: Array, x: Array) -> Array:
    return np.tanh(x, out=out)


def _tanh_back(grad: Array, y: Array, x: Array) -> Grads:
    return (grad * (1 - y * y),)


def _exp(out: Array, x: Array) -> Array:
    return np.exp(x, out=out)


def _exp_back(grad: Array, y: Array, x: Array) -> Grads:
    return (grad * y,)


def _log(out: Array, x: Array) -> None:
    np.log(x, out=out)


def _log_back(grad: Array, saved: None, x: Array) -> Grads:
    return (grad / x,)


def _sqrt(out: Array, x: Array) -> Array:
    return np.sqrt(x, out=out)


def _sqrt_back(grad: Array, y: Array, x: Array) -> Grads:
    return (grad / (2 * y),)


def _abs(out: Array, x: Array) -> None:
    np.abs(x, out=out)


def _abs_back(grad: Array, saved: None, x: Array) -> Grads:
    return (grad * np.sign(x),)


def _atan(out: Array, x: Array) -> None:
    np.arctan(x, out=out)


def _atan_back(grad: Array, saved: None, x: Array) -> Grads:
    return (grad / (1 + x * x),)


def _softplus(out: Array, x: Array) -> None:
    np.abs(x, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.log1p(out, out=out)
    out += np.maximum(x, 0)


def _softplus_back(grad: Array, saved: None, x: Array) -> Grads:
    gate = np.empty_like(x)
    sigmoid_into(gate, x)
    return (grad * gate,)


def _neg(out: Array, x: Array) -> None:
    np.negative(x, out=out)


def _neg_back(grad: Array, saved: None, x: Array) -> Grads:
    return (-grad,)


def _clip(out: Array, x: Array, *, lo: float, hi: float) -> None:
    np.clip(x, lo, hi, out=out)


def _clip_back(grad: Array, saved: None, x: Array, *, lo: float, hi: float) -> Grads:
    return (grad * ((x >= lo) & (x <= hi)),)


def _pow(out: Array, x: Array, *, exponent: float) -> None:
    if exponent == 2:
        np.multiply(x, x, out=out)
    else:
        np.power(x, exponent, out=out)


def _pow_back(grad: Array, saved: None, x: Array, *, exponent: float) -> Grads:
    if exponent == 0:
        return (np.zeros_like(x),)
    slope = x if exponent == 2 else np.power(x, exponent - 1)
    return (grad * (slope * x.dtype.type(exponent)),)


def _dropout(out: Array, x: Array, *, p: float, mask: Array | None) -> None:
    if mask is None:
        raise UsageError(
            "dropout outside a trace needs its mask", remedy="use functional.dropout with an rng"
        )
    np.multiply(x, mask, out=out)


def _dropout_back(grad: Array, saved: None, x: Array, *, p: float, mask: Array) -> Grads:
    return (grad * mask.astype(grad.dtype, copy=False),)


OPS = (
    Op("relu", same_shape, _relu, _relu_back, "Relu"),
    Op("relu6", same_shape, _relu6, _relu6_back, "Clip"),
    Op("leaky_relu", same_shape, _leaky_relu, _leaky_relu_back, "LeakyRelu"),
    Op("prelu", _prelu_shape, _prelu, _prelu_back, "PRelu"),
    Op("silu", same_shape, _silu, _silu_back, "Sigmoid+Mul"),
    Op("sigmoid", same_shape, _sigmoid, _sigmoid_back, "Sigmoid"),
    Op("tanh", same_shape, _tanh, _tanh_back, "Tanh"),
    Op("exp", same_shape, _exp, _exp_back, "Exp"),
    Op("log", same_shape, _log, _log_back, "Log"),
    Op("sqrt", same_shape, _sqrt, _sqrt_back, "Sqrt"),
    Op("abs", same_shape, _abs, _abs_back, "Abs"),
    Op("atan", same_shape, _atan, _atan_back, "Atan"),
    Op("softplus", same_shape, _softplus, _softplus_back, "Softplus"),
    Op("neg", same_shape, _neg, _neg_back, "Neg"),
    Op("clip", same_shape, _clip, _clip_back, "Clip"),
    Op("pow", same_shape, _pow, _pow_back, "Pow"),
    Op("dropout", same_shape, _dropout, _dropout_back, "Dropout"),
)
