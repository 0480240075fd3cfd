"""visionkit: detection and keypoints that train and run on an ordinary CPU.

The short face, each name loaded when it is first used so that the import itself is instant:

    load(name_or_path) -> Predictor          a detector or network of poses that is ready to run
    draw(image, found) -> picture            the picture with its boxes or skeletons
    compile(network, shape) -> Plan          a network made fast for one input shape
    Tensor, no_grad, Detections, Poses       the types and the switch that most programs meet
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionkit.models.zoo import load

    from .graph import compile  # noqa: A004  (the word every reader of PyTorch knows)
    from .io.draw import draw
    from .tensor import Tensor, no_grad
    from .vision.poses import Poses
    from .vision.results import Detections

__version__ = "0.1.0"
__all__ = ["Detections", "Poses", "Tensor", "compile", "draw", "load", "no_grad"]

_HOMES = {
    "Detections": "visionkit.vision.results",
    "Poses": "visionkit.vision.poses",
    "Tensor": "visionkit.tensor",
    "compile": "visionkit.graph",
    "draw": "visionkit.io.draw",
    "load": "visionkit.models.zoo",
    "no_grad": "visionkit.tensor",
}

# In a checkout models/, datasets/ and apps/ stand beside this folder; in a wheel they are inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "models").is_dir():
    __path__.append(str(_checkout))


def __getattr__(name: str) -> Any:
    """The public name from its home, imported now (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'visionkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
