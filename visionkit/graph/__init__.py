"""One traced network, many uses: plans for training and inference, summaries."""

from .calibration import calibrate
from .plan import Plan, compile  # noqa: A004
from .precision import PRECISIONS
from .ranges import Ranges
from .summary import Summary, summary
from .trace import Graph, Node, Value, trace

__all__ = [
    "PRECISIONS",
    "Graph",
    "Node",
    "Plan",
    "Ranges",
    "Summary",
    "Value",
    "calibrate",
    "compile",
    "summary",
    "trace",
]
