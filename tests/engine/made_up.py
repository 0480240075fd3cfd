"""Ground truth without pictures."""

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems


def boxes_dataset(rows, size=(320, 320), names=("a", "b")):
    """A data set without pictures: one record per list of (xyxy, class, crowd)."""
    records = [Record.of(i + 1, f"{i}.png", None, size, row) for i, row in enumerate(rows)]
    return DetectionDataset(names, range(1, len(names) + 1), records, Problems("made up"))
