"""Boxes, anchors, suppression, assignment, skeletons, poses, codecs, losses and results, tracking."""

from .anchors import COCO_ANCHORS, balanced, kmeans_anchors, mean_best_iou
from .assign import ASSIGNMENTS, AllAbove, BestOnly, ByShape, Neighbours
from .boxes import (
    area,
    bxbybhbw_to_xyxy,
    clip_boxes,
    cxcywh_to_xyxy,
    iou_matrix,
    shape_iou,
    xywh_to_xyxy,
    xyxy_to_bxbybhbw,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from .fields import FieldCodec, average_flipped_fields
from .heatmaps import HeatmapCodec, PoseTargets, average_flipped
from .letterbox import Letterbox, resize_bilinear
from .losses import YoloLoss, ciou
from .matching import best_pairs
from .nms import nms, soft_nms
from .poses import Pose, Poses
from .protocols import Codec, Criterion
from .results import Detection, Detections
from .skeleton import Skeleton
from .skeletons import SKELETONS, skeleton_from_coco
from .tracking import Tracker
from .yolo import LevelTargets, Targets, YoloCodec
from .zones import Event, Line, Watch, Zone, events_to_csv

__all__ = [
    "ASSIGNMENTS",
    "COCO_ANCHORS",
    "SKELETONS",
    "AllAbove",
    "BestOnly",
    "ByShape",
    "Codec",
    "Criterion",
    "Detection",
    "Detections",
    "Event",
    "FieldCodec",
    "HeatmapCodec",
    "Letterbox",
    "LevelTargets",
    "Line",
    "Neighbours",
    "Pose",
    "PoseTargets",
    "Poses",
    "Skeleton",
    "Targets",
    "Tracker",
    "Watch",
    "YoloCodec",
    "YoloLoss",
    "Zone",
    "area",
    "average_flipped",
    "average_flipped_fields",
    "balanced",
    "best_pairs",
    "bxbybhbw_to_xyxy",
    "ciou",
    "clip_boxes",
    "cxcywh_to_xyxy",
    "events_to_csv",
    "iou_matrix",
    "kmeans_anchors",
    "mean_best_iou",
    "nms",
    "resize_bilinear",
    "shape_iou",
    "skeleton_from_coco",
    "soft_nms",
    "xywh_to_xyxy",
    "xyxy_to_bxbybhbw",
    "xyxy_to_cxcywh",
    "xyxy_to_xywh",
]
