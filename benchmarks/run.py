"""Measure visionkit beside other tools.

python benchmarks/run.py inference|training|memory|kernels|startup|poses|live --out FILE
"""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from comparison import measure, ours, show
from harness import WorkerError
from kernels import measure_kernels
from protocol import PRECISIONS, SHAPES
from startup import measure_startup

KINDS = ("inference", "training", "memory", "kernels", "startup", "poses", "live")
_VISIONKIT = [f"visionkit{end}" for end in PRECISIONS.values()]
_TORCH = ["torch", "torch-cl", "torch-compile", "torch-bf16-cl"]
_ENGINES = ["torch-fold-cl", "onnxruntime", "openvino", "openvino-bf16", "opencv5", "opencv4", "ncnn"]
#: What can be measured.
TOOLS = {
    "inference": [*_TORCH, *_ENGINES, *_VISIONKIT],
    "memory": [*_TORCH, *_ENGINES, *_VISIONKIT],
    "training": [*_TORCH, *_VISIONKIT],
}
#: What is measured where nothing is named, by kind and precision.
AGAINST = {
    ("inference", "float32"): [
        "torch", "torch-cl", "torch-fold-cl", "torch-compile", "onnxruntime", "openvino", "opencv5",
        "opencv4", "ncnn",
    ],
    ("inference", "bfloat16"): ["visionkit", "openvino-bf16", "torch-bf16-cl"],
    ("inference", "int8"): ["visionkit"],
    ("training", "float32"): ["torch", "torch-cl"],
    ("training", "bfloat16"): ["visionkit", "torch-bf16-cl"],
    ("memory", "float32"): ["onnxruntime"],
}  # fmt: skip


def main() -> int:
    """Measure, print tables, write the file; 1 if a tool failed or computed something else."""
    args = parse()
    facts: dict[str, Any] = {"kind": args.kind, "machine": machine(), "settings": vars(args).copy()}
    try:
        if args.kind == "kernels":
            facts["lanes"] = measure_kernels(args)
        elif args.kind == "startup":
            facts["startup"] = measure_startup(args)
        elif args.kind == "poses":
            from poses import measure_poses  # needs visionkit in this process; the others do not

            facts["poses"] = measure_poses(args)
        elif args.kind == "live":
            from live import measure_live

            facts["live"] = measure_live(args)
        else:
            facts["networks"] = {}
            for name in args.network:
                facts["networks"][name] = measure(args, name)
                show(args, name, facts["networks"][name])
    except WorkerError as error:
        raise SystemExit(str(error)) from None
    args.out.write_text(json.dumps(facts, indent=1, default=str) + "\n")
    print(f"\n{args.out.resolve()}")
    return int(any(one["failed"] for one in facts.get("networks", {}).values()))


def parse() -> argparse.Namespace:
    """The command line, with the defaults that depend on the kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--network", nargs="+", choices=SHAPES, help="(all; memory yolov3-tiny)")
    parser.add_argument("--against", nargs="*", metavar="TOOL", help=", ".join(TOOLS["inference"]))
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of visionkit (float32)")
    parser.add_argument(
        "--batch", type=int, help="inputs at a time (1; training 8, hourglass 4, yolo-nano 16)"
    )
    parser.add_argument("--threads", type=int, help="of every tool (all cores; kernels 1)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="of one round (0.2; training 0.8)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    if args.network is None:
        args.network = ["yolov3-tiny"] if args.kind == "memory" else list(SHAPES)
    if args.against is None:
        one = args.batch in (None, 1)  # ncnn takes one input at a time
        args.against = [t for t in AGAINST.get((args.kind, args.precision), []) if one or t != "ncnn"]
    known = set(TOOLS.get(args.kind, [])) - {ours(args)}
    if wrong := sorted(set(args.against) - known):
        parser.error(f"{args.kind}: cannot measure {', '.join(wrong)}")
    args.seconds = args.seconds or (0.8 if args.kind == "training" else 0.2)
    args.threads = args.threads or (1 if args.kind == "kernels" else os.cpu_count())
    return args


def machine() -> dict[str, Any]:
    """Where this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
