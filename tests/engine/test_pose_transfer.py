"""Fine-tuning by the names of points: which numbers go where."""

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.pose_made_up import PUPPET
from visionkit import functional as F
from visionkit import nn
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_transfer import Ports, ports, transfer_poses
from visionkit.errors import WeightsError
from visionkit.models import zoo
from visionkit.models.card import PoseCard
from visionkit.vision.skeleton import Skeleton

#: Other names, another order, limbs that turn round or are new.
OTHER = Skeleton("other", ("left_foot", "right_foot", "tail", "head"), ((3, 0), (3, 1), (2, 3)),
                 sigmas=(0.05,) * 4)  # fmt: skip


class Staged(nn.Module):
    """Two stages, the second of which sees features beside the maps of the first."""

    def __init__(self, points, fields=0, *, rng):
        self.stem = nn.Conv2d(3, 6, 3, rng=rng)
        self.heat = nn.Conv2d(6, points, 1, rng=rng)
        self.fields = nn.Conv2d(6, fields, 1, rng=rng) if fields else None
        self.join = nn.Conv2d(6 + points + fields, 4, 1, rng=rng)
        self.norm = nn.BatchNorm2d(6 + points + fields)

    def forward(self, x):
        x = self.stem(x)
        maps = [self.heat(x)] + ([self.fields(x)] if self.fields else [])
        return (*maps, self.join(self.norm(F.concat([x, *maps]))))


CARD = PoseCard(Staged, "two stages", PoseInfo("staged", PUPPET, background=True))


def test_ports_are_found_by_their_shapes():
    found = CARD.ports((6, 8))
    assert found == {
        "heat.weight": Ports(0, True, False),
        "heat.bias": Ports(0, True, False),
        "fields.weight": Ports(0, False, True),
        "fields.bias": Ports(0, False, True),
        "join.weight": Ports(1, True, True),
        "norm.weight": Ports(0, True, True),
        "norm.bias": Ports(0, True, True),
        "norm.running_mean": Ports(0, True, True),
        "norm.running_var": Ports(0, True, True),
    }
    one = CARD.ports((6,))
    assert one["join.weight"] == Ports(1, True, False)
    assert "fields.weight" not in one
    base = {"a": np.zeros((3, 2))}
    assert ports(base, base, base) == {}


def infos():
    old = CARD.info(PUPPET, ("puppet",), (1,))
    return old, old.with_skeleton(OTHER, ("other",), (2,))


def test_channels_go_to_their_names():
    """feet and head keep theirs; tail is new; of the limbs head-left_foot and head-right_foot stay."""
    old, new = infos()
    before, network, fresh = (CARD.network(i.channels, seed) for i, seed in ((old, 1), (new, 2), (new, 2)))
    a, c = before.state_dict(), fresh.state_dict()
    done = transfer_poses(network, a, old, new, CARD.ports(new.channels))
    b = network.state_dict()
    assert done.copied == ("stem.weight", "stem.bias", "join.bias")
    assert set(done.matched) == set(CARD.ports(new.channels))
    assert done.classes == ("left_foot", "right_foot", "head")
    assert "maps kept for left_foot, right_foot, head" in done.explain()
    rows = {0: 3, 1: 4, 3: 0, 4: 5}  # new heat channel: old one; the last is the background
    limbs = {0: 4, 1: 5, 2: 6, 3: 7}  # x and y of the two limbs that both have
    for k in range(5):
        np.testing.assert_array_equal(
            b["heat.weight"][k], a["heat.weight"][rows[k]] if k in rows else c["heat.weight"][k]
        )
    for k in range(6):
        wanted = a["fields.weight"][limbs[k]] if k in limbs else c["fields.weight"][k]
        np.testing.assert_array_equal(b["fields.weight"][k], wanted)
    columns = {k: k for k in range(6)} | {6 + k: 6 + v for k, v in rows.items()}
    columns |= {11 + k: 12 + v for k, v in limbs.items()}
    for k in range(17):
        wanted = a["join.weight"][:, columns[k]] if k in columns else c["join.weight"][:, k]
        np.testing.assert_array_equal(b["join.weight"][:, k], wanted)


def test_the_same_points_keep_everything():
    old, _ = infos()
    before, network = CARD.network(old.channels, 1), CARD.network(old.channels, 2)
    done = transfer_poses(network, before.state_dict(), old, old, CARD.ports(old.channels))
    assert not done.fresh
    assert not done.unused
    for name, array in before.state_dict().items():
        np.testing.assert_array_equal(network.state_dict()[name], array)


def test_nothing_fits():
    old, new = infos()
    network = CARD.network(new.channels)
    kept = {name: array.copy() for name, array in network.state_dict().items()}
    for tensors in ({"x": np.zeros(3, np.float32)}, {"stem.weight": np.zeros((1, 3, 3, 3), np.float32)}):
        with pytest.raises(WeightsError, match="no tensor"):
            transfer_poses(network, tensors, old, new, CARD.ports(new.channels))
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, kept[name])


@pytest.mark.parametrize("name", zoo.POSE_CARDS)
def test_networks_of_the_zoo_travel_and_are_tuned(name, tmp_path):
    """Saved and opened: the same network; for other points: every map but those of new names is kept."""
    card = zoo.pose_card(name)
    info = replace(card.info(PUPPET, ("puppet",), (7,)), licence="CC0")
    network = card.network(info.channels, 3)
    path = tmp_path / "w.safetensors"
    zoo.save(path, network, info)
    again, described = zoo.open_weights(path)
    assert described == info
    for key, array in network.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], array)
    assert zoo.task(None, path) == zoo.task(name, None) == "pose"
    tuned, about, done = zoo.fine_tuned_pose(path, OTHER, ("cat",), (1,), 4)
    assert isinstance(about, PoseInfo)
    assert (about.skeleton, about.names, about.input_size) == (OTHER, ("cat",), info.input_size)
    assert not done.fresh
    assert not done.unused
    assert set(done.matched) == set(card.ports(about.channels))
    fresh = card.network(about.channels, 4).state_dict()
    shared = [key for key in done.copied if key.endswith("weight")]
    assert shared
    assert all((tuned.state_dict()[key] == network.state_dict()[key]).all() for key in shared)
    assert any((fresh[key] != network.state_dict()[key]).any() for key in shared)
    with pytest.raises(WeightsError, match="a network of poses"):
        zoo.fine_tuned(path, ("a",), (1,))
    with pytest.raises(WeightsError, match="not a network of poses"):
        zoo.fine_tuned_pose(zoo.find("yolo-nano-person"), OTHER, ("cat",), (1,))
