"""The reference operations: float64 and float32, NHWC, plain NumPy and plain loops.

`OPS` is the one table. The fast kernels of graph plans are compared with these.
"""

from . import arithmetic, elementwise, layout, norm, reduce, windows
from .op import Op

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        *windows.OPS,
        *norm.OPS,
        *elementwise.OPS,
        *arithmetic.OPS,
        *reduce.OPS,
        *layout.OPS,
    )
}

__all__ = ["OPS", "Op"]
