"""Networks for key points: torch's outputs and gradients, plan against tape, ONNX, one step, sizes."""

import copy
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import run_torch
from visionkit.errors import ShapeError, UsageError
from visionkit.graph import compile, summary, trace  # noqa: A004
from visionkit.graph.onnx import to_onnx
from visionkit.models.caffe import CaffeNetwork
from visionkit.models.detectors import yolo_nano
from visionkit.models.hourglass import hourglass, hourglass_lite
from visionkit.models.openpose_lite import openpose_lite, openpose_lite_mobile
from visionkit.models.openpose_vgg import OpenPose
from visionkit.optim import SGD
from visionkit.tensor import Tensor, no_grad
from visionkit.weights import prototxt

TORCH = Path(__file__).with_name("torch_pose.py").read_text()

#: How ours is made, how torch's is, the shape of its input, channels of its maps, stride.
NETWORKS = {
    "openpose-lite": (
        lambda rng: openpose_lite(5, 8, rng=rng),
        "OpenPoseLite(TinyDarknet(), 64, 5, 8, 1, 3)",
        (2, 64, 96, 3), (5, 8) * 2, 4,
    ),
    "openpose-lite, two refinements": (
        lambda rng: openpose_lite(6, 8, refinements=2, rng=rng),
        "OpenPoseLite(TinyDarknet(), 64, 6, 8, 2, 3)",
        (2, 64, 32, 3), (6, 8) * 3, 4,
    ),
    "openpose-lite-mobile": (
        lambda rng: openpose_lite_mobile(5, 8, rng=rng),
        "OpenPoseLite(DilatedMobileNet(), 64, 5, 8, 1, 2)",
        (2, 32, 64, 3), (5, 8) * 2, 4,
    ),
    "hourglass": (
        lambda rng: hourglass(6, stacks=2, rng=rng), "hourglass(6, 2)", (2, 64, 128, 3), (6, 6), 4,
    ),
    "hourglass-lite": (
        lambda rng: hourglass_lite(17, stacks=3, rng=rng), "hourglass_lite(17, 3)",
        (2, 128, 64, 3), (17,) * 3, 4,
    ),
    "openpose": (
        lambda rng: OpenPose(5, 8, stages=3, rng=rng), "OpenPose(5, 8, 3)", (2, 16, 32, 3), (5, 8) * 3, 8,
    ),
}  # fmt: skip


def build(name, rng=None):
    """The network with statistics that are not those of the start."""
    network = NETWORKS[name][0](rng or np.random.default_rng(1))
    rng = np.random.default_rng(2)
    for key, buffer in network.named_buffers():
        buffer.data[...] = rng.uniform(0.5, 1.5, buffer.shape) if key.endswith("var") else 0.1
    return network


def relative(found, expected):
    """The largest difference, as a share of the largest value; what is exactly 0 but for rounding passes."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-3)


@pytest.mark.peers
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_gradients_and_statistics_are_torchs(name, rng):
    """By the same names, in float64, in training mode."""
    _, torchs, shape, _, _ = NETWORKS[name]
    network = build(name).to(np.float64)
    x = rng.standard_normal(shape)
    given = {f"w.{key}": array.copy() for key, array in network.state_dict().items()}
    maps = network(Tensor(x))
    seeds = [rng.standard_normal(m.shape) for m in maps]
    given |= {f"seed.{i}": seed for i, seed in enumerate(seeds)} | {"x": x}
    expected = run_torch(f"{TORCH}\nrun({torchs}, given, result)\n", given)
    sum(((m * seed).sum() for m, seed in zip(maps, seeds, strict=True)), Tensor(np.zeros(()))).backward()
    found = {f"map.{i}": m.data for i, m in enumerate(maps)}
    found |= {f"grad.{key}": p.grad for key, p in network.named_parameters()}
    found |= {f"stat.{key}": b.data for key, b in network.named_buffers()}
    assert found.keys() == expected.keys()
    for key, ours in found.items():
        assert relative(ours, expected[key]) < 1e-8, key


@pytest.mark.parametrize("name", NETWORKS)
def test_a_trace_has_the_maps_of_every_stage(name):
    _, _, (batch, height, width, _), channels, stride = NETWORKS[name]
    outputs = trace(build(name), (batch, height, width, 3)).outputs
    expected = [(batch, height // stride, width // stride, c) for c in channels]
    assert [out.shape for out in outputs] == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_the_plan_and_onnxruntime_say_what_the_tape_says(name, rng):
    onnxruntime = pytest.importorskip("onnxruntime", reason="not installed: pip install 'visionkit[onnx]'")
    network, shape = build(name).eval(), NETWORKS[name][2]
    x = rng.integers(0, 256, shape).astype(np.uint8)
    with no_grad():
        exact = copy.deepcopy(network).to(np.float64)(Tensor((x.astype(np.float64) - 114) / 64))
    planned = compile(network, shape, mean=114.0, scale=1 / 64).forward(x)
    file = to_onnx(network, shape, mean=114.0, scale=1 / 64)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    exported = session.run(None, {"input": x.astype(np.float32).transpose(0, 3, 1, 2)})
    assert len(planned) == len(exported) == len(exact)
    for ours, theirs, reference in zip(planned, exported, exact, strict=True):
        assert relative(ours, reference.data) < 1e-5
        assert relative(theirs.transpose(0, 2, 3, 1), reference.data) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_step_changes_every_parameter_and_lowers_the_loss(name, rng):
    network, shape = NETWORKS[name][0](np.random.default_rng(1)), NETWORKS[name][2]
    plan = compile(network, shape, training=True, mean=114.0, scale=1 / 64)
    optimiser = SGD(network.parameters(), lr=0.01)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    before = {key: p.data.copy() for key, p in network.named_parameters()}
    targets = [rng.random(m.shape, np.float32) for m in plan.forward(images)]
    totals = []
    for _ in range(2):
        errors = [m - t for m, t in zip(plan.forward(images), targets, strict=True)]
        totals.append(sum(float((e * e).mean()) for e in errors))
        plan.backward(tuple(e * np.float32(2 / e.size) for e in errors))
        optimiser.step()
    assert totals[1] < totals[0]
    assert not [key for key, p in network.named_parameters() if (p.data == before[key]).all()]


def said(parameters, flops, doc):
    """Whether a docstring gives these figures."""
    return all(
        f"{n:.2f} {unit}" in doc for n, unit in ((parameters / 1e6, "M param"), (flops / 1e9, "GFLOP"))
    )


@pytest.mark.parametrize(
    ("make", "channels", "size"),
    [
        (openpose_lite, (17, 38), (320, 320)),
        (openpose_lite_mobile, (17, 38), (320, 320)),
        (hourglass_lite, (17,), (256, 192)),
    ],
)
def test_the_light_networks_are_as_large_as_they_say(make, channels, size):
    """A file of at most 8 MB holds two million float32."""
    found = summary(make(*channels, rng=np.random.default_rng(0)), (1, *size, 3))
    assert said(found.parameters, found.flops, make.__doc__)
    assert found.parameters < 2e6


def test_the_hourglass_has_the_published_size():
    """26 M parameters and 55 GFLOP with 8 stacks for MPII's 16 points (Zhang et al. 2019, table 1)."""
    found = summary(hourglass(16, rng=np.random.default_rng(0)), (1, 256, 256, 3))
    assert said(found.parameters, found.flops, hourglass.__doc__)
    assert round(found.flops / 1e9) == 55
    assert found.parameters == pytest.approx(26e6, rel=0.025)


def test_openpose_has_the_published_size():
    """`pose_iter_440000.caffemodel` has 209,274,056 bytes, of which its structure takes some 28,000."""
    found = summary(OpenPose(19, 38, rng=np.random.default_rng(0)), (1, 368, 368, 3))
    assert said(found.parameters, found.flops, OpenPose.__doc__)
    assert 20_000 < 209_274_056 - 4 * found.parameters < 40_000


@pytest.mark.parametrize("stacks", [1, 8])
def test_every_stack_is_supervised(stacks):
    network = hourglass_lite(5, stacks=stacks, rng=np.random.default_rng(0))
    assert [m.shape for m in trace(network, (2, 64, 64, 3)).outputs] == [(2, 16, 16, 5)] * stacks


@pytest.mark.parametrize("make", [
    lambda rng: hourglass(5, stacks=0, rng=rng), lambda rng: hourglass_lite(5, stacks=9, rng=rng),
    lambda rng: OpenPose(5, 8, stages=1, rng=rng), lambda rng: OpenPose(5, 8, stages=7, rng=rng),
])  # fmt: skip
def test_other_numbers_of_stages_are_refused(make, rng):
    with pytest.raises(UsageError, match=r"1 to 8 stacks|2 to 6 stages"):
        make(rng)


@pytest.mark.parametrize("size", [(160, 64), (64, 96)])
def test_sides_that_cannot_be_halved_so_often(size, rng):
    with pytest.raises(ShapeError, match=f"{size[0]}x{size[1]}.*multiples of 64"):
        trace(hourglass_lite(5, rng=rng), (1, *size, 3))


CAFFE = {"linevec_coco": (19, 38, 6), "mpi_4_stages": (16, 28, 4)}


@pytest.mark.parametrize("name", CAFFE)
def test_openpose_is_the_network_of_the_published_description(name, real_data, rng):
    """With the weights of one in the other, layer by layer, both say the same."""
    file = real_data / "structures" / "openpose" / f"pose_deploy_{name}.prototxt"
    caffe = CaffeNetwork(prototxt.read(file), seed=4)
    points, fields, stages = CAFFE[name]
    ours = OpenPose(points, fields, stages=stages, rng=rng)
    vgg = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4", "4_1", "4_2"]
    names = {f"front.convs.{i}": f"conv{layer}" for i, layer in enumerate(vgg)}
    names |= {f"reduce.{i}": f"conv4_{3 + i}_CPM" for i in range(2)}
    for branch, side in (("fields", "L1"), ("heat", "L2")):
        for stage in range(stages):
            last = [f"convs.{i}" for i in range(5 if stage else 3)] + ["hidden", "predict"]
            theirs = f"Mconv{{}}_stage{stage + 1}_{side}" if stage else f"conv5_{{}}_CPM_{side}"
            names |= {f"{branch}.{stage}.{part}": theirs.format(i) for i, part in enumerate(last, 1)}
    state = caffe.state_dict()
    assert len(names) * 2 == len(ours.state_dict()) == len(state)
    taken = {f"{mine}.{kind}": state[f"{other}.{kind}"] for mine, other in names.items()
             for kind in ("weight", "bias")}  # fmt: skip
    for key in taken:
        if key.endswith("bias"):
            taken[key][...] = rng.normal(0, 0.1, taken[key].shape)
    ours.load_state_dict(taken)
    x = Tensor(rng.normal(0, 0.5, (1, 32, 40, 3)).astype(np.float32))
    with no_grad():
        heat, affinity = ours(x)[-2:]
        expected = caffe(x).data
    assert relative(np.concatenate([heat.data, affinity.data], axis=-1), expected) < 1e-5


def test_openpose_lite_starts_from_a_detectors_backbone():
    """Names and shapes are those of `yolo_nano`, so weights of a detector can be taken over."""
    ours = openpose_lite(17, 38, rng=np.random.default_rng(0)).state_dict()
    theirs = yolo_nano(1, rng=np.random.default_rng(0)).state_dict()
    shapes = [
        {key: array.shape for key, array in state.items() if key.startswith("backbone.")}
        for state in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


def test_what_lies_far_away_reaches_the_first_stage_and_what_it_says_reaches_the_second(rng):
    """A pixel in a corner moves maps in the opposite one; the fields of stage 1 move those of stage 2."""
    network = build("openpose-lite").eval()
    x = rng.standard_normal((1, 128, 128, 3)).astype(np.float32)
    with no_grad():
        before = [m.data.copy() for m in network(Tensor(x))]
        x[0, 0, 0] += 50
        after = [m.data for m in network(Tensor(x))]
        assert all((a[0, -1, -1] != b[0, -1, -1]).any() for a, b in zip(before, after, strict=True))
        network.stages[0].fields.bias.data += 1
        moved = [m.data for m in network(Tensor(x))]
    np.testing.assert_array_equal(moved[0], after[0])
    np.testing.assert_allclose(moved[1], after[1] + 1, atol=1e-5)
    assert all(np.abs(m - a).max() > 1e-3 for m, a in zip(moved[2:], after[2:], strict=True))


def test_a_stacks_heat_maps_flow_back_into_the_trunk(rng):
    """POS-06: the next stack sees its input, the features and the heat maps of the one before."""
    network = build("hourglass-lite").eval()
    x = Tensor(rng.standard_normal((1, 64, 64, 3)).astype(np.float32))
    first = network.stacks[0]
    with no_grad():
        given = network.stem(x)
        onward, heat = first(given)
        features = first.body(given)
        expected = given + first.trunk(features) + first.back(heat)
        np.testing.assert_array_equal(onward.data, expected.data)
        before = network(x)[1].data.copy()
        first.heat.bias.data += 1
        assert np.abs(network(x)[1].data - before).max() > 1e-3
