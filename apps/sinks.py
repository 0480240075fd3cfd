"""Where results go, by the flags: folders, files, and a port."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from visionkit.engine.interrupt import Signals

from .folders import Folder, OpenPoseFolder
from .published import Published
from .results import Sink
from .tables import CocoFile, CsvFile


@contextmanager
def opened_sinks(
    args: argparse.Namespace,
    sources: Sequence[str],
    ending: str,
    category_ids: Sequence[int],
    folder: Callable[..., Folder] = Folder,
) -> Iterator[list[Sink]]:
    """Every sink that the flags ask for, until the end of the block; SIGTERM ends it as Ctrl-C does.

    Args:
        args: the flags.
        sources: files that must not be overwritten.
        ending: of names in the folder of --out.
        category_ids: the original id of each class.
        folder: the class of that folder.

    Raises:
        UsageError: a file that is a source, or exists and may not be replaced.
        FileError: a port that cannot be had.
    """
    sinks: list[Sink] = []
    with ExitStack() as stack:
        stack.enter_context(Signals()).immediate = True
        if args.out:
            sinks.append(folder(args.out, sources, args.overwrite, ending))
        if getattr(args, "write_json", None):
            sinks.append(OpenPoseFolder(args.write_json, sources, args.overwrite))
        if args.csv:
            sinks.append(CsvFile(args.csv, sources, args.overwrite))
        if args.coco:
            sinks.append(CocoFile(args.coco, sources, args.overwrite, category_ids))
        if args.http is not None:
            sinks.append(stack.enter_context(Published(args.http)))
        yield sinks
