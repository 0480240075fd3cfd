"""The loader: the same batches whatever the workers and wherever a run begins; errors name the picture."""

import threading

import numpy as np
import pytest
from PIL import Image

from visionkit.data.loader import Loader, random_key
from visionkit.data.transforms import Augment
from visionkit.datasets.coco import CocoDataset, write_coco
from visionkit.datasets.shapes import ShapesDataset
from visionkit.errors import DataError, UsageError

SHAPES = ShapesDataset(23, (48, 64))


def same(one, two):
    """Whether two batches are equal in every bit."""
    fields = ("boxes", "classes", "ignore")
    pairs = [pair for f in fields for pair in zip(getattr(one, f), getattr(two, f), strict=True)]
    arrays = all(np.array_equal(a, b) for a, b in pairs)
    facts = (one.image_ids, one.files, one.epoch, one.step) == (two.image_ids, two.files, two.epoch, two.step)
    return arrays and facts and bool((one.images == two.images).all())


def loader(**options):
    options = {"augment": Augment(), "epochs": 4, "seed": 7} | options
    return Loader(SHAPES, 4, (64, 64), **options)


def test_workers_prefetch_memory_and_restarts_change_nothing():
    expected = list(loader(workers=0).batches(1))
    assert len(expected) == len(loader()) == 5
    for options in (
        {"workers": 1},
        {"workers": 3, "prefetch": 1},
        {"cache_bytes": 0},
        {"cache_bytes": 50_000},
    ):
        found = list(loader(**options).batches(1))
        assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    later = list(loader().batches(1, start=3))
    assert [b.step for b in later] == [3, 4]
    assert all(same(a, b) for a, b in zip(later, expected[3:], strict=True))


def test_epochs_and_seeds_differ():
    first = next(loader().batches(0))
    assert not same(first, next(loader().batches(1)))
    assert not same(first, next(loader(seed=8).batches(0)))
    assert same(first, next(loader().batches(0)))


def test_a_batch():
    batch = next(loader().batches(0))
    assert batch.images.shape == (4, 64, 64, 3)
    assert batch.images.dtype == np.uint8
    assert batch.images.flags.c_contiguous
    assert len(batch) == len(batch.targets()) == 4
    for boxes, classes, ignore in batch.targets():
        assert boxes.dtype == np.float32
        assert len(boxes) == len(classes) == len(ignore)
        assert ((boxes >= 0) & (boxes <= 64)).all()


def test_each_epoch_is_a_permutation():
    orders = [loader().order(epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert not (orders[0] == orders[1]).all()


def test_without_augmentation_every_picture_comes_once_in_order():
    plain = Loader(SHAPES, 4, (64, 64))
    batches = list(plain.batches(0))
    assert [len(b) for b in batches] == [4, 4, 4, 4, 4, 3]
    assert [image_id for b in batches for image_id in b.image_ids] == list(range(1, 24))
    assert (batches[0].images[0][8:56] == SHAPES[0].image).all()
    assert (batches[0].boxes[0] == SHAPES[0].boxes + np.array([0, 8, 0, 8])).all()


def test_mosaics_stop_near_the_end():
    def mosaics(epoch):
        # A mosaic shows pieces of four grounds; count pictures with more objects than any one has.
        return sum(len(boxes) > 6 for b in loader(seed=1).batches(epoch) for boxes in b.boxes)

    assert mosaics(0) > 2
    assert Loader(SHAPES, 4, (64, 64), augment=Augment(), epochs=10).sample(0, 9) is not None
    late = Loader(SHAPES, 4, (64, 64), augment=Augment(mosaic=1), epochs=10)
    assert max(len(late.sample(i, 9)) for i in range(23)) <= 6


def test_multi_scale_sizes_change_by_batch():
    many = loader(sizes=[(32, 32), (64, 96)])
    sizes = [b.images.shape[1:3] for epoch in range(4) for b in many.batches(epoch)]
    assert set(sizes) == {(32, 32), (64, 96)}


def test_stopping_early_leaves_no_thread():
    before = threading.active_count()
    batches = loader(workers=2).batches(0)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_too_few_pictures():
    with pytest.raises(UsageError, match="do not fill a batch of 24"):
        Loader(SHAPES, 24, (64, 64), augment=Augment())


def test_random_keys_do_not_meet():
    draws = {
        random_key(s, e, c).integers(2**62)
        for s in range(4)
        for e in range(9)
        for c in (0, 1, 2**31, 2**32 - 1)
    }
    assert len(draws) == 4 * 9 * 4


@pytest.fixture
def one_bad(tmp_path):
    """Six pictures, one of them with a good header and a damaged end (I22)."""
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "x"}]}
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for k in range(6):
        Image.fromarray(noise).save(tmp_path / f"{k}.png")
        document["images"].append({"id": k, "file_name": f"{k}.png", "width": 32, "height": 32})
        box = {"id": k, "image_id": k, "category_id": 1, "bbox": [2, 2, 20, 20], "area": 400, "iscrowd": 0}
        document["annotations"].append(box)
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:1000])
    write_coco(tmp_path / "x.json", document)
    return CocoDataset(tmp_path / "x.json", tmp_path)


def test_a_bad_picture_is_named(one_bad):
    with pytest.raises(DataError, match=r"3\.png.*damaged"):
        list(Loader(one_bad, 2, (32, 32), workers=2).batches(0))


def test_a_bad_picture_can_be_skipped(one_bad):
    skipping = Loader(one_bad, 2, (32, 32), skip_bad=True)
    batches = list(skipping.batches(0))
    assert list(skipping.failed) == ["3.png"]
    assert [b.ignore[k].tolist() for b in batches for k in range(2)] == [[False]] * 3 + [[True]] + [
        [False]
    ] * 2
    assert batches[1].boxes[1].tolist() == [[0, 0, 32, 32]]
