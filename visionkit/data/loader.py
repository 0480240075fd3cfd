"""Batches for training: shuffled, augmented, prepared ahead of time on threads.

Randomness is keyed by (seed, epoch, picture), never drawn from a stream, so neither the number of workers nor
a restart in mid-epoch changes a batch.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError, VisionKitError
from .dataset import DetectionDataset
from .placing import FILL, Size, letterboxed, resized
from .sample import Sample
from .transforms import Recipe

# Pictures stay in memory somewhat larger than the network's input, so that scaling up finds detail.
_KEPT_SIDE = 1.5
_ORDER, _SCALE = 2**32 - 1, 2**31  # counters that no picture index reaches


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step sees.

    images     (B, H, W, 3) uint8 RGB, contiguous
    boxes      B arrays (N, 4) float32 xyxy in pixels of the batch's pictures
    classes    B arrays (N,) int64
    ignore     B arrays (N,) bool
    image_ids, files   of the pictures (of a mosaic's first)
    epoch, step        step counts from 0 within the epoch
    keypoints  B arrays (N, K, 3) float32 x, y, v beside the boxes; None if a picture has none, see `Sample`
    """

    images: NDArray[np.uint8]
    boxes: list[NDArray[np.float32]]
    classes: list[NDArray[np.int64]]
    ignore: list[NDArray[np.bool_]]
    image_ids: list[int]
    files: list[str]
    epoch: int
    step: int
    keypoints: list[NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def targets(self) -> list[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]]:
        """(boxes, classes, ignore) of each picture, as `YoloCodec.encode` takes them."""
        return list(zip(self.boxes, self.classes, self.ignore, strict=True))


def random_key(seed: int, epoch: int, counter: int) -> np.random.Generator:
    """The generator of one thing in one epoch: Philox keyed by seed, epoch and counter."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, (epoch << 32) + counter], np.uint64)))


class Loader:
    """Batches of a data set.

    Args:
        dataset: the pictures.
        batch: pictures a batch.
        size: (height, width) of the pictures in a batch.
        augment: the recipe; None letterboxes every picture, unchanged, in the data set's order.
        epochs: length of the training, which tells `Augment.mosaic_until`; None never ends the mosaics.
        seed: of shuffling and augmentation.
        shuffle: another order each epoch, incomplete last batch left out; default: if `augment` is given.
        sizes: pictures of a batch take one of these sizes at random instead of `size` (multi-scale training).
        workers: threads that prepare batches; 0 prepares each when it is asked for.
        prefetch: batches held ready.
        cache_bytes: memory for decoded pictures; those beyond are decoded anew each time.
        skip_bad: a picture that cannot be read becomes an ignored grey one and is listed in `failed`;
            otherwise its error is raised.

    Raises:
        UsageError: fewer pictures than one batch when incomplete batches are left out, or a size below 1.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        batch: int,
        size: Size,
        *,
        augment: Recipe | None = None,
        epochs: int | None = None,
        seed: int = 0,
        shuffle: bool | None = None,
        sizes: Sequence[Size] = (),
        workers: int = 1,
        prefetch: int = 4,
        cache_bytes: int = 4_000_000_000,
        skip_bad: bool = False,
    ) -> None:
        self.dataset, self.batch, self.size, self.augment = dataset, batch, size, augment
        self.epochs, self.seed, self.sizes = epochs, seed, tuple(sizes)
        self.shuffle = augment is not None if shuffle is None else shuffle
        self.workers, self.prefetch, self.skip_bad = workers, prefetch, skip_bad
        self.failed: dict[str, VisionKitError] = {}
        self._cache: dict[int, Sample] = {}
        self._room = cache_bytes if augment is not None else 0
        self._lock = threading.Lock()
        if batch < 1 or min(size) < 1:
            raise UsageError("batch and size must be at least 1", value=(batch, *size))
        if len(self) == 0:
            raise UsageError(
                f"{len(dataset)} pictures do not fill a batch of {batch}", remedy="use a smaller --batch"
            )

    def __len__(self) -> int:
        """Steps an epoch."""
        count = len(self.dataset)
        return count // self.batch if self.shuffle else -(-count // self.batch)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The indices of the pictures in the order of this epoch."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return random_key(self.seed, epoch, _ORDER).permutation(len(self.dataset))

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, beginning with step `start`.

        Raises:
            DataError, FileError: a picture cannot be read; the message names it.
        """
        order = self.order(epoch)
        if self.workers < 1:
            yield from (self._make(order, epoch, step) for step in range(start, len(self)))
            return
        pool = ThreadPoolExecutor(self.workers, "visionkit-loader")
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(start, len(self)):
                waiting.append(pool.submit(self._make, order, epoch, step))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the consumer stops early
            pool.shutdown(wait=True, cancel_futures=True)

    def sample(self, index: int, epoch: int, size: Size | None = None) -> Sample:
        """Picture `index` as it appears in `epoch`."""
        size = size or self.size
        if self.augment is None:
            return letterboxed(self._read(index), size)
        rng = random_key(self.seed, epoch, index)
        progress = epoch / self.epochs if self.epochs else 0.0
        others = rng.integers(len(self.dataset), size=self.augment.wants(progress, rng))
        return self.augment([self._read(i) for i in (index, *map(int, others))], size, rng)

    def _make(self, order: NDArray[np.int64], epoch: int, step: int) -> Batch:
        indices = order[step * self.batch : (step + 1) * self.batch]
        size = self.size
        if self.sizes:
            size = self.sizes[random_key(self.seed, epoch, _SCALE + step).integers(len(self.sizes))]
        samples = [self.sample(int(i), epoch, size) for i in indices]
        points = [s.keypoints for s in samples if s.keypoints is not None]
        return Batch(
            np.stack([s.image for s in samples]),
            [s.boxes for s in samples],
            [s.class_id for s in samples],
            [s.ignore for s in samples],
            [s.image_id for s in samples],
            [s.file for s in samples],
            epoch,
            step,
            points if len(points) == len(samples) else None,
        )

    def _read(self, index: int) -> Sample:
        found = self._cache.get(index)
        if found is not None:
            return found
        try:
            sample = self.dataset[index]
        except VisionKitError as error:
            if not self.skip_bad:
                raise
            sample = self._ignored(index, error)
        if self.augment is None:
            return sample
        sample = resized(sample, int(_KEPT_SIDE * max(max(s) for s in (self.size, *self.sizes))))
        with self._lock:
            if index not in self._cache and sample.image.nbytes <= self._room:
                self._room -= sample.image.nbytes
                self._cache[index] = sample
        return sample

    def _ignored(self, index: int, error: VisionKitError) -> Sample:
        """A grey picture whose whole area counts neither as object nor as background."""
        record = self.dataset.records[index]
        self.failed[record.file] = error
        height, width = self.size
        image = np.full((height, width, 3), FILL, np.uint8)
        box = np.array([[0, 0, width, height]], np.float32)
        nothing = np.zeros(1, np.int64)
        points = None if record.keypoints is None else np.zeros((1, *record.keypoints.shape[1:]), np.float32)
        return Sample(image, box, nothing, np.ones(1, bool), record.image_id, record.file, points)
