"""`visionkit pose`: find the key-points of people, animals and faces in pictures, videos and cameras."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from visionkit.errors import UnknownNameError, UsageError
from visionkit.io.draw import Drawing, draw
from visionkit.io.image import Picture
from visionkit.io.window import Threshold

from .detector import WEIGHTS, calibrated, given, load_detector, use_threads
from .folders import Folder
from .following import FollowedFolder, Following, given_without_track, lower_confidence
from .loop import Looking, Shot, over, sources_of
from .results import Look
from .sinks import opened_sinks

if TYPE_CHECKING:
    from visionkit.engine.pose_predictor import PoseMaps, PosePredictor
    from visionkit.engine.top_down import TopDown
    from visionkit.vision.skeleton import Skeleton

#: What runs where nothing else is named, and the detector that says: the whole picture is one person.
POSE, WHOLE = "hourglass-lite", "none"
#: The same for a picture that is looked at once, at the size that --net-resolution asks for.
MANY = "openpose-lite"
#: With --track: the confidence of poses that are sure.
CONFIDENCE = 0.2


def run(args: argparse.Namespace) -> int:
    """Find poses in every source; see `over`."""
    if args.show_maps and not args.out:
        raise UsageError("--show-maps writes pictures", remedy="add --out DIR")
    if not args.track and (flag := given_without_track(args)):
        raise UsageError(f"{flag} goes with --track")
    if args.openpose_source:
        args.source = [*args.source, args.openpose_source]
    sources = sources_of(args)
    use_threads(args)
    sure = Threshold(lower_confidence(args, CONFIDENCE)) if args.track else None
    predictor = open_pose(args)
    least = Threshold(predictor.confidence)
    skeleton = _skeleton(args.skeleton) if args.skeleton else None

    def look(shot: Shot) -> Look:
        found, seen = predictor.look(shot.picture, least.value)
        if skeleton:
            found = found.convert(skeleton)
        layers: dict[str, Callable[[], Drawing]] = {"": partial(draw, shot.picture, found)}
        if args.show_maps:
            layers |= _maps(shot.picture, seen, predictor)
        return Look(found, layers)

    looking: Looking = Following(look, sure, args) if sure else look
    folder = FollowedFolder if args.track else Folder
    with opened_sinks(args, sources, "-pose", predictor.info.category_ids, folder) as sinks:
        return over(sources, looking, sinks, args, sure or least)


def open_pose(args: argparse.Namespace) -> "PosePredictor | TopDown":
    """The network of `--weights`, behind a detector where it is for one person.

    Raises:
        UnknownNameError, FileError, WeightsError: weights that cannot be had.
        UsageError: the weights of a detector, or a detector for a network that needs none.
    """
    from visionkit.engine.pose_predictor import PosePredictor
    from visionkit.engine.top_down import TopDown
    from visionkit.models.openpose import load_openpose
    from visionkit.models.zoo import load, task

    weights = args.weights or (MANY if args.size and not args.detector else POSE)
    if bool(args.prototxt) != weights.lower().endswith(".caffemodel"):
        raise UsageError("--prototxt F and --weights F.caffemodel go together", value=weights)
    names = ("winograd", "precision", "confidence", "keypoint_confidence", "max_people", "size", "flip")
    options = given(args, names)
    if args.prototxt:
        pose = PosePredictor(*load_openpose(args.prototxt, weights), **options)
    elif task(None, weights) == "pose":
        pose = cast(PosePredictor, load(weights, **options))
    else:
        remedy = "use visionkit detect, or name them as --detector beside weights for one person"
        raise UsageError("these are the weights of a detector", value=weights, remedy=remedy)
    calibrated(pose, args)
    if pose.info.people == "one" and args.detector != WHOLE:
        detector = load_detector(args.detector or WEIGHTS, **given(args, ("winograd", "precision")))
        return TopDown(detector, pose, max_people=pose.max_people)
    if pose.info.people == "many" and args.detector:
        raise UsageError(f"{weights} finds all people by itself", remedy="leave --detector out")
    return pose


def _skeleton(name: str) -> "Skeleton":
    from visionkit.vision.skeletons import SKELETONS

    if name not in SKELETONS:
        raise UnknownNameError("no such skeleton", value=name, remedy=f"there are {', '.join(SKELETONS)}")
    return SKELETONS[name]


def _maps(
    picture: Picture, seen: "list[PoseMaps]", predictor: "PosePredictor | TopDown"
) -> dict[str, Callable[[], Drawing]]:
    """Drawings of the heat maps and, where the network has them, the fields."""
    from visionkit.io.draw_maps import draw_fields, draw_heatmaps, over_picture

    info, size = predictor.info, (picture.shape[0], picture.shape[1])

    def drawn(kind: int, draw_map: Callable[..., Drawing]) -> Drawing:
        maps = [(one.maps[kind][0], one.matrix) for one in seen]
        return draw_map(picture, over_picture(maps, info.stride, size, info.channels[kind]), info.skeleton)

    layers = {"-heat": partial(drawn, 0, draw_heatmaps), "-fields": partial(drawn, 1, draw_fields)}
    return dict(list(layers.items())[: len(info.channels)])
