"""A small description with every layer, and weights for it."""

import numpy as np

from tests.weights.caffe_writer import caffemodel

DESCRIPTION = """
name: 'every layer' # and a comment
input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 12
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1.0 }
  convolution_param { num_output: 8 pad: 1 kernel_size: 3 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" relu_param { negative_slope: 0.1 } }
layer < name: "pool1"; type: "Pooling"; bottom: "conv1"; top: "pool1"
  pooling_param < pool: MAX, kernel_size: 2, stride: 2 > >
layer { name: "dw" type: "Convolution" bottom: "pool1" top: "dw"
  convolution_param { num_output: 8 group: 8 pad_h: 1 pad_w: 0 kernel_h: 3 kernel_w: 1 bias_term: false } }
layer { name: "dw/bn" type: "BatchNorm" bottom: "dw" top: "dw" batch_norm_param { use_global_stats: true } }
layer { name: "dw/scale" type: "Scale" bottom: "dw" top: "dw" scale_param { bias_term: true } }
layer { name: "dw/prelu" type: "PReLU" bottom: "dw" top: "dw" }
layer { name: "wide" type: "Convolution" bottom: "dw" top: "wide"
  convolution_param { num_output: 6 dilation: 2 pad: [2, 2] kernel_size: 3 group: 2 } }
layer { name: "avg" type: "Pooling" bottom: "dw" top: "avg"
  pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 } }
layer { name: "cat" type: "Concat" bottom: "wide" bottom: "avg" top: "cat" concat_param { axis: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "cat" top: "bn" batch_norm_param { eps: 1e-3 } }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scaled" }
layer { name: "sum" type: "Eltwise" bottom: "cat" bottom: "scaled" top: "sum"
  eltwise_param { operation: SUM } }
layer { name: "drop" type: "Dropout" bottom: "sum" top: "sum" dropout_param { dropout_ratio: 0.25 } }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc" inner_product_param { num_output: 10 } }
layer { name: "fc/act" type: "TanH" bottom: "fc" top: "fc" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc" top: "fc2"
  inner_product_param { num_output: 4 bias_term: false } }
layer { name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }
"""


def layers(seed: int = 0) -> list[tuple[str, str, list[np.ndarray]]]:
    """Weights of DESCRIPTION as (name, type, arrays)."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def statistics(channels: int, weight: float) -> list[np.ndarray]:
        variance = rng.uniform(0.5, 2, channels)
        return [normal(channels) * weight, np.float32(variance * weight), np.array([weight], np.float32)]

    return [
        ("conv1", "Convolution", [normal(8, 3, 3, 3), normal(8)]),
        ("dw", "Convolution", [normal(8, 1, 3, 1)]),
        ("dw/bn", "BatchNorm", statistics(8, 999.98)),
        ("dw/scale", "Scale", [normal(8), normal(8)]),
        ("dw/prelu", "PReLU", [normal(8)]),
        ("wide", "Convolution", [normal(6, 4, 3, 3), normal(6)]),
        ("bn", "BatchNorm", statistics(14, 1.0)),
        ("scale", "Scale", [normal(14)]),
        ("fc", "InnerProduct", [normal(10, 14 * 5 * 6) * 0.1, normal(10)]),
        ("fc2", "InnerProduct", [normal(4, 10)]),
    ]


def weights(seed: int = 0, **form: bool) -> bytes:
    """The .caffemodel of DESCRIPTION."""
    return caffemodel(layers(seed), **form)
