"""One traced network, many uses: plans for training and inference, summaries."""

from .plan import Plan, compile  # noqa: A004
from .summary import Summary, summary
from .trace import Graph, Node, Value, trace

__all__ = ["Graph", "Node", "Plan", "Summary", "Value", "compile", "summary", "trace"]
