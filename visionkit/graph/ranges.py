"""Up to which magnitude int8 counts each value of a network."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DataError, UsageError
from ..weights.files import StrPath, atomic_write, read_bytes
from .trace import Graph, Value

_BYTES = 10_000_000


@dataclass(frozen=True)
class Ranges:
    """A magnitude for each value of a network; larger numbers become it.

    Attributes:
        names: "input", then scope and operation of every node of the graph.
        values: the magnitudes, more than 0.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]

    def of(self, graph: Graph) -> dict[int, float]:
        """The magnitudes by the id of the graph's values.

        Raises:
            UsageError: they are another network's.
        """
        if self.names != tuple(name for name, _ in named(graph)):
            raise UsageError("the ranges are those of another network", remedy="calibrate this one")
        return {id(value): size for (_, value), size in zip(named(graph), self.values, strict=True)}

    def write(self, path: StrPath) -> None:
        """Write a JSON file: a list of pairs of name and magnitude.

        Raises:
            FileError: it cannot be written.
        """
        atomic_write(path, json.dumps(list(zip(self.names, self.values, strict=True)), indent=1) + "\n")

    @classmethod
    def read(cls, path: StrPath) -> "Ranges":
        """Read what `write` wrote.

        Raises:
            FileError: it cannot be read.
            DataError: it is no such file.
        """
        try:
            pairs = json.loads(read_bytes(path, _BYTES))
            names, values = zip(*((str(name), float(size)) for name, size in pairs), strict=True)
        except (ValueError, TypeError) as error:
            raise DataError("not a file of ranges", file=path, remedy="write it anew") from error
        wrong = next((i for i, size in enumerate(values) if not 0 < size < math.inf), None)
        if wrong is not None:
            reason = "a range must be a finite number above 0"
            raise DataError(reason, file=path, place=f"/{wrong}", value=values[wrong])
        return cls(names, values)


def named(graph: Graph) -> Iterator[tuple[str, Value]]:
    """What a graph computes, its input first, with names that another trace gives again."""
    yield "input", graph.inputs[0]
    for node in graph.nodes:
        yield f"{node.scope}:{node.op}", node.output
