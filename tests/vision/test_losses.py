"""The criterion: the fused kernels against the composed definition, that against differences and torch."""

import numpy as np
import pytest

from tests.oracles import run_torch
from visionkit.errors import ShapeError, UsageError
from visionkit.gradcheck import gradcheck
from visionkit.kernels.jit import set_threads, threads
from visionkit.tensor import Tensor
from visionkit.vision.assign import AllAbove, ByShape
from visionkit.vision.boxes import iou_matrix
from visionkit.vision.losses import YoloLoss, ciou
from visionkit.vision.yolo import YoloCodec

ANCHORS = [[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[116, 90], [90, 60], [60, 60]]]
SIZE = (96, 128)


def batch(codec, rng, pictures=3, most=6):
    """Random targets (with an empty picture and ignored boxes) and random float64 maps."""
    boxes, labels, ignore = [], [], []
    for b in range(pictures):
        n = 0 if b == 1 else int(rng.integers(1, most))
        wh = np.exp(rng.uniform(np.log(4), np.log(90), (n, 2)))
        centre = rng.uniform(0, 1, (n, 2)) * (SIZE[1], SIZE[0])
        xyxy = np.concatenate([centre - wh / 2, centre + wh / 2], axis=1)
        boxes.append(xyxy.clip(0, [SIZE[1], SIZE[0]] * 2).astype(np.float32))
        labels.append(rng.integers(0, codec.classes, n))
        ignore.append(rng.random(n) < 0.2)
    targets = codec.encode(boxes, labels, ignore, SIZE)
    near = codec.ideal_maps(targets)  # near the truth, so that the ignore rule has something to ignore
    maps = [np.where(rng.random(m.shape) < 0.5, m.clip(-3, 3), 0) + rng.normal(0, 0.7, m.shape) for m in near]
    return targets, maps


SETTINGS = [
    {"assignment": "v5"},
    {"assignment": "hy"},
    {"assignment": "v3", "form": "exp"},
    {"assignment": "shape", "form": "exp", "box_loss": "smooth_l1"},
    {"assignment": ByShape(best_always=True), "box_loss": "l2"},
    {"assignment": AllAbove(ignore_iou=0.3), "form": "exp"},
    {"assignment": "v5", "objectness_loss": "focal"},
    {"assignment": "hy", "objectness_loss": "focal", "gamma": 1.5, "alpha": 0.25},
    {"assignment": "v5", "class_scores": "softmax"},
]


def pieces(setting, classes):
    of_codec = {k: v for k, v in setting.items() if k in ("assignment", "form", "class_scores")}
    codec = YoloCodec(ANCHORS, (8, 16, 32), classes, **of_codec)
    return codec, YoloLoss(codec, **{k: v for k, v in setting.items() if k not in of_codec})


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_fused_equals_composed(setting, classes):
    codec, criterion = pieces(setting, classes)
    for seed in range(3):
        targets, maps = batch(codec, np.random.default_rng(seed))
        tensors = [Tensor(m, requires_grad=True) for m in maps]
        losses = criterion(tensors, targets)
        (losses["box"] + losses["objectness"] + losses["class"]).backward()
        values, gradients = criterion.value_and_gradients(maps, targets)
        for name, loss in losses.items():
            assert values[name] == pytest.approx(loss.item(), rel=1e-9, abs=1e-15), name
        for tensor, gradient in zip(tensors, gradients, strict=True):
            assert gradient.dtype == np.float64
            np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-7, atol=1e-12)
        single, low = criterion.value_and_gradients([m.astype(np.float32) for m in maps], targets)
        assert sum(single.values()) == pytest.approx(sum(values.values()), rel=1e-5)
        assert all(g.dtype == np.float32 for g in low)
        for exact, rough in zip(gradients, low, strict=True):
            np.testing.assert_allclose(rough, exact, rtol=2e-4, atol=2e-6 * np.abs(exact).max())


def test_gradient_is_the_slope_where_nothing_is_detached():
    """Smooth L1, target one, softmax: no constant hides in the gradient, so differences must agree."""
    codec, criterion = pieces(SETTINGS[3] | {"class_scores": "softmax"}, 3)
    rng = np.random.default_rng(5)
    targets, maps = batch(codec, rng)
    _, gradients = criterion.value_and_gradients(maps, targets)
    checked = 0
    for level, wanted in enumerate(targets.levels):
        depth = 5 + codec.class_channels
        for b, y, x, a in wanted.cells[:8]:
            for k in range(depth):
                at, eps = (b, y, x, a * depth + k), 1e-5
                up, down = [m.copy() for m in maps], [m.copy() for m in maps]
                up[level][at] += eps
                down[level][at] -= eps
                rise = sum(criterion.value_and_gradients(up, targets)[0].values())
                fall = sum(criterion.value_and_gradients(down, targets)[0].values())
                assert gradients[level][at] == pytest.approx((rise - fall) / (2 * eps), rel=1e-5, abs=1e-10)
                checked += 1
    assert checked >= 16


def test_loss_by_hand_one_box_one_cell():
    """A box of its anchor's size, exactly predicted: box loss 0 and BCE terms that fit on paper."""
    codec = YoloCodec([[[16, 16]]], (8,), 1, assignment="v3")
    targets = codec.encode([[[4, 4, 20, 20]]], [[0]], None, (32, 32))
    (maps,) = codec.ideal_maps(targets)
    np.testing.assert_array_equal(targets.levels[0].cells, [[0, 1, 1, 0]])
    maps[..., 4] = 0.0
    values, (gradient,) = YoloLoss(codec, balance=(2.0,)).value_and_gradients([maps], targets)
    assert values["box"] == pytest.approx(0.0, abs=1e-6)
    # 16 places; every other cell's prediction is a 16x16 box at its own centre, 8 pixels or more away: the
    # IoU with the truth is at most 1/3, so none is ignored, and every BCE is log 2.
    assert values["objectness"] == pytest.approx(0.25 * 2 * np.log(2))
    wanted = np.full((4, 4), 0.25 * 2 * 0.5 / 16)
    wanted[1, 1] *= -1
    np.testing.assert_allclose(gradient[0, :, :, 4], wanted, rtol=1e-6)


def test_ignored_predictions_and_regions_carry_no_objectness():
    codec = YoloCodec([[[16, 16], [18, 18]]], (8,), 1, assignment="v3")
    truth, crowd, tiny = [4, 4, 20, 20], [40, 40, 64, 64], [50, 9, 52, 11]
    targets = codec.encode([[truth, crowd, tiny]], [[0, 0, 0]], [[False, True, False]], (64, 64))
    (maps,) = codec.ideal_maps(targets)
    places = maps.reshape(1, 8, 8, 2, 5)
    places[0, 1, 1, 1, :4] = 0.0  # the second anchor says 18x18 at the centre: IoU .79 with the truth
    _, (gradient,) = YoloLoss(codec).value_and_gradients([maps], targets)
    slope = gradient.reshape(1, 8, 8, 2, 5)[0, ..., 4]
    assert slope[1, 1, 0] < 0  # the positive is taught
    assert slope[1, 1, 1] == 0  # its double is left out
    assert (slope[5:8, 5:8] == 0).all()  # the crowd
    assert (slope[1, 6] == 0).all()  # the box with sides below 3 pixels
    assert np.count_nonzero(slope == 0) == 1 + 2 * 9 + 2


def test_nothing_to_find_still_teaches_background():
    codec = YoloCodec(ANCHORS, (8, 16, 32), 3)
    targets = codec.encode([np.zeros((0, 4))] * 2, [[], []], None, SIZE)
    assert targets.positives == 0
    maps = [np.zeros((2, *size, codec.channels), np.float32) for size in codec.map_sizes(SIZE)]
    values, gradients = YoloLoss(codec).value_and_gradients(maps, targets)
    assert values["box"] == values["class"] == 0
    assert values["objectness"] == pytest.approx(0.25 * (4 + 1 + 0.4) * np.log(2), rel=1e-5)
    assert all((g.reshape(-1, 8)[:, 4] > 0).all() for g in gradients)


def test_bits_do_not_depend_on_threads():
    codec, criterion = pieces({"assignment": "hy"}, 3)
    targets, maps = batch(codec, np.random.default_rng(3), pictures=8, most=20)
    single = [m.astype(np.float32) for m in maps]
    before = threads()
    try:
        results = []
        for count in (1, 2):
            set_threads(count)
            values, gradients = criterion.value_and_gradients(single, targets)
            results.append((values, [g.tobytes() for g in gradients]))
    finally:
        set_threads(before)
    assert results[0] == results[1]


def test_ciou_values_and_gradient():
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 20, (2, 12, 2)), rng.uniform(3, 15, (2, 12, 2))
    a, b = np.concatenate([corner, corner + size], axis=2)
    value = ciou(Tensor(a), Tensor(b)).data
    assert (value <= np.diag(iou_matrix(a, b)) + 1e-12).all()
    np.testing.assert_allclose(ciou(Tensor(a), Tensor(a)).data, 1, atol=1e-6)
    # alpha is a constant for the gradient, so hold the aspect ratio: squares against squares
    square = np.concatenate([corner, corner + size[..., :1]], axis=2)
    assert gradcheck(lambda x: ciou(x, Tensor(square[1])), [square[0]], rng=rng) < 1e-5


@pytest.mark.peers
def test_ciou_against_torch():
    """The authors' formula in PyTorch, float64: value, and the gradient with alpha held."""
    rng = np.random.default_rng(1)
    corner, size = rng.uniform(0, 20, (2, 200, 2)), rng.uniform(0.5, 25, (2, 200, 2))
    a, b = np.concatenate([corner, corner + size], axis=2)
    answer = run_torch(
        """
a = torch.from_numpy(given["a"]).requires_grad_()
b = torch.from_numpy(given["b"])
low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
inter = (high - low).clamp(min=0).prod(1)
wa, wb = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
iou = inter / (wa.prod(1) + wb.prod(1) - inter)
box = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
centres = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(1)
v = 4 / torch.pi**2 * (torch.atan(wb[:, 0] / wb[:, 1]) - torch.atan(wa[:, 0] / wa[:, 1])).square()
with torch.no_grad():
    alpha = v / (1 - iou + v)
value = iou - centres / box.square().sum(1) - alpha * v
(value * torch.from_numpy(given["weight"])).sum().backward()
result["value"], result["gradient"] = value, a.grad
""",
        {"a": a, "b": b, "weight": (weight := rng.normal(size=200))},
    )
    x = Tensor(a, requires_grad=True)
    value = ciou(x, Tensor(b))
    (value * Tensor(weight)).sum().backward()
    np.testing.assert_allclose(value.data, answer["value"], atol=1e-6)  # the epsilon in the ratios
    np.testing.assert_allclose(x.grad, answer["gradient"], atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0, 0, 10, 10], [30, 40, 50, 60]),  # disjoint
        ([0, 0, 10, 10], [2, 2, 4, 5]),  # contained
        ([0, 0, 10, 10], [0, 0, 10, 10]),  # identical
        ([0, 0, 10, 10], [10, 0, 20, 10]),  # touching
        ([5, 5, 5, 5], [0, 0, 10, 10]),  # no area
        ([5, 5, 5, 5], [5, 5, 5, 5]),
    ],
)
def test_ciou_is_finite_in_the_corners(a, b):
    x = Tensor(np.array([a], np.float64), requires_grad=True)
    value = ciou(x, Tensor(np.array([b], np.float64)))
    value.sum().backward()
    assert np.isfinite(value.data).all()
    assert np.isfinite(x.grad).all()
    if a == [0, 0, 10, 10] and b[0] == 30:  # IoU 0, distance^2 45^2+... over diagonal^2, same aspect
        assert value.item() == pytest.approx(-(35**2 + 45**2) / (50**2 + 60**2))


def test_wrong_arguments_are_named():
    codec = YoloCodec(ANCHORS, (8, 16, 32), 1)
    with pytest.raises(UsageError, match="giou"):
        YoloLoss(codec, box_loss="giou")
    with pytest.raises(UsageError, match="hinge"):
        YoloLoss(codec, objectness_loss="hinge")
    with pytest.raises(UsageError, match="3 numbers"):
        YoloLoss(codec, balance=(1, 1))
    targets = codec.encode([np.zeros((0, 4))], [[]], None, SIZE)
    with pytest.raises(ShapeError, match="3 maps"):
        YoloLoss(codec).value_and_gradients([np.zeros((1, 12, 16, 15), np.float32)], targets)


@pytest.mark.parametrize("rule", ["v5", "hy", "v3", "shape"])
def test_descending_the_gradient_finds_the_truth(rule):
    """Adam on the maps themselves, from background, ends in detections that are the ground truth."""
    codec = YoloCodec(ANCHORS, (8, 16, 32), 3, assignment=rule)
    criterion = YoloLoss(codec)
    truth = np.array([[10, 12, 40, 70], [60, 30, 76, 60], [80, 4, 124, 90]], np.float32)
    targets = codec.encode([truth], [[2, 0, 1]], None, SIZE)
    maps = [np.zeros((1, *size, codec.channels), np.float32) for size in codec.map_sizes(SIZE)]
    for values in maps:
        values[..., 4::8] = -4.6
    first = [np.zeros_like(m) for m in maps]
    second = [np.zeros_like(m) for m in maps]
    for _ in range(400):
        _, gradients = criterion.value_and_gradients(maps, targets)
        for x, g, m, v in zip(maps, gradients, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.01 * (g * g - v)
            x -= 0.05 * m / (np.sqrt(v) + 1e-12)
    (found,) = codec.decode(maps, 0.5)
    assert len(found) == 3
    pairs = iou_matrix(truth, found.xyxy)
    assert (pairs.max(axis=1) > 0.9).all()
    assert found.class_id[pairs.argmax(axis=1)].tolist() == [2, 0, 1]
