"""Worker for the engines that read ONNX, inference only: onnxruntime, openvino, OpenCV's dnn module, ncnn."""

import subprocess
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from protocol import Job, Rise, numbered, serve

Step = Callable[[], Sequence[np.ndarray]]


def main() -> None:
    """Do the job on the command line."""
    job = Job.given()
    engine, name = {
        "onnxruntime": (onnxruntime, "onnxruntime"),
        "openvino": (openvino, "openvino"),
        "opencv5": (opencv, "cv2"),
        "opencv4": (opencv, "cv2"),
        "ncnn": (ncnn, "ncnn"),
    }[job.family]
    library = import_module(name)
    rise = Rise()
    step = engine(library, job, np.ascontiguousarray(np.load(job.input).transpose(0, 3, 1, 2)))
    version = f"{name} {library.__version__}"
    serve(job, version, rise, lambda: numbered(np.moveaxis(one, 1, -1) for one in step()), step)


def onnxruntime(ort: Any, job: Job, x: np.ndarray) -> Step:
    """ONNX Runtime's CPU provider with its default optimisations."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = ort.InferenceSession(str(job.onnx), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, given)


def openvino(ov: Any, job: Job, x: np.ndarray) -> Step:
    """OpenVINO's CPU plugin for latency, in the job's precision."""
    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if job.precision == "bfloat16" else "f32",
    }
    request = ov.Core().compile_model(str(job.onnx), "CPU", settings).create_infer_request()
    return lambda: list(request.infer({0: x}).values())


def opencv(cv2: Any, job: Job, x: np.ndarray) -> Step:
    """OpenCV's dnn module with its default engine."""
    cv2.setNumThreads(job.threads)
    network = cv2.dnn.readNetFromONNX(str(job.onnx))
    names = network.getUnconnectedOutLayersNames()

    def step() -> Sequence[np.ndarray]:
        network.setInput(x)
        return network.forward(names)

    return step


def ncnn(library: Any, job: Job, x: np.ndarray) -> Step:
    """ncnn with its default options, on the network as its own converter pnnx writes it in float32."""
    if job.batch > 1:
        raise SystemExit("ncnn takes one input at a time")
    import pnnx

    stem = Path(job.folder, "ncnn")
    subprocess.run([pnnx.EXEC_PATH, job.onnx, "fp16=0", f"ncnnparam={stem}.param", f"ncnnbin={stem}.bin"],
                   cwd=job.folder, capture_output=True, check=True)  # fmt: skip
    network = library.Net()
    network.opt.num_threads = job.threads
    network.load_param(f"{stem}.param")
    network.load_model(f"{stem}.bin")
    given = library.Mat(x[0]).clone()  # a bare Mat does not keep the array alive

    def step() -> Sequence[np.ndarray]:
        extractor = network.create_extractor()
        extractor.input("in0", given)
        return [np.array(extractor.extract(name)[1])[None] for name in network.output_names()]

    return step


if __name__ == "__main__":
    main()
