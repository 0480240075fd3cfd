"""Ranges of a network's values on some pictures: what int8 rounds within."""

from dataclasses import dataclass

from ..errors import UsageError
from .trace import Graph


@dataclass(frozen=True)
class Ranges:
    """The largest magnitude of each value of a prepared graph: of its input, then of each node's result.

    Attributes:
        names: "input", then scope and operation of each node.
        values: the magnitudes.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]

    def of(self, graph: Graph) -> dict[int, float]:
        """The magnitudes by the id of the graph's values.

        Raises:
            UsageError: they are another network's.
        """
        if self.names != names_of(graph):
            raise UsageError("the ranges are those of another network", remedy="calibrate this one")
        values = [graph.inputs[0], *(node.output for node in graph.nodes)]
        return {id(value): max(size, 1e-30) for value, size in zip(values, self.values, strict=True)}


def names_of(graph: Graph) -> tuple[str, ...]:
    """What names each value of a graph."""
    return ("input", *(f"{node.scope}:{node.op}" for node in graph.nodes))
