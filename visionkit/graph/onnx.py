"""From a network to an ONNX file: traced, written node by node, checked.

Pictures and maps are (N, C, H, W) there, the order that other runtimes expect; everything else keeps its
axes. Weights keep their names and values, batch-norms stay layers of their own: runtimes fold them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import __version__
from ..errors import FileError, TraceError
from ..nn import Module
from ..shapes import Shape
from ..tensor import Tensor
from .onnx_nodes import Nodes
from .passes import drop_dead
from .trace import trace

#: Operator set 13, of 2021, and its file format: old enough for every runtime in use.
OPSET, IR_VERSION = 13, 7
#: Stands for the size of a batch that is still open, while shapes are traced: no other size is a multiple.
_ANY = 10_007


def to_onnx(
    network: Module | Callable[..., Any],
    shape: Shape,
    *,
    any_batch: bool = False,
    mean: float = 0.0,
    scale: float = 1.0,
    decode: Callable[[Any], Any] | None = None,
    outputs: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The content of an ONNX file that computes what `network` does; the same network gives the same bytes.

    Args:
        network: maps one tensor to a tensor or a tuple of tensors; batch-norms in inference mode.
        shape: of the input, (N, H, W, C) for pictures: the file's input is then (N, C, H, W), float32.
        any_batch: the file takes batches of any size, whatever N says.
        mean, scale: the file's first nodes compute (input - mean) * scale.
        decode: computes the file's outputs from the network's result, as Tensors too.
        outputs: names of the outputs; output_0, output_1, ... without them. Maps come out as (N, C, H, W).
        metadata: texts by name, for the file's metadata_props.

    Raises:
        FileError: the package onnx is not installed.
        TraceError: the network does what ONNX cannot say, such as training, or what needs a fixed batch.
        WeightsError: a weight that is NaN or infinite.
    """
    onnx = _package()
    batch = _ANY if any_batch else shape[0]

    def whole(x: Tensor) -> Any:
        result = network(x if (mean, scale) == (0.0, 1.0) else (x - mean) * scale)
        return decode(result) if decode else result

    graph = drop_dead(trace(whole, (batch, *shape[1:])))
    named = [*network.named_parameters(), *network.named_buffers()] if isinstance(network, Module) else []
    names = outputs or [f"output_{i}" for i in range(len(graph.outputs))]
    nodes = Nodes(onnx, {id(tensor): name for name, tensor in named}, _ANY if any_batch else None, names)
    given = nodes.open(graph.inputs[0], "input")
    for node in graph.nodes:
        nodes.lower(node)
    results = [nodes.close(value, name) for value, name in zip(graph.outputs, names, strict=True)]
    made = onnx.helper.make_graph(nodes.nodes, type(network).__name__, [given], results, nodes.constants)
    model = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="visionkit", producer_version=__version__,
    )  # fmt: skip
    onnx.helper.set_model_props(model, dict(metadata or {}))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TraceError(f"the graph breaks ONNX's rules: {error}") from None
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def missing(error: ImportError) -> FileError:
    """What to say where a package that only exports need is not there."""
    return FileError(f"nothing can be exported: {error}", remedy="run pip install 'visionkit[onnx]'")


def _package() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise missing(error) from None
    return onnx
