"""`visionkit export`: the file, what is printed, and what is refused."""

import sys
from pathlib import Path

import pytest

REASON = "not installed: pip install 'visionkit[onnx]'"
onnx = pytest.importorskip("onnx", reason=f"onnx is {REASON}")
pytest.importorskip("onnxruntime", reason=f"onnxruntime is {REASON}")


def shapes(path: Path) -> dict[str, list[int | str]]:
    """Sizes of input and outputs by name."""
    graph = onnx.load(path).graph
    return {
        end.name: [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim]
        for end in (*graph.input, *graph.output)
    }


def test_raw_maps_at_the_networks_own_size(visionkit, weights, tmp_path):
    ran = visionkit("export", "--weights", weights, "--to", "onnx", "--out", tmp_path / "a.onnx")
    assert ran.code == 0, ran.err
    assert ran.last == str(tmp_path / "a.onnx")
    assert "input   input: float32 1x3x64x64\n" in ran.out
    assert "output  map_2: float32 1x24x2x2\n" in ran.out
    assert "onnxruntime agrees to" in ran.out
    assert shapes(tmp_path / "a.onnx") == {
        "input": [1, 3, 64, 64], "map_0": [1, 24, 8, 8], "map_1": [1, 24, 4, 4], "map_2": [1, 24, 2, 2],
    }  # fmt: skip


@pytest.mark.parametrize(("batch", "size"), [("dynamic", "batch"), ("3", 3)])
def test_every_flag(visionkit, weights, tmp_path, batch, size, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = visionkit(
        "export", "--weights", weights, "--to", "onnx", "--out", "b.onnx", "--size", "64x96",
        "--batch", batch, "--decoded",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.last == str(tmp_path / "b.onnx")
    places = 3 * (8 * 12 + 4 * 6 + 2 * 3)
    assert shapes(tmp_path / "b.onnx") == {
        "input": [size, 3, 64, 96], "boxes": [size, places, 4], "scores": [size, places, 3],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--to", "onnx"], "--out"),
        (["--out", "a.onnx"], "--to"),
        (["--to", "onyx", "--out", "a.onnx"], "did you mean onnx"),
        (["--to", "onnx", "--out", "a.pt"], "ends in .onnx"),
        (["--to", "onnx", "--out", "a.onnx", "--batch", "0"], "whole number 1 to 4096"),
        (["--to", "onnx", "--out", "a.onnx", "--batch", "dynamik"], "whole number 1 to 4096"),
        (["--to", "onnx", "--out", "a.onnx", "--size", "100"], "multiples of 32"),
    ],
)
def test_wrong_usage(visionkit, weights, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    ran = visionkit("export", "--weights", weights, *flags)
    assert ran.code == 2
    assert said in ran.err
    assert not list(tmp_path.iterdir())


def test_an_old_file_stays_whole(visionkit, weights, tmp_path, monkeypatch):
    target = tmp_path / "a.onnx"
    target.write_bytes(b"the former version")
    monkeypatch.setitem(sys.modules, "onnx", None)
    ran = visionkit("export", "--weights", weights, "--to", "onnx", "--out", target)
    assert ran.code == 5
    assert "pip install 'visionkit[onnx]'" in ran.err
    assert target.read_bytes() == b"the former version"
    ran = visionkit("export", "--weights", weights, "--to", "onnx", "--out", tmp_path)
    assert ran.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_weights_that_do_not_exist(visionkit, tmp_path):
    ran = visionkit("export", "--weights", "yolo-nano-persn", "--to", "onnx", "--out", tmp_path / "a.onnx")
    assert ran.code == 2
    assert "Did you mean yolo-nano-person" in ran.err
