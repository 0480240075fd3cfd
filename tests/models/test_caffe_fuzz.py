"""Damaged descriptions and weights: refused in the family of errors or read, never more (torture 3.4, W14).

Every file is a well-formed one with up to four damages. Nothing may take a second or much memory.
"""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.models import caffe_net
from tests.weights.caffe_writer import varint
from visionkit.errors import FileError, WeightsError
from visionkit.models.caffe import load_caffe

FORMS: list[dict[str, bool]] = [{}, {"v1": True, "legacy": True}, {"packed": False}, {"double": True}]
#: Lengths and sizes that reach far beyond any file.
LARGE = [2**7, 2**14, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1]
WORDS = [
    *(b"{", b"}", b"<", b">", b"[", b"]", b":", b'"', b"'", b"\\", b"#", b"\0", b"\xff", b"\n", b"."),
    *(b"layer", b"name", b"top", b"bottom", b"type", b"data", b"nan", b"true", b"0", b"-1", b"1e9", b"0x"),
    *(b"2147483647", b"1000000", b"input_dim: 1", b'type: "Convolution"', b"dilation: 4096", b"{ a" * 40),
]

Damage = Callable[[bytearray, np.random.Generator], None]


def _place(data: bytearray, rng: np.random.Generator) -> int:
    return int(rng.integers(0, len(data) + 1))


def flip(data: bytearray, rng: np.random.Generator) -> None:
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def replace(data: bytearray, rng: np.random.Generator) -> None:
    if data:
        data[int(rng.integers(len(data)))] = int(rng.integers(256))


def cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[_place(data, rng) :]


def leave_out(data: bytearray, rng: np.random.Generator) -> None:
    at = _place(data, rng)
    del data[at : at + int(rng.geometric(0.05))]


def repeat(data: bytearray, rng: np.random.Generator) -> None:
    at, size = _place(data, rng), int(rng.geometric(0.02))
    data[at:at] = data[at : at + size]


def move(data: bytearray, rng: np.random.Generator) -> None:
    at, size = _place(data, rng), int(rng.geometric(0.02))
    part = data[at : at + size]
    del data[at : at + size]
    to = _place(data, rng)
    data[to:to] = part


def enlarge(data: bytearray, rng: np.random.Generator) -> None:
    at = _place(data, rng)
    data[at : at + int(rng.integers(0, 3))] = varint(int(rng.choice(np.array(LARGE, object))))


def say(data: bytearray, rng: np.random.Generator) -> None:
    at = _place(data, rng)
    data[at : at + int(rng.integers(0, 4))] = WORDS[int(rng.integers(len(WORDS)))]


DAMAGES: list[Damage] = [flip, replace, cut, leave_out, repeat, move, enlarge, say]


def fuzz(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Loads `count` damaged pairs; returns how many were read and how many refused, by the reason's start."""
    rng = np.random.default_rng(seed)
    text, wholes = caffe_net.DESCRIPTION.encode(), [caffe_net.weights(**form) for form in FORMS]
    description, weights = folder / "net.prototxt", folder / "net.caffemodel"
    outcomes = {"read": 0, "description": 0, "weights": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(count):
        files = {description: bytearray(text), weights: bytearray(wholes[i % len(wholes)])}
        damaged = (description, weights)[int(rng.integers(2))]
        done = []
        for _ in range(int(rng.integers(1, 5))):
            damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
            damage(files[damaged], rng)
            done.append(damage.__name__)
        for path, content in files.items():
            path.write_bytes(content)
        what = f"seed {seed}, file {i}: {damaged.suffix} with {', '.join(done)}"
        start = time.process_time()
        try:
            load_caffe(description, weights)
            outcomes["read"] += 1
        except (WeightsError, FileError) as error:
            if not any(place in str(error) for place in ("byte ", "line ", "layer", "not a .")):
                raise AssertionError(f"{what}: no place in {error}") from None
            outcomes["description" if error.file == description else "weights"] += 1
        except Exception as error:
            raise AssertionError(what) from error
        if time.process_time() - start > 5:
            raise AssertionError(f"{what}: too slow")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown:,} KB more than before"
    return outcomes


def test_some_thousand_damaged_files(tmp_path: Path) -> None:
    outcomes = fuzz(3000, 1, tmp_path)
    assert min(outcomes.values()) > 100  # all three ways are gone


@pytest.mark.slow
def test_two_hundred_thousand_damaged_files(tmp_path: Path) -> None:
    print(fuzz(200_000, 2, tmp_path))
