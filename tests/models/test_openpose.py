"""OpenPose's networks as they come: which of the three, colours the right way round, and nothing else."""

import numpy as np
import pytest

from tests.engine.sticks import paint, stick
from tests.models import caffe_net, openpose_net
from visionkit.engine.pose_predictor import PosePredictor
from visionkit.errors import WeightsError
from visionkit.models.caffe import CaffeNetwork
from visionkit.models.openpose import as_openpose, load_openpose
from visionkit.vision.skeletons import BODY_25, MPI_15, OPENPOSE_18
from visionkit.weights import prototxt


@pytest.fixture
def files(tmp_path):
    """A description and its weights."""
    description, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    description.write_text(openpose_net.DESCRIPTION)
    weights.write_bytes(openpose_net.weights())
    return description, weights


def test_people_are_found_in_a_picture_of_red_green_and_blue(files):
    sticks = np.array([stick(60, 80, 200), stick(150, 300, 300)])
    predictor = PosePredictor(*load_openpose(*files), confidence=0.1)
    found = predictor(paint((400, 500), sticks, 12))
    assert found.skeleton is MPI_15
    assert len(found) == 2
    gaps = np.abs(found.xy[:, None, [0, 1, 14]] - sticks[None]).max(axis=(2, 3))
    assert sorted(gaps.argmin(axis=0)) == [0, 1]
    assert gaps.min(axis=0).max() < 1.5
    assert ((found.keypoint_confidence > 0).sum(axis=1) == 3).all()


@pytest.mark.parametrize(
    ("name", "skeleton", "outputs"),
    [
        ("pose_deploy_linevec_coco", OPENPOSE_18, ("Mconv7_stage6_L2", "Mconv7_stage6_L1")),
        ("pose_deploy_body_25", BODY_25, ("Mconv7_stage1_L1", "Mconv7_stage3_L2")),
        ("pose_deploy_mpi_4_stages", MPI_15, ("Mconv7_stage4_L2", "Mconv7_stage4_L1")),
    ],
)
def test_the_three_descriptions(real_data, name, skeleton, outputs):
    path = real_data / "structures/openpose" / f"{name}.prototxt"
    network = CaffeNetwork(prototxt.read(path))
    before = network.layers["conv1_1"].weight.data.copy()
    info = as_openpose(network, path)
    assert info.skeleton is skeleton
    assert network.outputs == outputs
    assert info.channels == (len(skeleton) + 1, skeleton.field_channels)
    assert (network.layers["conv1_1"].weight.data == before[:, ::-1]).all()
    assert info.codec().channels == info.channels


def test_other_networks_are_refused(tmp_path, files):
    description, weights = files
    other = openpose_net.DESCRIPTION.replace("num_output: 28", "num_output: 26")
    description.write_text(other)
    with pytest.raises(WeightsError, match="L1"):
        load_openpose(description, weights)
    network = CaffeNetwork(prototxt.parse(other))
    outputs, before = network.outputs, network.layers["conv1_1"].weight.data.copy()
    with pytest.raises(WeightsError, match=r"net\.prototxt: not one of OpenPose's networks.* 16 and 28"):
        as_openpose(network, description)
    assert network.outputs == outputs
    assert (network.layers["conv1_1"].weight.data == before).all()
    with pytest.raises(WeightsError, match="not one of OpenPose"):
        as_openpose(CaffeNetwork(prototxt.parse(caffe_net.DESCRIPTION)))
