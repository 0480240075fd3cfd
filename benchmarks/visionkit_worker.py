"""Worker for visionkit: writes weights and input for all tools (kind "prepare"), or runs a network."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from networks import build
from protocol import LEARNING_RATE, SHAPES, Job, Rise, numbered, serve

from visionkit import __version__
from visionkit.graph import calibrate, summary
from visionkit.graph import compile as compile_network
from visionkit.kernels.jit import LANES, set_threads
from visionkit.nn import Module
from visionkit.optim import SGD

Check = Callable[[], Mapping[str, np.ndarray]]


def main() -> None:
    """Do the job on the command line."""
    job, rise = Job.given(), Rise()
    set_threads(job.threads)
    network = build(job.network).train(job.kind == "training")
    if job.kind == "prepare":
        prepare(job, network)
        return
    make = training if job.kind == "training" else inference
    x = np.load(job.input)
    parts = make(network, x, precision(job, network, x))
    serve(job, f"visionkit {__version__}, {LANES} lanes", rise, *parts)


def precision(job: Job, network: Module, x: np.ndarray) -> dict[str, Any]:
    """What `compile` is told of the precision; int8 is calibrated on the input itself."""
    ranges = {"ranges": calibrate(network, x.shape, [x])} if job.precision == "int8" else {}
    return {"precision": job.precision, **ranges} if job.precision != "float32" else {}


def prepare(job: Job, network: Module) -> None:
    """Write what all tools start from, and print the operations at batch 1."""
    shape = SHAPES[job.network]
    np.save(job.input, np.random.default_rng(1).standard_normal((job.batch, *shape), np.float32))
    np.savez(job.weights, **{name: np.ascontiguousarray(a) for name, a in network.state_dict().items()})
    table = summary(network.eval(), (1, *shape))
    print(json.dumps({"gflop": table.flops / 1e9, "parameters": table.parameters}))


def inference(network: Module, x: np.ndarray, how: dict[str, Any]) -> tuple[Check, Callable[[], object]]:
    """One forward run; weights are folded and packed, and convolutions chosen as `detect` does, before."""
    plan = compile_network(network, x.shape, winograd="timed", **how)
    return lambda: numbered(plan.forward(x)), lambda: plan.forward(x)


def training(network: Module, x: np.ndarray, how: dict[str, Any]) -> tuple[Check, Callable[[], object]]:
    """Forward, the mean of squares of every map, backward, SGD."""
    plan = compile_network(network, x.shape, training=True, **how)
    optimizer = SGD(network.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        maps = plan.forward(x)
        plan.backward(tuple(one * np.float32(2 / one.size) for one in maps))
        optimizer.step()

    def check() -> dict[str, np.ndarray]:
        computed = numbered(plan.forward(x))
        plan.backward(tuple(one * np.float32(2 / one.size) for one in computed.values()))
        for name, parameter in network.named_parameters():
            computed[f"gradient.{name}"] = parameter.grad.copy()
        optimizer.step()
        return computed

    return check, step


if __name__ == "__main__":
    main()
