"""Every architecture of the zoo: sizes, shapes, plan against tape, one step, weights out and in again."""

import numpy as np
import pytest

from visionkit.errors import WeightsError
from visionkit.graph import compile, summary, trace  # noqa: A004
from visionkit.models.backbones import DilatedDarknet
from visionkit.models.zoo import CARDS
from visionkit.nn import Conv2d
from visionkit.optim import SGD
from visionkit.tensor import Tensor, no_grad
from visionkit.weights import safetensors

SIDE = 64
ARCHITECTURES = [(name, head) for name in CARDS for head in ("light", "shared")]


def build(name, head="light", classes=3):
    return CARDS[name].build(classes, head=head, rng=np.random.default_rng(1))


def sizes(*convs):
    """Parameters of convolutions (inputs, outputs, kernel) with a batch-norm behind each."""
    return sum(i * o * k * k + 2 * o for i, o, k in convs)


def stage(inputs, outputs, blocks):
    block = [(outputs, outputs // 2, 1), (outputs // 2, outputs, 3)]
    return [(inputs, outputs, 3), *block * blocks]


def darknet(width, depths):
    """Stem and four stages that double the width, then the spatial pyramid."""
    c = [width * 2**i for i in range(5)]
    convs = [(3, c[0], 3)]
    for i in range(4):
        convs += stage(c[i], c[i + 1], depths[i])
    return sizes(*convs, (c[4], c[4] // 2, 1), (2 * c[4], c[4], 1))


def bottleneck(channels):
    return [(channels, channels // 2, 1), (channels // 2, channels // 2, 3), (channels // 2, channels, 1)]


def dilated_darknet(width):
    """Three usual stages, then twice a bottleneck with projection and one without."""
    c = [width * 2**i for i in range(4)]
    last = [*bottleneck(c[3]), (c[3], c[3], 1), *bottleneck(c[3])]
    return sizes((3, c[0], 3), *stage(c[0], c[1], 1), *stage(c[1], c[2], 2), *stage(c[2], c[3], 2), *last * 2)


def pyramid(inputs, channels):
    return sizes(*((c, channels, 1) for c in inputs), *[(channels, channels, 3)] * len(inputs))


def light_head(channels, levels, outputs):
    return levels * (sizes((channels, channels, 3)) + channels * outputs + outputs)


def shared_head(channels, outputs):
    return 8 * (9 * channels * channels + channels) + 9 * channels * outputs + outputs


BODIES = {
    "yolo-nano": (darknet(16, (1, 2, 2, 1)) + pyramid((64, 128, 256), 64), 64),
    "yolo-small": (darknet(32, (1, 2, 3, 2)) + pyramid((128, 256, 512), 96), 96),
    "yolo-nano-dilated": (dilated_darknet(16) + pyramid((64, 128, 128), 64), 64),
}


def test_every_architecture_is_counted():
    assert BODIES.keys() == CARDS.keys()


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(("name", "head"), ARCHITECTURES)
def test_parameters_are_as_many_as_counted_by_hand(name, head, classes):
    body, channels = BODIES[name]
    outputs = 3 * (5 + (classes if classes > 1 else 0))
    expected = body + (
        light_head(channels, 3, outputs) if head == "light" else shared_head(channels, outputs)
    )
    assert sum(p.size for p in build(name, head, classes).parameters()) == expected


@pytest.mark.parametrize("name", ["yolo-nano", "yolo-small"])
def test_the_size_is_what_the_card_says(name):
    found = summary(build(name, classes=1), (1, 320, 320, 3))
    said = f"{found.parameters / 1e6:.2f} M parameters, {found.flops / 1e9:.2f} GFLOP at 320x320"
    assert CARDS[name].summary == said


@pytest.mark.parametrize(("name", "head"), ARCHITECTURES)
def test_a_trace_has_one_map_per_stride(name, head):
    graph = trace(build(name, head), (2, SIDE, 2 * SIDE, 3))
    expected = [(2, SIDE // s, 2 * SIDE // s, 3 * 8) for s in CARDS[name].usual.strides]
    assert [out.shape for out in graph.outputs] == expected
    assert all(node.scope.split(".")[0] in ("backbone", "neck", "head") for node in graph.nodes)


@pytest.mark.parametrize(("name", "head"), ARCHITECTURES)
def test_the_plan_says_what_the_tape_says(name, head, rng):
    network = build(name, head).eval()
    for key, buffer in network.named_buffers():
        buffer.data[...] = rng.uniform(0.5, 1.5, buffer.shape) if key.endswith("var") else 0.1
    x = rng.integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)
    found = compile(network, x.shape, mean=114.0, scale=1 / 64).forward(x)
    with no_grad():
        expected = network(Tensor((x.astype(np.float32) - 114) / 64))
    for ours, reference in zip(found, expected, strict=True):
        assert np.abs(ours - reference.data).max() < 1e-5 * np.abs(reference.data).max()


@pytest.mark.parametrize(("name", "head"), ARCHITECTURES)
def test_one_step_changes_every_parameter_and_lowers_the_loss(name, head, rng):
    card, network = CARDS[name], build(name, head, classes=2)
    criterion = card.info(["cat", "dog"]).criterion()
    plan = compile(network, (2, SIDE, SIDE, 3), training=True, mean=card.usual.mean, scale=card.usual.scale)
    optimiser = SGD(network.parameters(), lr=0.01)
    images = rng.integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    boxes = [np.array([[4.0, 6, 12, 22]]), np.array([[20.0, 10, 62, 60]])]
    targets = criterion.codec.encode(boxes, [np.array([0]), np.array([1])], None, (SIDE, SIDE))
    before = {key: p.data.copy() for key, p in network.named_parameters()}
    totals = []
    for _ in range(2):
        losses, gradients = criterion.loss.value_and_gradients(plan.forward(images), targets)
        totals.append(sum(losses.values()))
        if len(totals) == 1:
            plan.backward(gradients)
            optimiser.step()
    assert totals[1] < totals[0]
    assert not [key for key, p in network.named_parameters() if (p.data == before[key]).all()]


@pytest.mark.parametrize("name", CARDS)
def test_weights_travel_through_a_file(name, tmp_path):
    card, file = CARDS[name], tmp_path / "weights.safetensors"
    one, other = card.network(3, seed=1), card.network(3, seed=2)
    assert any((a.data != b.data).any() for a, b in zip(one.parameters(), other.parameters(), strict=True))
    safetensors.write(file, one.state_dict())
    other.load_state_dict(safetensors.read(file)[0])
    for key, array in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key], array, err_msg=key)
    with pytest.raises(WeightsError, match=r"head\.predict\.0\.weight"):
        card.network(4).load_state_dict(safetensors.read(file)[0])


def test_the_dilated_backbone_keeps_stride_16_and_sees_wider():
    backbone = DilatedDarknet(rng=np.random.default_rng(1))
    graph = trace(backbone, (1, SIDE, SIDE, 3))
    assert [out.shape for out in graph.outputs] == [(1, 8, 8, 64), (1, 4, 4, 128), (1, 4, 4, 128)]
    dilated = [m for m in backbone.modules() if isinstance(m, Conv2d) and m.dilation == (2, 2)]
    assert len(dilated) == 4
    assert all(m.kernel == (3, 3) and m.padding == (2, 2) and m.stride == (1, 1) for m in dilated)


def test_the_shared_head_answers_equal_levels_alike(rng):
    head = build("yolo-nano", "shared").head
    level = Tensor(rng.standard_normal((1, 4, 5, 64)).astype(np.float32))
    with no_grad():
        first, second, third = head((level, level, level * 2.0))
    np.testing.assert_array_equal(first.data, second.data)
    assert (first.data != third.data).any()


def test_the_shared_head_puts_box_scores_and_classes_beside_each_other():
    head = build("yolo-nano", "shared", classes=3).head
    for conv, value in ((head.predict_box, 1.0), (head.predict_score, 2.0)):
        conv.weight.data[...] = 0
        conv.bias.data[...] = value
    with no_grad():
        (out,) = head((Tensor(np.zeros((1, 2, 2, 64), np.float32)),))
    np.testing.assert_array_equal(out.data[0, 0, 0], np.tile([1, 1, 1, 1, 2, 2, 2, 2], 3))


@pytest.mark.parametrize("head", ["light", "shared"])
def test_a_new_detector_finds_next_to_nothing(head):
    """Objectness starts at the prior 0.01: a bias of log(0.01 / 0.99)."""
    head = build("yolo-nano", head).head
    biases = (
        [conv.bias.data.reshape(3, -1)[:, 4] for conv in head.predict]
        if hasattr(head, "predict")
        else [head.predict_score.bias.data.reshape(3, -1)[:, 0]]
    )
    np.testing.assert_allclose(biases, -4.59512, rtol=1e-6)
