"""What onnxruntime computes from exported files, against the float64 tape: operations, layers, networks."""

import copy
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from tests.graph.layers import ACTIVATIONS, layers
from tests.ops.test_gradients import CASES
from visionkit import functional as F
from visionkit.errors import FileError, TraceError, WeightsError
from visionkit.graph.onnx import IR_VERSION, OPSET, to_onnx
from visionkit.models.backbones import DilatedDarknet, TinyDarknet
from visionkit.models.classifiers import MnistNet
from visionkit.models.zoo import CARDS
from visionkit.nn import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    Module,
    ReLU,
    Sequential,
)
from visionkit.tensor import Tensor, no_grad

REASON = "not installed: pip install 'visionkit[onnx]'"
onnx = pytest.importorskip("onnx", reason=f"onnx is {REASON}")
onnxruntime = pytest.importorskip("onnxruntime", reason=f"onnxruntime is {REASON}")

TOLERANCE = 1e-5  # of the largest value

Network = Callable[[Tensor], Any]


def turned(array: np.ndarray, *axes: int) -> np.ndarray:
    """Maps with their axes in another order; all else as it is."""
    return array.transpose(axes) if array.ndim == 4 else array


def run(content: bytes, x: np.ndarray) -> list[np.ndarray]:
    """The file's outputs for `x`, both in our order of axes."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = turned(x.astype(np.float32), 0, 3, 1, 2)
    return [turned(found, 0, 2, 3, 1) for found in session.run(None, {"input": given})]


def exact(network: Network, x: np.ndarray) -> list[np.ndarray]:
    """The outputs on the float64 tape."""
    if isinstance(network, Module):
        network = copy.deepcopy(network).to(np.float64)
    with no_grad():
        result = network(Tensor(x.astype(np.float64)))
    return [out.data for out in (result if isinstance(result, tuple) else (result,))]


def compare(found: Iterable[np.ndarray], wanted: Iterable[np.ndarray], what: str) -> None:
    for i, (ours, reference) in enumerate(zip(found, wanted, strict=True)):
        assert ours.shape == reference.shape, f"{what}, output {i}"
        bound = TOLERANCE * np.abs(reference).max(initial=1e-3)
        assert np.abs(ours - reference).max(initial=0.0) <= bound, f"{what}, output {i}"


def check(network: Network, x: np.ndarray, what: str = "", sizes: tuple[int, ...] = (1, 3)) -> None:
    """Exported for the batch of `x`, and for any batch, run with batches of `sizes`."""
    compare(run(to_onnx(network, x.shape), x), exact(network, x), what)
    content = to_onnx(network, x.shape, any_batch=True) if sizes else b""
    for size in sizes:
        batch = np.resize(x, (size, *x.shape[1:]))
        compare(run(content, batch), exact(network, batch), f"{what}, any batch, with {size}")


# ---- operations -------------------------------------------------------------------------------------

#: Cases that ONNX cannot say, by operation and position in the table of gradient checks.
REFUSED = {("batch_norm", 0), ("batch_norm", 1), ("getitem", 2), ("getitem", 3)}


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_operation(name):
    """The table that drives the gradient checks; what is given after the first array is a constant."""
    for i, (function, (x, *others)) in enumerate(CASES[name]):
        constants = [Tensor(array.astype(np.float32)) for array in others]

        def network(x: Tensor, function: Any = function, constants: Any = constants) -> Tensor:
            return function(x, *constants)

        if (name, i) in REFUSED:
            with pytest.raises(TraceError):
                to_onnx(network, x.shape)
        elif name == "dropout":
            np.testing.assert_array_equal(run(to_onnx(network, x.shape), x)[0], x.astype(np.float32))
        else:
            check(network, x, f"case {i} of {name}", sizes=())


WHERE = np.array([True, False, True, True, False])
#: What works on maps that are there in ONNX's order: (N, 6, 7, 5).
ON_MAPS: dict[str, Network] = {
    "add a vector": lambda x: x + np.arange(5.0),
    "subtract from columns": lambda x: np.arange(35.0).reshape(7, 5) - x,
    "multiply by a map": lambda x: x * np.arange(42.0).reshape(1, 6, 7, 1),
    "by all of a map": lambda x: x * np.arange(210.0).reshape(1, 6, 7, 5),
    "squeeze and excite": lambda x: x * F.sigmoid(F.global_avg_pool2d(x)),
    "maximum": lambda x: F.maximum(x, 0.1),
    "where": lambda x: F.where(WHERE, x, -x),
    "where, by column": lambda x: F.where(np.tile(WHERE, 7).reshape(7, 5), x, 2.0),
    "clip, pow": lambda x: x.clip(-0.5, 0.7) ** 2,
    "silu": F.silu,
    "relu6": lambda x: F.relu6(10 * x),
    "leaky": lambda x: F.leaky_relu(x, 0.3),
    "slopes a channel": lambda x: F.prelu(x, np.arange(5.0) - 2),
    "softmax of channels": F.softmax,
    "softmax of rows": lambda x: F.softmax(x, 1),
    "log_softmax of columns": lambda x: F.log_softmax(x, -2),
    "sum of pixels": lambda x: x.sum((1, 2), keepdims=True) + x,
    "mean of pixels": lambda x: x.mean((1, 2)),
    "mean of channels": lambda x: x.mean(-1, keepdims=True) * x,
    "sum of channels": lambda x: x.sum(3),
    "concat of channels": lambda x: F.concat([x, -x]),
    "concat of rows": lambda x: F.concat([x, -x], 1),
    "slice of channels": lambda x: x[..., 1:4],
    "slice of columns": lambda x: x[:, :, 5:1:-2] + 1,
    "slice back to the start": lambda x: x[:, ::-1],
    "one row": lambda x: x[:, 2],
    "one row, axis kept": lambda x: x[:, -1, None] * 2,
    "axes moved": lambda x: x[:, None, 1, ..., 2],
    "an axis moved among four": lambda x: x[:, 1, :, None] + 1,
    "nothing cut": lambda x: x[...],
    "flatten": lambda x: x.reshape(x.shape[0], -1),
    "unflatten": lambda x: F.relu(x.reshape(x.shape[0], 3, 2, 35)),
    "to rows and back": lambda x: F.max_pool2d((2 * x.reshape(-1, 5)).reshape(-1, 6, 7, 5), 2),
    "transpose": lambda x: F.avg_pool2d(x.transpose(0, 3, 2, -3), 2),
    "linear": lambda x: F.linear(x, np.arange(10.0).reshape(2, 5), np.ones(2)),
    "matmul": lambda x: x @ np.arange(15.0).reshape(5, 3),
    "matmul of two": lambda x: x @ x.transpose(0, 1, 3, 2),
    "norm of rows": lambda x: F.batch_norm(x.reshape(-1, 42, 5), *np.arange(1.0, 21.0).reshape(4, 5)),
    "norm of vectors": lambda x: F.batch_norm(x[:, 0, 0], *np.arange(1.0, 21.0).reshape(4, 5)),
    "upsample by 3": lambda x: F.upsample_nearest(x, 3),
    "result of maps as weights": lambda x: F.conv2d(x, x.mean(0).reshape(2, 5, 3, 7), padding=3),
}


@pytest.mark.parametrize("name", ON_MAPS)
def test_operations_on_maps(name, rng):
    """Behind a convolution, so that the maps are there in ONNX's order; and on the tape's alone."""
    weight = Tensor(rng.normal(size=(5, 5, 1, 1)).astype(np.float32))
    x = rng.normal(size=(2, 6, 7, 5)).astype(np.float32)
    check(lambda x: ON_MAPS[name](F.conv2d(x, weight)), x, name)
    check(lambda x: ON_MAPS[name](x.reshape(-1, 6, 7, 5)), x, f"{name}, in our order")


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_ceil_mode_on_every_remainder(size, counts, rng):
    x = rng.normal(size=(2, size, 9, 3)).astype(np.float32) - 5  # a padding of zeros would win
    for kernel, stride, padding in ((2, 2, 1), (3, 2, 1), (3, 2, 0), (2, 3, 1), (4, 3, 2), (1, 3, 0)):
        sizes = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": True}
        check(lambda x, s=sizes: F.max_pool2d(x, **s), x, f"max {sizes}", ())
        check(lambda x, s=sizes: F.avg_pool2d(x, **s, count_include_pad=counts), x, f"average {sizes}", ())


def test_random_layers():
    for i, layer in enumerate(layers(150, seed=12)):
        if layer.training:
            continue
        given = [Tensor(array) for array in layer.arrays]
        act = ACTIVATIONS[layer.activation][0]
        x = np.random.default_rng(i).normal(size=layer.shape).astype(np.float32)
        any_size = () if layer.name == "linear" else (1, 3)  # its reshape is for one batch
        check(lambda x, layer=layer, given=given, act=act: layer.run(x, given, act), x, str(layer), any_size)


# ---- networks ---------------------------------------------------------------------------------------


def check_each(network: Module, x: np.ndarray, what: str) -> None:
    """For one picture, and for any number: every picture of `x` alone and all of them together."""
    wanted = exact(network, x)
    one, many = to_onnx(network, (1, *x.shape[1:])), to_onnx(network, x.shape, any_batch=True)
    compare(run(one, x[:1]), [maps[:1] for maps in wanted], f"{what}, one picture")
    compare(run(many, x[-1:]), [maps[-1:] for maps in wanted], f"{what}, any batch, one picture")
    compare(run(many, x), wanted, f"{what}, any batch")


def settled(network: Module, rng: np.random.Generator) -> Module:
    """The network in inference mode, its batch-norms with statistics as if it had been trained."""
    for key, buffer in network.eval().named_buffers():
        buffer.data[...] = rng.uniform(0.5, 1.5, buffer.shape) if key.endswith("var") else 0.1
    return network


@pytest.mark.parametrize("head", ["light", "shared"])
@pytest.mark.parametrize("name", CARDS)
def test_every_detector_of_the_zoo(name, head, rng):
    network = settled(CARDS[name].build(3, head=head, rng=np.random.default_rng(1)), rng)
    check_each(network, rng.normal(size=(3, 32, 64, 3)), name)


@pytest.mark.parametrize("kind", [TinyDarknet, DilatedDarknet])
@pytest.mark.parametrize("size", [(45, 61), (64, 33)])
def test_backbones_at_odd_sizes(kind, size, rng):
    network = settled(kind(rng=rng), rng)
    check_each(network, rng.normal(size=(3, *size, 3)), kind.__name__)


def test_the_digit_reader(rng):
    check_each(MnistNet(rng=rng), rng.uniform(size=(3, 28, 28, 1)), "MnistNet")


def small(rng: np.random.Generator) -> Sequential:
    norm, head = BatchNorm2d(8), Linear(8 * 30, 4, rng=rng)
    layers = (Conv2d(3, 8, 3, padding=1, bias=False, rng=rng), norm, ReLU(), Flatten(), head)
    return settled(Sequential(*layers), rng)


def test_weights_keep_their_names_and_values(rng):
    network = small(rng)
    model = onnx.load_from_string(to_onnx(network, (1, 5, 6, 3)))
    held = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(held[name], array)
    assert [node.op_type for node in model.graph.node].count("BatchNormalization") == 1
    assert {node.name for node in model.graph.node} >= {"0/Conv", "1/BatchNormalization", "4/Gemm"}


def test_a_shared_weight_is_written_once(rng):
    conv = Conv2d(4, 4, 3, padding=1, rng=rng)
    network = Sequential(conv, ReLU(), conv)
    model = onnx.load_from_string(to_onnx(network, (1, 5, 6, 4)))
    assert sorted(one.name for one in model.graph.initializer) == ["0.bias", "0.weight"]
    check(network, rng.normal(size=(1, 5, 6, 4)))


def test_the_normalisation_is_inside(rng):
    network = small(rng)
    x = rng.integers(0, 256, (1, 5, 6, 3)).astype(np.float32)
    content = to_onnx(network, x.shape, mean=114.0, scale=1 / 64)
    compare(run(content, x), exact(network, (x.astype(np.float64) - 114) / 64), "normalised")


def test_decode_is_computed_inside(rng):
    network, x = small(rng), rng.normal(size=(2, 5, 6, 3))
    content = to_onnx(network, x.shape, decode=lambda y: (F.softmax(y), y), outputs=("share", "score"))
    scores = exact(network, x)[0]
    compare(run(content, x), exact(lambda y: (F.softmax(y), y), scores), "decoded")
    names = [out.name for out in onnx.load_from_string(content).graph.output]
    assert names == ["share", "score"]


def test_dropout_is_gone(rng):
    network = Sequential(Conv2d(3, 4, 1, rng=rng), Dropout(0.5, rng=rng), ReLU()).train()
    content = to_onnx(network, (1, 5, 6, 3))
    assert operators(content) == ["Conv", "Relu", "Identity"]
    x = rng.normal(size=(1, 5, 6, 3))
    compare(run(content, x), exact(network.eval(), x), "without dropout")


def test_outputs_that_are_no_results_of_their_own(rng):
    """The input itself, a constant, one result twice and an inner one."""
    constant = Tensor(np.arange(6.0))

    def network(x: Tensor) -> tuple[Tensor, ...]:
        y = F.relu(x)
        return x, constant, y, y, y * 2

    x = rng.normal(size=(1, 5, 6, 3))
    compare(run(to_onnx(network, x.shape), x), exact(network, x), "odd outputs")


def test_shapes_operators_and_metadata(rng):
    content = to_onnx(small(rng), (1, 5, 6, 3), any_batch=True, metadata={"b": "2", "a": "1"})
    model = onnx.load_from_string(content)
    assert (model.ir_version, [s.version for s in model.opset_import]) == (IR_VERSION, [OPSET])
    assert {entry.key: entry.value for entry in model.metadata_props} == {"a": "1", "b": "2"}
    sizes = [
        [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim]
        for end in (*model.graph.input, *model.graph.output)
    ]
    assert sizes == [["batch", 3, 5, 6], ["batch", 4]]
    names = [name for node in model.graph.node for name in node.output]
    assert len(names) == len(set(names))


def test_the_same_network_gives_the_same_bytes(rng):
    network = small(rng)
    assert to_onnx(network, (1, 5, 6, 3)) == to_onnx(network, (1, 5, 6, 3))


def operators(content: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(content).graph.node]


def test_axes_are_moved_only_where_they_must(rng):
    """A detector's file stays in ONNX's order from end to end, a classifier's behind its global pool too."""
    detector = CARDS["yolo-nano"].build(3, head="shared", rng=rng).eval()
    content = to_onnx(detector, (1, 64, 64, 3), mean=114.0, scale=1 / 64)
    assert not {"Transpose", "Reshape"} & set(operators(content))
    classifier = Sequential(GlobalAvgPool2d(), Flatten(), Linear(3, 2, rng=rng))
    assert operators(to_onnx(classifier, (1, 5, 6, 3))) == [
        "GlobalAveragePool", "Reshape", "Reshape", "Gemm", "Identity",
    ]  # fmt: skip


# ---- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(bad, rng):
    network = small(rng)
    network.state_dict()["1.running_mean"][3] = bad
    with pytest.raises(WeightsError, match=r"1\.running_mean: a weight that is NaN or infinite"):
        to_onnx(network, (1, 5, 6, 3))


def test_training_mode(rng):
    with pytest.raises(TraceError, match=r"^1: a batch-norm in training mode .*network\.eval\(\)"):
        to_onnx(small(rng).train(), (2, 5, 6, 3))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (lambda x: x[:2], "a part of it is taken"),
        (lambda x: x[0], "a part of it is taken"),
        (lambda x: x + np.zeros((x.shape[0], 1)), "part of a constant"),
        (lambda x: (x @ x.transpose(1, 0)).reshape(x.shape[0], 1, x.shape[0]), "says nothing"),
    ],
)
def test_what_needs_a_batch_of_fixed_size(network, reason):
    to_onnx(network, (4, 2))
    with pytest.raises(TraceError, match=f"{reason}.*batch of fixed size"):
        to_onnx(network, (4, 2), any_batch=True)


@pytest.mark.parametrize("index", [([0, 2],), (True,), (np.array([0, 1]),)])
def test_lists_and_masks_as_positions(index):
    with pytest.raises(TraceError, match="only slices and single positions"):
        to_onnx(lambda x: x[index], (3, 4))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(FileError, match=r"pip install 'visionkit\[onnx\]'"):
        to_onnx(F.relu, (1, 4))
