"""`visionkit doctor`: this machine and this installation, and what to do where something is amiss."""

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from visionkit import __version__
from visionkit.io.cameras import cameras
from visionkit.io.encoders import SLOW, import_av
from visionkit.io.opencv import cv2_remedy
from visionkit.io.window import has_display

_PACKAGES = (
    "numpy", "numba", "llvmlite", "pillow", "pycocotools", "safetensors", "matplotlib", "tqdm",
)  # fmt: skip
_FLAVOURS = (
    "opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` is empty where all is well."""

    what: str
    value: str
    advice: str = ""


def run(args: argparse.Namespace) -> int:
    """Print every finding, or every camera; advice is for the user to take, so the exit code is 0."""
    if args.cameras:
        return _cameras(args)
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _versions, _opencv, _video_files, _processor, _threads, _cache, _display,
    )  # fmt: skip
    findings = [finding for check in checks for finding in check()]
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings]))
        return 0
    for finding in findings:
        print(f"{finding.what:18} {finding.value}")
        if finding.advice:
            print(f"{'':18} -> {finding.advice}")
    advised = sum(bool(finding.advice) for finding in findings)
    print(f"\nto look at: {advised}" if advised else "\nall is well")
    return 0


def _cameras(args: argparse.Namespace) -> int:
    """Every camera, by number, name and device file; none is opened, for some hang."""
    found = cameras()
    if args.json:
        print(json.dumps([{"number": one.number, "name": one.name, "path": str(one.path)} for one in found]))
        return 0
    for one in found:
        print(f"{one.number:<4} {one.name or '(no name)'}, {one.path}")
        if not os.access(one.path, os.R_OK | os.W_OK):
            print("     -> you may not use it: add yourself to its group (video) and log in again")
    if not found:
        known = sys.platform == "linux"
        print("no cameras" if known else "names are known on Linux alone: try 0, 1, ...")
    return 0


def _versions() -> list[Finding]:
    here = Path(__file__).resolve().parent.parent
    found = [
        Finding("visionkit", f"{__version__} in {here}"),
        Finding("python", f"{platform.python_version()} in {sys.prefix}"),
    ]
    for name in _PACKAGES:
        version = _version(name)
        advice = "" if version else f"pip install {name}"
        found.append(Finding(name, version or "not installed", advice))
    return found


def _opencv() -> list[Finding]:
    """Which OpenCV packages are there, and whether the one that is used loads."""
    flavours = [f"{name} {version}" for name in _FLAVOURS if (version := _version(name))]
    advice = ""
    if len(flavours) > 1:
        advice = "these overwrite each other's files: pip uninstall all of them, then install one"
    found = [Finding("opencv", ", ".join(flavours) or "not installed", advice)]
    try:
        import cv2
    except ImportError as error:
        return [*found, Finding("opencv loads", f"no: {error}", cv2_remedy(str(error)))]
    gui = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    return [*found, Finding("opencv loads", f"{cv2.__version__}, windows: {gui[1] if gui else 'unknown'}")]


def _video_files() -> list[Finding]:
    av = import_av()
    return [
        Finding(
            "video files", f"H.264 by PyAV {av.__version__}" if av else "VP9 by OpenCV", "" if av else SLOW
        )
    ]


def _processor() -> list[Finding]:
    from visionkit.graph import PRECISIONS
    from visionkit.kernels.dot import missing
    from visionkit.kernels.jit import LANES
    from visionkit.kernels.narrow import FLOAT32

    listed = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.*)", listed.read_text() if listed.exists() else "")
    model = named[1] if named else platform.processor() or platform.machine()
    advice = "" if LANES > 4 else "no AVX2: expect a quarter of the speed of newer processors"
    lacking = {name: missing(kind) for name, kind in PRECISIONS.items() if kind != FLOAT32}
    narrow = "; ".join(f"no {name}: it lacks {what}" if what else name for name, what in lacking.items())
    return [
        Finding("processor", model),
        Finding("vector width", f"{LANES} float32 lanes", advice),
        Finding("precisions", f"float32; {narrow}"),
    ]


def _threads() -> list[Finding]:
    """How many threads, and by which library: OpenMP starts a parallel loop in a microsecond."""
    from visionkit.kernels.jit import threads
    from visionkit.kernels.layer import SLOW, threading_layer

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    layer = threading_layer()
    advice = SLOW if layer == "workqueue" else ""
    return [Finding("threads", f"{threads()} of {cores} cores"), Finding("threading layer", layer, advice)]


def _cache() -> list[Finding]:
    from visionkit.kernels.jit import cache_folder

    folder = cache_folder()
    if folder is None:
        advice = "kernels are compiled at every start; set VISIONKIT_CACHE to a folder of your own"
        return [Finding("kernel cache", "none", advice)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    advice = "" if len(files) > 10 else "the first picture will take a while: visionkit warmup"
    return [Finding("kernel cache", f"{folder}, {len(files)} files, {size:.1f} MB", advice)]


def _display() -> list[Finding]:
    return [Finding("display", "yes" if has_display() else "none: videos go to files (--out)")]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
