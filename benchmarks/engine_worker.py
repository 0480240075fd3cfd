"""Worker for the engines that read ONNX: onnxruntime, openvino and OpenCV's dnn module, inference only."""

from collections.abc import Callable

import numpy as np
from protocol import Job, numbered, serve

Engine = tuple[str, Callable[[], object]]


def main() -> None:
    """Do the job on the command line."""
    job = Job.given()
    x = np.ascontiguousarray(np.load(job.input).transpose(0, 3, 1, 2))
    version, step = {"onnxruntime": onnxruntime, "openvino": openvino, "opencv5": opencv}[job.tool](job, x)
    serve(job, version, lambda: numbered(np.moveaxis(one, 1, -1) for one in step()), step)


def onnxruntime(job: Job, x: np.ndarray) -> Engine:
    """ONNX Runtime's CPU provider with its default optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = ort.InferenceSession(str(job.onnx), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x}
    return f"onnxruntime {ort.__version__}", lambda: session.run(None, given)


def openvino(job: Job, x: np.ndarray) -> Engine:
    """OpenVINO's CPU plugin for latency, in float32 as all others."""
    import openvino as ov

    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = ov.Core().compile_model(str(job.onnx), "CPU", settings).create_infer_request()
    return f"openvino {ov.__version__}", lambda: list(request.infer({0: x}).values())


def opencv(job: Job, x: np.ndarray) -> Engine:
    """OpenCV's dnn module with its default engine."""
    import cv2

    cv2.setNumThreads(job.threads)
    network = cv2.dnn.readNetFromONNX(str(job.onnx))
    names = network.getUnconnectedOutLayersNames()

    def step() -> object:
        network.setInput(x)
        return network.forward(names)

    return f"opencv {cv2.__version__}", step


if __name__ == "__main__":
    main()
