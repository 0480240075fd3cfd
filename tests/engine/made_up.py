"""Ground truth without pictures."""

import numpy as np

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.vision.skeletons import COCO_17


def boxes_dataset(rows, size=(320, 320), names=("a", "b")):
    """A data set without pictures: one record per list of (xyxy, class, crowd)."""
    records = [Record.of(i + 1, f"{i}.png", None, size, row) for i, row in enumerate(rows)]
    return DetectionDataset(names, range(1, len(names) + 1), records, Problems("made up"))


def people(rng, images=12, noise=0.0, skeletons=(COCO_17,), most=3):
    """COCO ground truth of up to `most` people a picture, and detections with `noise` pixels of error."""
    categories = [
        {"id": 5 + k, "name": one.name, "keypoints": list(one.keypoints),
         "skeleton": [[a + 1, b + 1] for a, b in one.limbs]} for k, one in enumerate(skeletons)
    ]  # fmt: skip
    truth = {"images": [], "annotations": [], "categories": categories}
    found = []
    for image in range(1, images + 1):
        truth["images"].append({"id": image, "file_name": f"{image}.png", "width": 640, "height": 480})
        for _ in range(int(rng.integers(1, most + 1))):
            which = int(rng.integers(len(skeletons)))
            count = len(skeletons[which])
            box = [*rng.uniform(20, 300, 2), *rng.uniform(25, 160, 2)]
            xy = np.array(box[:2]) + rng.random((count, 2)) * box[2:]
            v = rng.integers(0, 3, count)
            v[:3] = 2
            points = np.column_stack([np.where(v[:, None] > 0, xy, 0), v])
            row = {"image_id": image, "category_id": 5 + which}
            truth["annotations"].append({
                **row, "id": len(truth["annotations"]) + 1, "bbox": box, "area": box[2] * box[3] * 0.6,
                "iscrowd": 0, "num_keypoints": int((v > 0).sum()),
                "keypoints": [float(n) if k % 3 < 2 else int(n) for k, n in enumerate(points.ravel())],
            })  # fmt: skip
            seen = np.column_stack([xy + rng.normal(0, 1, xy.shape) * noise, np.ones(count)])
            found.append({**row, "keypoints": seen.ravel().tolist(), "score": float(rng.random())})
    return truth, found
