"""A network as an ONNX file, run once by onnxruntime and compared before it is written."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TraceError, UsageError
from ..graph import compile as compile_network
from ..graph.onnx import missing, to_onnx
from ..nn import Module
from ..tensor import Tensor, no_grad
from ..vision.dense import predictions
from ..vision.heatmaps import HeatmapCodec
from ..weights.files import StrPath, atomic_write
from .info import DetectorInfo
from .pose_info import PoseInfo
from .validation import inference_mode

#: Largest difference to our own result, of the largest value or 1: both round; a wrong graph is far off.
TOLERANCE = 1e-4

#: From the network's maps to what the graph gives.
Decode = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: the file, absolute.
        inputs, outputs: shapes by name; "batch" where any number goes.
        difference: of onnxruntime's result to ours on random pictures, of the largest value or 1.
    """

    path: Path
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    difference: float


def export_onnx(
    network: Module,
    info: DetectorInfo | PoseInfo,
    path: StrPath,
    *,
    size: tuple[int, int] | None = None,
    batch: int | None = 1,
    decoded: bool = False,
) -> Exported:
    """Write a detector, or a network of poses, as an ONNX file, whole or not at all.

    The input is (N, 3, H, W) float32, RGB 0 to 255, letterboxed or cropped by the caller; the normalisation
    is inside. The metadata holds what `from_metadata` of the description reads, and the layout of input and
    outputs.

    Args:
        network: the network with its weights.
        info: its description.
        path: of the file, ending in .onnx.
        size: input size (height, width) instead of the description's.
        batch: pictures at a time; None for any number.
        decoded: give boxes and scores (see `visionkit.vision.dense.predictions`) instead of raw maps, which
            are map_0, map_1, ... (N, channels, h, w), one a level. Networks of poses give the raw maps of
            their last stage, heatmaps (N, points, h, w) and, for many people, fields (N, 2 * limbs, h, w).

    Raises:
        UsageError, ShapeError: another suffix, a size that is no multiple of the stride, poses decoded.
        WeightsError: a weight that is NaN or infinite.
        TraceError: the network cannot be exported, or onnxruntime computes something else.
        FileError: the packages onnx and onnxruntime are missing, or the file cannot be written.
    """
    if Path(path).suffix != ".onnx":
        raise UsageError("an ONNX file ends in .onnx", value=str(path))
    info = replace(info, input_size=size or info.input_size)
    outputs, decode = _poses(info, decoded) if isinstance(info, PoseInfo) else _boxes(info, decoded)
    shape = (batch or 2, *info.input_size, 3)
    with inference_mode(network):
        content = to_onnx(
            network, shape, any_batch=batch is None, mean=info.mean, scale=info.scale, decode=decode,
            outputs=list(outputs), metadata=info.to_metadata() | _layout(outputs),
        )  # fmt: skip
        session = _session(content)
        plan = compile_network(network, shape, mean=info.mean, scale=info.scale)
    pictures = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    with no_grad():
        wanted = decode([Tensor(values) for values in plan.forward(pictures)])
    found = session.run(None, {"input": pictures.transpose(0, 3, 1, 2)})
    difference = max(_difference(a, b.data) for a, b in zip(found, wanted, strict=True))
    if not difference <= TOLERANCE:
        raise TraceError("onnxruntime computes something else from the exported network", value=difference)
    atomic_write(path, content)
    inputs, results = (
        {end.name: tuple(end.shape) for end in ends} for ends in (session.get_inputs(), session.get_outputs())
    )
    return Exported(Path(path).absolute(), inputs, results, difference)


def _boxes(info: DetectorInfo, decoded: bool) -> tuple[dict[str, str], Decode]:
    """What each output of a detector holds, by name, and how it comes of the network's maps."""
    codec = info.codec()
    codec.map_sizes(info.input_size)
    if decoded:
        outputs = {
            "boxes": "(N, boxes, 4) xyxy in input pixels, not suppressed",
            "scores": "(N, boxes, classes) objectness times class score, 0 to 1",
        }
        return outputs, lambda maps: predictions(codec, maps)
    what = "(N, anchors * (x, y, w, h, objectness, classes), h, w) before any activation, stride"
    return {f"map_{i}": f"{what} {stride}" for i, stride in enumerate(info.strides)}, tuple


def _poses(info: PoseInfo, decoded: bool) -> tuple[dict[str, str], Decode]:
    """The same of a network of poses: the maps of its last stage."""
    if decoded:
        raise UsageError("poses are decoded outside of the graph", remedy="leave out --decoded")
    codec = info.codec()
    (codec if isinstance(codec, HeatmapCodec) else codec.heatmaps).map_size(info.input_size)
    points = "points and background" if info.background else "points"
    outputs = {
        "heatmaps": f"(N, {points}, h, w) 1 at a point, stride {info.stride}",
        "fields": f"(N, limbs * (x, y), h, w) unit vectors along limbs, stride {info.stride}",
    }
    count = len(info.channels)
    return dict(list(outputs.items())[:count]), lambda maps: tuple(maps[-count:])


def _layout(outputs: dict[str, str]) -> dict[str, str]:
    """How the graph is to be fed and read, for its metadata."""
    given = {
        "name": "input",
        "layout": "NCHW",
        "dtype": "float32",
        "channels": "RGB",
        "range": [0, 255],
        "normalisation": "inside the graph",
    }
    return {"input": json.dumps(given), "outputs": json.dumps(outputs)}


def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing(error) from None
    onnxruntime.disable_telemetry_events()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def _difference(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference, of the largest value or 1; raw maps are (N, C, h, w) in `found`."""
    if found.ndim == 4:
        found = found.transpose(0, 2, 3, 1)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max(initial=1.0))
