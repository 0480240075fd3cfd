"""Average precision by pycocotools, and by nothing else: one number that everybody can compare."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..weights.files import StrPath
from .cocoeval import CONSPICUOUS, GroundTruth, Truth, detections_on, run_cocoeval
from .detections import Entry, check_detections, given_detections
from .diagnosis import diagnose
from .scores import Scores

#: The twelve numbers of COCO's bbox evaluation, in pycocotools' order. AP50: IoU .5 alone; s, m, l: areas
#: below 32², up to 96², above; AR1, AR10, AR100: recall with that many detections per image.
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate(
    ground_truth: GroundTruth,
    detections: Sequence[Entry] | StrPath,
    *,
    image_ids: Sequence[int] | None = None,
) -> Scores:
    """Score detections against ground truth with pycocotools' bbox evaluation.

    Args:
        ground_truth: a COCO annotation object: `images`, `annotations`, `categories`. Left unchanged.
        detections: entries in COCO's results format with the original ids, or the file that holds them.
        image_ids: evaluate these images only; detections elsewhere are left out, and counted in a note.

    Raises:
        DataError: a key is missing, or a detection or box is unusable; the message names the entry.
    """
    entries, file = given_detections(detections)
    truth = Truth.of(ground_truth)
    notes = list(check_detections(entries, truth.images, truth.categories, file=file))
    truth = truth.only(image_ids)
    entries = detections_on(truth, entries, notes)
    notes += truth.notes_on_ignore()
    if all(a["iscrowd"] for a in truth.annotations):
        notes.append("no ground truth: there is no box to find, so nothing can be scored")
    found = [{**d, "bbox": list(d["bbox"]), "area": d["bbox"][2] * d["bbox"][3]} for d in entries]
    scores = run_cocoeval(truth, found, NAMES, lambda a: not a["iscrowd"], notes)
    if scores.boxes and not (scores["AP50"] or 0) > CONSPICUOUS:
        wanted = [a for a in truth.annotations if not a["iscrowd"]]
        scores = scores.noting(diagnose(truth.images, wanted, truth.categories, entries))
    return scores


def match_classes(names: Sequence[str], categories: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """The category id of each class of a network, matched by name; None where the data has none such."""
    ids = {str(category["name"]): int(category["id"]) for category in categories}
    return [ids.get(name) for name in names]
