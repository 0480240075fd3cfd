"""Weight files of all Caffe versions, read number for number, and broken ones (torture W06, W07, W14)."""

from pathlib import Path

import numpy as np
import pytest

from tests.weights.caffe_writer import blob, caffemodel, integer, stretch, varint
from visionkit.errors import FileError, WeightsError
from visionkit.weights import caffe

RNG = np.random.default_rng(0)
LAYERS = [
    (
        "conv",
        "Convolution",
        [RNG.normal(size=(4, 3, 2, 1)).astype(np.float32), RNG.normal(size=4).astype("f4")],
    ),
    ("fc/1", "InnerProduct", [RNG.normal(size=(5, 7)).astype(np.float32)]),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.caffemodel"


@pytest.mark.parametrize("v1", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_every_form(path: Path, v1: bool, legacy: bool, packed: bool, double: bool) -> None:
    path.write_bytes(caffemodel(LAYERS, v1=v1, legacy=legacy, packed=packed, double=double))
    found = caffe.read(path)
    assert list(found) == ["conv", "fc/1"]
    for name, _, arrays in LAYERS:
        assert len(found[name].blobs) == len(arrays)
        for read, written in zip(found[name].blobs, arrays, strict=True):
            assert read.dtype == np.float32
            assert read.shape == ((1,) * (4 - written.ndim) if legacy else ()) + written.shape
            np.testing.assert_array_equal(read.reshape(written.shape), written)


def test_double_numbers_win_and_gradients_are_passed_over(path: Path) -> None:
    """As Caffe reads a blob that has both; `diff` is no weight."""
    inside = (
        stretch(6, bytes(12)) + stretch(9, bytes(16)) + blob(np.ones(2)) + blob(np.full(2, 3.5), double=True)
    )
    path.write_bytes(stretch(100, stretch(1, "a") + stretch(7, inside)))
    np.testing.assert_array_equal(caffe.read(path)["a"].blobs[0], [3.5, 3.5])


def test_numbers_in_several_runs(path: Path) -> None:
    """Protobuf allows packed runs and single numbers to follow each other."""
    runs = b"".join(stretch(5, np.float32(part).tobytes()) for part in ([1, 2], [3], []))
    inside = runs + b"\x2d" + np.float32(4).tobytes() + stretch(7, stretch(1, b"\x02\x02"))
    path.write_bytes(stretch(100, stretch(7, inside) + stretch(1, "name after the numbers")))
    np.testing.assert_array_equal(caffe.read(path)["name after the numbers"].blobs[0], [[1, 2], [3, 4]])


def test_a_real_file(real_data: Path) -> None:
    folder = real_data / "weights" / "mobilenet-yolo" / "yoloface50k-landmark106" / "caffemodel"
    found = caffe.read(folder / "landmark106.caffemodel")
    kinds = {len(layer.blobs) for layer in found.values()}
    assert (len(found), kinds) == (140, {1, 2, 3})
    assert found["conv1_conv2d"].blobs[0].shape == (8, 3, 3, 3)
    assert found["conv6_3"].blobs[0].shape == (212, 256)


def refused(path: Path, content: bytes, match: str) -> None:
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=match) as caught:
        caffe.read(path)
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)


def layer(*parts: bytes, name: str = "a") -> bytes:
    return stretch(100, stretch(1, name) + b"".join(stretch(7, part) for part in parts))


def dims(*sizes: int) -> bytes:
    return stretch(7, stretch(1, b"".join(varint(n % 2**64) for n in sizes)))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (layer(dims(3) + stretch(5, bytes(8))), r"blobs\[0\]: 2 numbers do not fill the shape \[3\]"),
        (layer(dims(2**31 - 1, 2**31 - 1) + stretch(5, bytes(8))), "2 numbers do not fill"),
        (layer(dims(2**62, 4) + stretch(5, bytes(8))), "do not fill the shape"),
        (layer(dims(-1, -2) + stretch(5, bytes(8))), "do not fill the shape"),
        (layer(dims(0)), r"0 numbers do not fill the shape \[0\]"),
        (layer(b""), r"0 numbers do not fill the shape \[0\]"),
        (layer(dims(*[1] * 33) + stretch(5, bytes(4))), "more than 32 axes"),
        (layer(dims(1, 1) + integer(1, 2)), "0 numbers"),
        (layer(dims(2) + stretch(5, bytes(7))), "data: 7 bytes are no numbers of 4 bytes each"),
        (layer(dims(1) + integer(5, 3)), "data: expected a stretch of bytes, this is an integer"),
        (stretch(100, stretch(1, "a") + integer(7, 1)), r"layer\[0\]: blobs\[0\]: expected a stretch"),
        (stretch(100, stretch(1, "a" * 1001)), "a text of 1,001 bytes"),
        (
            stretch(2, stretch(1, stretch(1, "conv"))),
            r"byte 2 in layers\[0\]: .*before 2013 \(V0\).*upgrade_net_proto_binary",
        ),
        (layer(blob(np.ones(1)), name=""), "a layer with weights has no name"),
        (layer(blob(np.ones(1))) * 2, "byte 19: a layer with weights has the name 'a' as another one"),
        (stretch(1, "net") + stretch(100, stretch(1, "relu")), "no layer has weights .1 layers"),
        (b"", "no layer has weights .0 layers in 0 bytes"),
        (integer(1, 5000) + stretch(2, "snapshot"), "name: expected a stretch of bytes"),  # a .solverstate
        (b'input: "data"\nlayer { }', "byte 0: field 13 is 8 bytes|unknown kind|needs|group"),
        (b"<!DOCTYPE html><title>404</title>", "HTML page"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PK\x03\x04", "ZIP archive"),
        (b"\x80\x02c__builtin__\n", "pickle.*never loaded"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer"),
    ],
)
def test_what_is_refused(path: Path, content: bytes, match: str) -> None:
    refused(path, content, match)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_not_finite(path: Path, value: float) -> None:
    """Torture W06: the layer and the number; 1e300 becomes infinity as float32."""
    weights = np.ones((3, 4))
    weights[1, 2] = value
    layers = [("first", "", [np.ones(3)]), ("second", "", [np.ones(1), weights])]
    content = caffemodel(layers, double=True)
    refused(path, content, "layer 'second', blob 1, number 6: a weight is not finite")
    assert not np.isfinite(caffe.read(path, allow_nonfinite=True)["second"].blobs[1][1, 2])


@pytest.mark.parametrize("form", [{}, {"v1": True, "legacy": True}, {"packed": False}])
def test_a_file_cut_anywhere_is_refused_or_ends_between_layers(path: Path, form: dict[str, bool]) -> None:
    """Torture W01: no cut gives other numbers; a cut between two layers leaves a layer out."""
    small = [("a", "Convolution", [np.arange(4.0)]), ("b", "Convolution", [np.ones((2, 1))])]
    whole = caffemodel(small, **form)
    path.write_bytes(whole)
    exact, survived = caffe.read(path), 0
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        try:
            found = caffe.read(path)
        except WeightsError:
            continue
        survived += 1
        assert list(found) == ["a"]
        np.testing.assert_array_equal(found["a"].blobs[0], exact["a"].blobs[0])
    assert survived == 1


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(FileError, match=r"net\.caffemodel"):
        caffe.read(path)
