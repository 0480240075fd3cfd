"""`visionkit export`: a detector or a pose network as a file for other runtimes."""

import argparse

from .detector import WEIGHTS


def run(args: argparse.Namespace) -> int:
    """Write the file; its absolute path is the last line printed."""
    from visionkit.engine.export import export_onnx
    from visionkit.models.zoo import open_weights

    network, info = open_weights(args.weights or WEIGHTS)
    done = export_onnx(network, info, args.out, size=args.size, batch=args.batch, decoded=args.decoded)
    for kind, ends in (("input", done.inputs), ("output", done.outputs)):
        for name, shape in ends.items():
            print(f"{kind:7} {name}: float32 {'x'.join(map(str, shape))}")
    print(f"onnxruntime agrees to {done.difference:.1e} of the largest value")
    print(done.path)
    return 0
