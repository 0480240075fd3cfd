"""The desk of `visionkit serve`: what is offered there, and how pictures wait for their turn."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from visionkit.io.draw import colour_of
from visionkit.io.image import read_image

from .results import record

if TYPE_CHECKING:
    from visionkit.engine.pose_predictor import PosePredictor
    from visionkit.engine.predictor import Predictor
    from visionkit.engine.top_down import TopDown

    Ready = Predictor | PosePredictor | TopDown

Value = TypeVar("Value")

#: Pictures that are in memory at once, decoded: while the network looks at one, the next is read.
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What visitors may ask for.

    Attributes:
        body: most bytes of a picture file.
        spill: bytes of a refused request that are read all the same, and forgotten.
        patience: seconds that a request, headers and body, may take to arrive.
        idle: seconds without a frame after which a camera is hung up on.
        queue: pictures that may wait or be looked at.
        cameras: that may send at once.
        drain: seconds for what is under way when the server is told to stop.
    """

    body: int = 32_000_000
    spill: int = 1_000_000_000
    patience: float = 10.0
    idle: float = 30.0
    queue: int = 16
    cameras: int = 8
    drain: int = 3


class BusyError(Exception):
    """There are as many pictures at the desk as may wait."""


class Desk:
    """Looks at pictures, one after the other, whoever brings them.

    One thread runs all networks, for each uses every core by itself; replies are therefore those of a
    program that looks at the same pictures in turn.

    Args:
        models: predictors by the name they are offered under; the first is the one to begin with.
        limits: see there.
        prepare: called once in the thread that runs networks, such as to set its number of threads.
    """

    def __init__(
        self,
        models: Mapping[str, "Ready"],
        limits: Limits,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.models, self._limits = models, limits
        self._finder = ThreadPoolExecutor(1, "visionkit-find", prepare)
        self._readers = ThreadPoolExecutor(AT_ONCE, "visionkit-read")
        self._room = asyncio.Semaphore(AT_ONCE)
        self._inside = 0

    async def look(self, name: str, data: bytes, confidence: float | None = None) -> dict[str, Any]:
        """What is in a picture.

        Args:
            name: of one of the models.
            data: the bytes of a picture file.
            confidence: instead of the model's own.

        Returns:
            What `detect --json` and `pose --json` print, the model, and `ms`: milliseconds to wait, to read
            the picture and to find what is in it.

        Raises:
            BusyError: too many wait already.
            DataError: no picture.
        """
        if self._inside >= self._limits.queue:
            raise BusyError
        self._inside += 1
        try:
            begin = time.perf_counter()
            async with self._room:
                waited = time.perf_counter() - begin
                picture, read = await _timed(self._readers, lambda: read_image(data))
                found, sought = await _timed(self._finder, lambda: self.models[name](picture, confidence))
        finally:
            self._inside -= 1
        times = {"wait": waited, "read": read, "find": sought}
        return record("picture", found, model=name) | {
            "ms": {what: round(1e3 * seconds, 2) for what, seconds in times.items()}
        }

    def close(self) -> None:
        """Forget those who wait; what is being looked at ends by itself."""
        for pool in (self._readers, self._finder):
            pool.shutdown(wait=False, cancel_futures=True)


async def _timed(pool: ThreadPoolExecutor, work: Callable[[], Value]) -> tuple[Value, float]:
    """What `work` gives in a thread of the pool, and the seconds it took; never begun if given up before."""

    def run() -> tuple[Value, float]:
        begin = time.perf_counter()
        return work(), time.perf_counter() - begin

    return await asyncio.get_running_loop().run_in_executor(pool, run)


def described(name: str, predictor: "Ready") -> dict[str, Any]:
    """A model as the page needs it: how sure by default, and how to draw what it finds."""
    info = predictor.info
    about = {"name": name, "architecture": info.architecture, "confidence": predictor.confidence}
    skeleton = getattr(info, "skeleton", None)
    if skeleton is None:
        return about | {"finds": "boxes", "names": info.names, "colours": _colours(info.names)}
    return about | {
        "finds": "poses",
        "keypoints": skeleton.keypoints,
        "limbs": skeleton.limbs,
        "colours": skeleton.colours,
    }


def _colours(names: Sequence[str]) -> list[tuple[int, int, int]]:
    return [colour_of(number) for number in range(len(names))]
