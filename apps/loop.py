"""Every picture and frame of every SOURCE: the loop that `detect`, `pose` and `track` share."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

from visionkit.engine.stream import chosen
from visionkit.errors import DataError, FileError, UsageError, VisionKitError
from visionkit.io.draw import Drawing
from visionkit.io.image import Picture
from visionkit.io.overlap import ahead, behind, worker
from visionkit.io.video import Video, is_live
from visionkit.io.window import Threshold, Window, has_display

from .pace import Pace
from .results import Look, Sink, line
from .sources import demo_picture, expand, open_source
from .terminal import say


class Shot(NamedTuple):
    """One picture, and where it stands.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        source: the file, camera or stream it comes from.
        frame: its number in the video, or among all sources where it is a still picture.
        fps: frames a second of the video, None for a still picture.
        time: seconds from the beginning at which a frame is shown, or arrived; None for a still picture.
        arrived: `time.monotonic()` when a frame came in.
    """

    picture: Picture
    source: str
    frame: int
    fps: float | None
    time: float | None
    arrived: float = 0.0


#: From a picture to what is in it.
Looking = Callable[[Shot], Look]


def sources_of(args: argparse.Namespace) -> list[str]:
    """Every single picture, video, camera and stream that the arguments name.

    Raises:
        UsageError: --demo beside sources, or a camera or stream beside others.
        DataError, FileError, UsageError: see `expand`.
    """
    if args.demo and args.source:
        raise UsageError("--demo takes no SOURCE")
    sources = expand(args.source or [str(demo_picture())])
    if len(sources) > 1 and any(map(is_live, sources)):
        raise UsageError("a camera or stream must be the only SOURCE, for it never ends")
    return sources


def over(
    sources: Sequence[str],
    look: Looking,
    sinks: Sequence[Sink],
    args: argparse.Namespace,
    threshold: Threshold,
) -> int:
    """Look at every source; one that fails does not stop the others, but whoever quits a window ends it all.

    Args:
        sources: from `sources_of`.
        look: finds what is there.
        sinks: where it goes.
        args: the flags.
        threshold: what `look` asks for, which keys in a window change.

    Returns:
        0, or the exit code of the one source there was, or 3 if one of several failed.
    """
    failed = []
    with worker() as fetching, worker() as storing:
        for number, source in enumerate(sources):
            try:
                opened = open_source(source, args)
                if isinstance(opened, Video):
                    if not _moving(opened, look, sinks, args, threshold, fetching, storing):
                        break
                else:
                    name = "stdin" if source == "-" else source
                    _still(Shot(opened, name, number, None, None), look, sinks, args)
            except UsageError:
                raise
            except VisionKitError as error:
                if len(sources) == 1:
                    raise
                failed.append(source)
                say(str(error))
    if failed:
        done = number + 1 - len(failed)
        say(f"{done} of {len(sources)} sources done, {len(failed)} failed")
    for sink in sinks:
        if sink.written:
            (say if args.json else print)(str(sink.written))
    return DataError.exit_code if failed else 0


def _still(shot: Shot, look: Looking, sinks: Sequence[Sink], args: argparse.Namespace) -> None:
    seen = look(shot)
    text = json.dumps(seen.record(shot.source)) if args.json else line(shot.source, seen.found)
    print(text, flush=True)
    for sink in sinks:
        sink.still(shot.source, seen)


def _moving(
    video: Video,
    look: Looking,
    sinks: Sequence[Sink],
    args: argparse.Namespace,
    threshold: Threshold,
    fetching: ThreadPoolExecutor,
    storing: ThreadPoolExecutor,
) -> bool:
    """Every frame of a video: JSON, or a line a second; files and a window as asked for.

    Frames of a file are decoded ahead, drawn and written behind the network. Those of a camera are not.

    Returns:
        False once the user quit.
    """
    with ExitStack() as stack:
        stack.enter_context(video)
        takes = [stack.enter_context(sink.moving(video, args.frame_step)) for sink in sinks]
        window = None if sinks or args.json or args.no_window else _window(video.name, threshold)
        if window:
            stack.enter_context(window)
        shown: Drawing | None = None
        pace = Pace()

        def live_on() -> None:
            """While a camera is away the last picture stands, and keys work."""
            if window and shown is not None and not window.show(shown, pace.status(video.dropped)):
                video.close()

        video.while_waiting(live_on)

        def take(number: int, seen: Look) -> None:
            for one in takes:
                one(number, seen)

        shots: Iterator[Shot] = (
            Shot(frame, video.name, number, video.fps, video.time, video.arrived)
            for number, frame in chosen(video, args.frame_first, args.frame_last, args.frame_step)
        )
        if not video.live:
            take = stack.enter_context(behind(take, thread=storing))
            shots = stack.enter_context(ahead(shots, thread=fetching))
        for count, shot in enumerate(shots):
            seen = look(shot)
            if args.json:
                print(json.dumps(seen.record(video.name, frame=shot.frame)), flush=True)
            take(shot.frame, seen)
            if window:
                shown = next(iter(seen.layers.values()))()
                if not window.show(shown, pace.status(video.dropped)):
                    return False
            second = pace.out(shot.arrived)
            if not video.live:
                second = count % max(1, round(video.fps)) == 0
            if not args.json and (second or not count):
                figures = f" ({pace.status(video.dropped)})" if video.live and count else ""
                print(line(video.name, seen.found, f" frame {shot.frame}{figures}"), flush=True)
    return True


def _window(name: str, threshold: Threshold) -> Window | None:
    """A window, where there is a screen and OpenCV can open one."""
    if not has_display():
        return None
    try:
        return Window(f"visionkit: {name}", threshold)
    except FileError as error:
        say(str(error))
        return None
