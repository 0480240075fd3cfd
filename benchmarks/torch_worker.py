"""Worker for torch: "torch" is eager NCHW, and its variants may be joined in one name.

"-fold" folds batch-norms first, "-cl" is channels_last, "-compile" is torch.compile on channels_last, in
inference with frozen weights, "-bf16" is autocast. Kind "export" writes the network as ONNX instead. Runs
under an interpreter that has torch.
"""

import contextlib
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from protocol import LEARNING_RATE, Job, Rise, numbered, serve
from torch import Tensor, nn
from torch_networks import build

Check = Callable[[], Mapping[str, np.ndarray]]


def main() -> None:
    """Do the job on the command line."""
    warnings.filterwarnings("ignore")  # the exporter and the folding are old, and fit
    job, rise = Job.given(), Rise()
    torch.set_num_threads(job.threads)
    network = load(job).train(job.kind == "training")
    x = torch.from_numpy(np.load(job.input)).permute(0, 3, 1, 2).contiguous()
    if job.kind == "export":
        torch.onnx.export(network, (x,), str(job.onnx), dynamo=False, opset_version=17)
        return
    if "-fold" in job.tool:
        from torch.fx.experimental.optimization import fuse

        network = fuse(network)
    if "-cl" in job.tool or "-compile" in job.tool:
        network = network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    if "-compile" in job.tool:
        from torch._inductor import config

        config.freezing = job.kind != "training"
        network = torch.compile(network)
    make = training if job.kind == "training" else inference
    serve(job, f"torch {torch.__version__}", rise, *make(network, x, job))


def load(job: Job) -> nn.Module:
    """The network with the common weights; only torch's counters of batches may be left out."""
    network = build(job.network)
    with np.load(job.weights) as arrays:
        found = network.load_state_dict({k: torch.from_numpy(arrays[k]) for k in arrays.files}, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {found.unexpected_keys}")
    return network


def in_order(maps: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Maps of torch's layout as the protocol wants them."""
    return numbered(one.detach().float().movedim(1, -1).numpy() for one in maps)


def precision(job: Job) -> contextlib.AbstractContextManager[object]:
    """In what a forward run computes."""
    narrow = job.precision == "bfloat16"
    return torch.autocast("cpu", torch.bfloat16) if narrow else contextlib.nullcontext()


def several(maps: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A tuple, whatever the network returns."""
    return (maps,) if isinstance(maps, Tensor) else maps


def inference(network: nn.Module, x: Tensor, job: Job) -> tuple[Check, Callable[[], object]]:
    """One forward run without a tape."""

    def step() -> tuple[Tensor, ...]:
        with torch.inference_mode(), precision(job):
            return several(network(x))

    return lambda: in_order(step()), step


def training(network: nn.Module, x: Tensor, job: Job) -> tuple[Check, Callable[[], object]]:
    """Forward, the mean of squares of every map, backward, SGD."""
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)

    def step() -> tuple[Tensor, ...]:
        optimizer.zero_grad(set_to_none=True)
        with precision(job):
            maps = several(network(x))
        sum(one.float().square().mean() for one in maps).backward()
        optimizer.step()
        return maps

    def check() -> dict[str, np.ndarray]:
        computed = in_order(step())
        for name, parameter in network.named_parameters():
            computed[f"gradient.{name}"] = parameter.grad.numpy(force=True).copy()
        return computed

    return check, step


if __name__ == "__main__":
    main()
