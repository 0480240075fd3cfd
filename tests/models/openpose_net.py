"""A network of OpenPose's form that sees sticks by their colours, with MPI's points and limbs."""

import numpy as np

from tests.weights.caffe_writer import caffemodel

DESCRIPTION = """
input: "image" input_dim: 1 input_dim: 3 input_dim: 16 input_dim: 16
layer { name: "pool" type: "Pooling" bottom: "image" top: "pool"
  pooling_param { pool: AVE kernel_size: 8 stride: 8 } }
layer { name: "conv1_1" type: "Convolution" bottom: "pool" top: "conv1_1"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "L1" type: "Convolution" bottom: "conv1_1" top: "L1"
  convolution_param { num_output: 28 kernel_size: 1 } }
layer { name: "L2" type: "Convolution" bottom: "conv1_1" top: "L2"
  convolution_param { num_output: 16 kernel_size: 1 } }
layer { name: "concat" type: "Concat" bottom: "L2" bottom: "L1" top: "net_output" concat_param { axis: 1 } }
"""


def weights() -> bytes:
    """A .caffemodel for DESCRIPTION: head_top from red, neck from green, chest from the lack of red."""
    # pixel / 256 - 0.5 of BGR, to (pixel - 114) / 110 of RGB
    first = np.zeros((3, 3, 1, 1), np.float32)
    first[[0, 1, 2], [2, 1, 0]] = 256 / 110
    heat, fields = np.zeros((16, 3, 1, 1), np.float32), np.zeros((28, 3, 1, 1), np.float32)
    heat[[0, 1, 14], [0, 1, 0]] = np.array([1, 1, -1]).reshape(3, 1, 1)
    fields[[0, 14], 2] = 1  # x of head_top-neck and of neck-chest
    return caffemodel([
        ("conv1_1", "Convolution", [first, np.full(3, 14 / 110)]),
        ("L1", "Convolution", [fields, np.zeros(28)]),
        ("L2", "Convolution", [heat, np.zeros(16)]),
    ])  # fmt: skip
