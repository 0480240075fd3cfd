"""Networks of Caffe: built, compared, trained, saved, exported, refused (torture W11, W14)."""

from pathlib import Path

import numpy as np
import pytest

from tests.models import caffe_net
from tests.weights.caffe_writer import caffemodel
from visionkit import functional as F
from visionkit.errors import UnknownNameError, UsageError, WeightsError
from visionkit.graph import compile  # noqa: A004
from visionkit.graph.onnx import to_onnx
from visionkit.models.caffe import CaffeNetwork, load, load_caffe, save
from visionkit.nn import Conv2d, Dropout
from visionkit.tensor import Tensor
from visionkit.weights import prototxt, safetensors
from visionkit.weights.prototxt import parse


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The description with every layer, and its weights."""
    description, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    description.write_text(caffe_net.DESCRIPTION)
    weights.write_bytes(caffe_net.weights())
    return description, weights


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 9, 12, 3)).astype(np.float32)


def by_hand(x: np.ndarray) -> np.ndarray:
    """What DESCRIPTION computes, layer by layer in float64, from the arrays that were written."""
    given = {name: [a.astype(np.float64) for a in arrays] for name, _, arrays in caffe_net.layers()}

    def norm(x: Tensor, name: str, eps: float, scale: list[np.ndarray]) -> Tensor:
        mean, variance, weight = given[name]
        x = (x - mean / weight) / Tensor(np.sqrt(variance / weight + eps))
        return x * scale[0] + (scale[1] if len(scale) > 1 else 0.0)

    x = F.leaky_relu(F.conv2d(Tensor(x.astype(np.float64)), *given["conv1"], padding=1), 0.1)
    x = F.max_pool2d(x, 2, 2, ceil_mode=True)
    x = F.conv2d(x, *given["dw"], padding=(1, 0), groups=8)
    x = F.prelu(norm(x, "dw/bn", 1e-5, given["dw/scale"]), *given["dw/prelu"])
    wide = F.conv2d(x, *given["wide"], padding=2, dilation=2, groups=2)
    cat = F.concat([wide, F.avg_pool2d(x, 3, 1, 1)])
    x = cat + norm(cat, "bn", 1e-3, given["scale"])
    rows = x.data.transpose(0, 3, 1, 2).reshape(len(x), -1)  # Caffe's order of the features
    weight, bias = given["fc"]
    return F.softmax(np.tanh(rows @ weight.T + bias) @ given["fc2"][0].T).data


@pytest.mark.parametrize("form", [{}, {"v1": True, "legacy": True}, {"packed": False}, {"double": True}])
def test_the_network_is_the_described_one(
    form: dict[str, bool], files: tuple[Path, Path], pictures: np.ndarray
) -> None:
    files[1].write_bytes(caffe_net.weights(**form))
    network = load_caffe(*files)
    assert network.outputs == ("prob",)
    assert network.input == "data"
    assert not network.training
    exact = by_hand(pictures)
    np.testing.assert_allclose(network(Tensor(pictures)).data, exact, atol=2e-6)
    np.testing.assert_allclose(
        network.to(np.float64)(Tensor(pictures.astype(np.float64))).data, exact, atol=1e-6
    )


def test_plans_in_both_directions(files: tuple[Path, Path], pictures: np.ndarray) -> None:
    """A training plan's gradients are the tape's, for every parameter that a file's layer trains."""
    network = load_caffe(*files).train()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    seed = np.random.default_rng(2).normal(size=(2, 4)).astype(np.float32)
    plan = compile(network, pictures.shape, training=True)
    plan.forward(pictures)
    plan.backward((seed,))
    found = {name: p.grad.copy() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    network(Tensor(pictures)).backward(seed)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            size = np.abs(parameter.grad).max()
            np.testing.assert_allclose(found[name], parameter.grad, atol=2e-5 * size, err_msg=name)
    still = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert still == {"bn.weight", "bn.bias", "scale.bias"}  # a BatchNorm of Caffe has no factors of its own
    assert {"dw/bn.weight", "dw/bn.bias", "scale.weight", "dw/prelu.weight"} <= found.keys()


def test_stored_statistics_stay_where_the_description_says_so(
    files: tuple[Path, Path], pictures: np.ndarray
) -> None:
    network = load_caffe(*files).train()
    before = {name: tensor.data.copy() for name, tensor in network.named_buffers()}
    network(Tensor(pictures))
    moved = {name for name, t in network.named_buffers() if not np.array_equal(t.data, before[name])}
    assert moved == {"bn.running_mean", "bn.running_var"}  # dw/bn has use_global_stats


def test_saved_and_loaded_again(files: tuple[Path, Path], pictures: np.ndarray, tmp_path: Path) -> None:
    """Torture W16: the same bits, with the outputs that were asked for."""
    network = load_caffe(*files, outputs=["dw", "prob"])
    network.layers["conv1"].weight.data[...] *= 1.5  # what fine-tuning does
    path = tmp_path / "net.safetensors"
    save(path, network)
    again = load(path)
    assert again.outputs == ("dw", "prob")
    for found, wanted in zip(again(Tensor(pictures)), network(Tensor(pictures)), strict=True):
        np.testing.assert_array_equal(found.data, wanted.data)
    for damage in ({"description": "layer {"}, {"size": "[0, 4]"}, {"size": "[Infinity, 4]"}, {"size": "4"},
                   {"outputs": '["x"]'}, {"architecture": "yolo-nano"}):  # fmt: skip
        tensors, metadata = safetensors.read(path)
        safetensors.write(tmp_path / "bad.safetensors", tensors, metadata | damage)
        with pytest.raises(WeightsError, match=r"bad\.safetensors"):
            load(tmp_path / "bad.safetensors")
    tensors.pop("conv1.bias")
    safetensors.write(tmp_path / "bad.safetensors", tensors, metadata)
    with pytest.raises(WeightsError, match=r"missing conv1\.bias"):
        load(tmp_path / "bad.safetensors")


def test_exported(files: tuple[Path, Path], pictures: np.ndarray) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    network = load_caffe(*files, outputs=["cat", "prob"])
    session = onnxruntime.InferenceSession(to_onnx(network, pictures.shape, outputs=network.outputs))
    maps, rows = session.run(None, {"input": pictures.transpose(0, 3, 1, 2)})
    wanted = network(Tensor(pictures))
    np.testing.assert_allclose(maps.transpose(0, 2, 3, 1), wanted[0].data, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows, wanted[1].data, rtol=1e-4, atol=1e-6)


def test_a_description_alone_starts_at_random() -> None:
    text = caffe_net.DESCRIPTION
    one, two, other = (CaffeNetwork(parse(text), seed=seed).state_dict() for seed in (0, 0, 1))
    assert np.array_equal(one["wide.weight"], two["wide.weight"])
    assert not np.array_equal(one["wide.weight"], other["wide.weight"])


def test_descriptions_of_the_first_versions(tmp_path: Path) -> None:
    """`layers`, types as words, rates beside them, four numbers as the input's size."""
    text = """input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
    layers { bottom: "data" top: "c" name: "c" type: CONVOLUTION blobs_lr: 1 blobs_lr: 2 weight_decay: 1
      convolution_param { num_output: 3 kernel_size: 1 } }
    layers { bottom: "c" top: "c" name: "r" type: RELU }
    layers { bottom: "c" top: "f" name: "f" type: INNER_PRODUCT inner_product_param { num_output: 2 } }"""
    new = text.replace("layers", "layer").replace("CONVOLUTION", '"Convolution"').replace("RELU", '"ReLU"')
    new = new.replace("INNER_PRODUCT", '"InnerProduct"')
    x = Tensor(np.ones((1, 4, 4, 2), np.float32))
    np.testing.assert_array_equal(CaffeNetwork(parse(text))(x).data, CaffeNetwork(parse(new))(x).data)


def test_other_sizes(files: tuple[Path, Path], pictures: np.ndarray) -> None:
    """Convolutions take any picture; what is fully connected belongs to one size."""
    larger = np.random.default_rng(3).normal(size=(1, 17, 20, 3)).astype(np.float32)
    assert load_caffe(*files, outputs=["cat"], size=(9, 12))(Tensor(pictures)).shape == (2, 5, 6, 14)
    with pytest.raises(
        WeightsError, match=r"'fc' needs weights of shapes \[10, 1260\], \[10\], the file has "
    ):
        load_caffe(*files, size=(17, 20))
    text = caffe_net.DESCRIPTION[: caffe_net.DESCRIPTION.index('layer { name: "fc"')]
    network = CaffeNetwork(parse(text))
    assert network(Tensor(larger)).shape == (1, 9, 10, 14)
    with pytest.raises(UsageError, match="height and width"):
        CaffeNetwork(parse(text), size=(0, 5))


def test_outputs_by_name(files: tuple[Path, Path]) -> None:
    with pytest.raises(UnknownNameError, match=r"no such blob.*'scale'.*[Dd]id you mean scaled"):
        load_caffe(*files, outputs=["scale"])


def test_weights_of_another_network(files: tuple[Path, Path]) -> None:
    """Torture W11: all names at once; shapes with both sides and both places."""
    layers = caffe_net.layers()
    files[1].write_bytes(caffemodel([("conv9", "", [np.ones(2)]), *layers[2:]]))
    with pytest.raises(WeightsError, match=r"3 layers.*missing conv1; missing dw; unexpected conv9"):
        load_caffe(*files)
    files[1].write_bytes(caffemodel([*layers, ("loss1/fc", "", [np.ones(2)])]))
    with pytest.raises(WeightsError, match=r"unexpected loss1/fc.*allow_extra"):
        load_caffe(*files)
    load_caffe(*files, allow_extra=True)
    for change in (
        lambda blobs: [blobs[0][:, :2], blobs[1]],
        lambda blobs: blobs[:1],
        lambda blobs: [*blobs, blobs[1]],
        lambda blobs: [blobs[0][:7], blobs[1][:7]],
    ):
        changed = [(name, kind, change(b) if name == "conv1" else b) for name, kind, b in layers]
        files[1].write_bytes(caffemodel(changed))
        with pytest.raises(WeightsError, match=r"line 4, column 7: layer 'conv1' needs weights of shapes "
                           r"\[8, 3, 3, 3\], \[8\], the file has .* at byte 7"):  # fmt: skip
            load_caffe(*files)


def test_variances_that_cannot_be(files: tuple[Path, Path]) -> None:
    """Torture W06; a weight of 0 means that nothing was collected, and variances of 0, as in Caffe."""
    for weight, variance, fails in ((1.0, -0.1, True), (1.0, 0.0, False), (0.0, 5.0, False)):
        layers = caffe_net.layers()
        layers[2] = ("dw/bn", "BatchNorm", [np.ones(8), np.full(8, variance), np.array([weight])])
        files[1].write_bytes(caffemodel(layers))
        if fails:
            with pytest.raises(WeightsError, match=r"line 11, .*variance -0.1\d* .*not positive"):
                load_caffe(*files)
        else:
            np.testing.assert_array_equal(load_caffe(*files).layers["dw/bn"].running_var.data, 0)


def conv(more: str) -> str:
    return layer("Convolution", f"convolution_param {{ num_output: 2 {more} }}")


HEAD = 'input: "x" input_dim: 1 input_dim: 4 input_dim: 8 input_dim: 8\n'


def layer(kind: str, more: str = "", bottom: str = "x", top: str = "y", name: str = "l") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {more} }}\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEAD, "without layers"),
        (layer("ReLU"), "expected one input"),
        (HEAD + 'input: "z"' + layer("ReLU"), "expected one input"),
        ('input: "x" input_shape { dim: 1 dim: 3 }' + layer("ReLU"), "expected one input of four sizes"),
        (HEAD.replace("4", "0") + layer("ReLU"), "input_dim: expected 1 to"),
        (HEAD + "layer { }", "line 2, column 7: a layer needs one type"),
        (HEAD + layer("Crop"), "line 2, .*unsupported layer .found 'Crop'.*Supported are BatchNorm"),
        (HEAD + layer("SoftmaxWithLoss"), "unsupported layer"),
        (HEAD + layer("ReLU", "include { phase: TRAIN }"), "meant for training"),
        (HEAD + 'layers { layer { name: "a" type: "conv" } }', r"before 2013 \(V0\).*upgrade_net_proto_text"),
        (HEAD + layer("ReLU", name=""), "name of its own"),
        (HEAD + layer("ReLU") + layer("ReLU", bottom="y"), "line 3, .*name of its own .found 'l'"),
        (HEAD + layer("ReLU", bottom="z"), "no layer above makes this blob .found 'z'"),
        (HEAD + layer("ReLU") + layer("TanH", name="m"), "another layer makes this blob, too .found 'y'"),
        (HEAD + layer("ReLU", 'bottom: "x"'), "ReLU with 2 bottoms and 1 tops"),
        (HEAD + layer("ReLU", 'top: "z"'), "ReLU with 1 bottoms and 2 tops"),
        (HEAD + layer("ReLU", "prelu_param { }"), "unknown field .found 'prelu_param'"),
        (HEAD + layer("ReLU", "relu_param { slope: 1 }"), "field .found 'slope'.*Known are engine, neg"),
        (HEAD + layer("Convolution"), "num_output is missing"),
        (HEAD + layer("Convolution", "convolution_param { num_output: 0 }"), "num_output: expected 1 to"),
        (HEAD + conv(""), "kernel_size must be given"),
        (HEAD + conv("kernel_h: 2"), "both kernel_h and kernel_w"),
        (HEAD + conv("kernel_size: 3 group: 4"), "do not divide"),
        (HEAD + conv("kernel_size: 9"), "layer 'l': .*exceeds"),
        (HEAD + conv("kernel_size: 3 stride: 0"), "expected 1 to"),
        (HEAD + layer("Convolution", "convolution_param { num_output: 1000000 kernel_size: 2000 pad: 2000 }"),
         "needs 64,000,004,000,000 bytes of weights"),
        (HEAD + layer("InnerProduct", "inner_product_param { num_output: 2 transpose: 1 }"), "transpose"),
        (HEAD + layer("InnerProduct", "inner_product_param { num_output: 2 axis: 2 }"), "only axis: 1"),
        (HEAD + layer("BatchNorm", "batch_norm_param { eps: -1 }"), "eps must not be negative"),
        (HEAD + layer("PReLU", "prelu_param { channel_shared: true }"), "one slope for all channels"),
        (HEAD + layer("Pooling", "pooling_param { pool: STOCHASTIC }"), "expected one of MAX, AVE"),
        (HEAD + layer("Pooling", "pooling_param { kernel_size: 3 pad: 2 }"), "layer 'l': .*half the kernel"),
        (HEAD + layer("Concat", "concat_param { axis: 2 }"), "only axis: 1"),
        (HEAD + layer("Eltwise", "eltwise_param { coeff: -1 }"), "only coefficients of 1"),
        (HEAD + layer("Pooling", "pooling_param { kernel_size: 2 }", top="z")
         + layer("Eltwise", 'bottom: "z"', name="m"), "line 3, .*sum of maps of different shapes"),
        (HEAD + layer("Pooling", "pooling_param { kernel_size: 2 }", top="z")
         + layer("Concat", 'bottom: "z"', name="m"), "line 3, .*differ outside axis"),
        (HEAD + layer("InnerProduct", "inner_product_param { num_output: 2 }", top="z")
         + layer("Pooling", "pooling_param { global_pooling: true }", "z", name="m"), "pooling needs maps"),
        (HEAD + layer("Dropout", "dropout_param { dropout_ratio: 1 }"), "dropout_ratio lies"),
    ],
)  # fmt: skip
def test_what_a_description_may_not_ask_for(text: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        CaffeNetwork(parse(text, "net.prototxt"))
    assert str(caught.value).startswith("net.prototxt: line ")


def test_global_pools_and_other_joins() -> None:
    text = HEAD + "".join([
        layer("Pooling", "pooling_param { pool: MAX global_pooling: true }", top="max", name="a"),
        layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", top="mean", name="b"),
        layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 round_mode: 1 }", top="floor", name="c"),
        layer("Eltwise", 'bottom: "mean" eltwise_param { operation: PROD }', "max", "product", "d"),
        layer("Eltwise", 'bottom: "mean" eltwise_param { operation: MAX }', "product", "most", "e"),
        layer("Sigmoid", "", "most", "gate", "f"),
    ])  # fmt: skip
    network = CaffeNetwork(parse(text), outputs=["product", "gate", "floor"])
    x = np.random.default_rng(4).normal(size=(2, 5, 8, 4)).astype(np.float32)
    product, gate, floor = (t.data for t in network(Tensor(x)))
    largest, mean = x.max((1, 2), keepdims=True), x.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(product, largest * mean, rtol=1e-5)
    np.testing.assert_allclose(gate, 1 / (1 + np.exp(-np.maximum(product, mean))), rtol=1e-5)
    assert floor.shape == (2, 2, 3, 4)


def test_a_scale_that_others_must_not_see_stays_apart() -> None:
    """A Scale is part of the BatchNorm before it only where it takes its place."""
    conv = "convolution_param { num_output: 4 kernel_size: 1 }"
    for top, count in (("n", 2), ("s", 3)):
        text = HEAD + layer("Convolution", conv, top="c", name="c") + layer("BatchNorm", "", "c", "n", "n")
        text += layer("Scale", "scale_param { bias_term: true }", "n", top, "s")
        network = CaffeNetwork(parse(text), outputs=["n", top])
        assert len(network.layers) == count
        network.layers["n" if top == "n" else "s"].weight.data[...] = 2
        x = Tensor(np.random.default_rng(5).normal(size=(1, 3, 3, 4)).astype(np.float32))
        before, after = network(x)
        np.testing.assert_allclose(after.data, before.data * (1 if top == "n" else 2), rtol=1e-6)
        assert isinstance(network.layers["c"], Conv2d)


def test_openpose_is_described_exactly(real_data: Path) -> None:
    """As many parameters as the published files hold: 104.7 and 209.3 MB; MPI's has two stages more."""
    for name, millions in (("body_25", 26.2), ("linevec_coco", 52.3), ("mpi_4_stages", 34.2)):
        path = real_data / "structures" / "openpose" / f"pose_deploy_{name}.prototxt"
        network = CaffeNetwork(prototxt.read(path))
        assert network.outputs == ("net_output",)
        assert sum(p.size for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1), name
