"""`visionkit detect`: find objects in pictures, videos, cameras and streams."""

import argparse
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

from visionkit.errors import DataError, UsageError, VisionKitError
from visionkit.io.image import read_image
from visionkit.io.video import Video, VideoWriter, Window, has_display, is_camera, is_stream, is_video
from visionkit.weights.files import file_error

from .detector import open_detector, use_threads
from .results import Folder, line, record
from .sources import demo_picture, expand
from .terminal import say

if TYPE_CHECKING:
    from visionkit.engine.predictor import Predictor


def run(args: argparse.Namespace) -> int:
    """Detect in every source; one that fails does not stop the others.

    Returns:
        0, or the exit code of the one source there was, or 3 if one of several failed.
    """
    if args.demo and args.source:
        raise UsageError("--demo takes no SOURCE")
    sources = expand(args.source or [str(demo_picture())])
    if (
        sum(map(_is_moving, sources))
        and len(sources) > 1
        and any(is_camera(s) or is_stream(s) for s in sources)
    ):
        raise UsageError("a camera or stream must be the only SOURCE, for it never ends")
    use_threads(args)
    detector = open_detector(args)
    folder = Folder(args.out, sources) if args.out else None
    failed = []
    for source in sources:
        try:
            (_moving if _is_moving(source) else _still)(source, detector, folder, args)
        except UsageError:
            raise
        except VisionKitError as error:
            if len(sources) == 1:
                raise
            failed.append(source)
            say(str(error))
    if failed:
        done = len(sources) - len(failed)
        say(f"{done} of {len(sources)} sources done, {len(failed)} failed")
    if folder and folder.written:
        (say if args.json else print)(str(folder.path))
    return DataError.exit_code if failed else 0


def _is_moving(source: str) -> bool:
    return is_camera(source) or is_stream(source) or is_video(source)


def _still(source: str, detector: "Predictor", folder: Folder | None, args: argparse.Namespace) -> None:
    picture = read_image(source)
    found = detector(picture)
    print(
        json.dumps(record(source, found)) if args.json else line(source, found),
        flush=True,
    )
    if folder:
        folder.write(source, picture, found)


def _moving(source: str, detector: "Predictor", folder: Folder | None, args: argparse.Namespace) -> None:
    """Every frame of a video: JSON, or a line a second; files and a window as asked for."""
    from visionkit.io.draw import draw

    with ExitStack() as stack:
        video = stack.enter_context(Video(source))
        writer = log = window = None
        if folder:
            target = folder.target(video.name)
            writer = stack.enter_context(VideoWriter(target.with_name(target.name + ".mp4"), video.fps))
            path = target.with_name(target.name + ".jsonl")
            try:
                log = stack.enter_context(path.open("w", encoding="utf-8"))
            except OSError as error:
                raise file_error(error, path, "write") from None
        elif not (args.json or args.no_window) and has_display():
            window = stack.enter_context(Window(f"visionkit: {video.name}"))
        for number, frame in enumerate(video):
            found = detector(frame)
            entry = record(video.name, found, frame=number)
            if args.json:
                print(json.dumps(entry), flush=True)
            elif number % max(1, round(video.fps)) == 0:
                print(line(video.name, found, f" frame {number}"), flush=True)
            if log:
                log.write(json.dumps(entry) + "\n")
            if writer:
                writer.write(draw(frame, found))
            if window and not window.show(draw(frame, found)):
                break
