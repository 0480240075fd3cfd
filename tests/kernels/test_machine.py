"""Compiled kernels called by address: every kind of argument and result, the files they are kept in."""

import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import types

from visionkit.kernels import jit, machine
from visionkit.kernels.jit import parallel, prange, serial
from visionkit.kernels.machine import kind_of

FLAT, GRID = np.arange(6, dtype=np.float32), np.arange(24, dtype=np.int32).reshape(2, 3, 4)


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


VALUES = [
    True, -3, 2.5, np.float32(1.5), np.int64(-7), np.uint8(255), np.bool_(False), np.float64(0.1),
    FLAT, GRID, GRID.T, GRID[:, ::2], np.asfortranarray(GRID[0]), np.zeros(0), np.ones((2, 2), bool),
    frozen(FLAT), np.frombuffer(bytes(9), np.float32, 2, 1), (1, 2), (1, 2.5), ((1, True), np.float32(2)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: kind_of(value))
def test_kinds_are_what_numba_calls_them(value):
    """The name of equal kinds must be equal, of different ones different, as the types are."""
    same = [other for other in VALUES if kind_of(other) == kind_of(value)]
    assert [numba.typeof(other) for other in same] == [numba.typeof(value)] * len(same)
    different = [other for other in VALUES if numba.typeof(other) == numba.typeof(value)]
    assert {kind_of(other) for other in different} == {kind_of(value)}
    if not isinstance(value, tuple):
        assert kind_of(value) == str(numba.typeof(value))


@pytest.mark.parametrize("value", [None, "text", [1], 1j, np.float16(1), object()])
def test_what_no_kernel_takes_is_refused(value):
    with pytest.raises(TypeError, match="arrays, numbers and tuples"):
        kind_of(value)


@serial
def weighed(a, flag, b, whole, pair, small):
    """Every number of two arrays counts by its place, so that shape and strides matter."""
    total = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += (1 + i * 10 + j) * a[i, j]
    for i in range(b.size):
        total += (i + 1) * b[i]
    return total * whole + pair[0] - pair[1] * small + (1000.0 if flag else 0.0)


@pytest.mark.parametrize("a", [GRID[0], GRID[0].T, GRID[1, ::-1, 1::2], GRID[:, 1]], ids=str)
@pytest.mark.parametrize("flag", [True, False, np.bool_(True)])
def test_arguments_arrive(a, flag):
    rest = (FLAT[1:], -2, (0.5, 3), np.float32(0.25))
    assert weighed(a, flag, *rest) == weighed.function(a, flag, *rest)


@serial
def results(x, what):
    return (x, what, x > 2.0)


@serial
def both(x):
    return (x, x * 2)


def test_results_come_back():
    one = [
        serial(lambda x: x),
        serial(lambda x: x > 1),
        serial(lambda x: np.float32(x)),
        serial(lambda x: None),
    ]
    assert [f(1.25) for f in one] == [1.25, True, 1.25, None]
    assert [type(f(1.25)) for f in one] == [float, bool, float, type(None)]
    assert one[0](-(2**62)) == -(2**62)
    assert results(2.5, np.int32(-3)) == (2.5, -3, True)
    assert both(np.float32(1.5)) == (1.5, 3.0)


def test_first_arguments_are_given_once():
    bound = jit.bind(weighed, GRID[0], True, FLAT)
    for rest in ((2, (0.5, 3), np.float32(0.25)), (2.5, (1, 2), 1)):
        assert bound(*rest) == weighed.function(GRID[0], True, FLAT, *rest)


def test_one_function_serves_several_kinds_each_compiled_once():
    @serial
    def total(x):
        sum_ = x[0]
        for i in range(1, len(x)):
            sum_ += x[i]
        return sum_

    for array in (FLAT, FLAT.astype(np.float64), np.arange(5), FLAT, FLAT[::2], FLAT[::3]):
        assert total(array) == array.sum()
    assert total.compiled == 4  # three dtypes, and one more layout


def test_read_only_memory_is_not_written():
    @serial
    def write(x):
        x[0] = 1

    write(FLAT.copy())
    with pytest.raises(numba.TypingError, match="readonly"):
        write(frozen(FLAT))


@serial
def picky(x):
    if x > 1:
        raise ValueError("too large")
    return x


def test_an_exception_in_a_kernel_is_an_error():
    assert picky(0.5) == 0.5
    with pytest.raises(RuntimeError, match="picky"):
        picky(1.5)


@parallel
def squares(x, y):
    for i in prange(len(x)):
        local = np.full(3, x[i])  # memory of Numba's runtime
        y[i] = local[0] * local[2]


def test_parallel_kernels_with_memory_of_their_own():
    x, y = np.linspace(-1, 1, 1001), np.zeros(1001)
    squares(x, y)
    np.testing.assert_array_equal(y, x * x)


def test_kernels_call_each_other_by_name_and_by_address():
    @serial
    def inner(x, n):
        x[0] += n

    where = jit.address(inner, (types.Array(types.float32, 1, "C"), types.int64))

    @serial
    def outer(x, place):
        inner(x, 1)
        jit.invoke(place, (x, 10))

    x = np.zeros(1, np.float32)
    outer(x, where)
    inner(x, 100)
    assert x[0] == 111
    assert inner.compiled == 1  # the address belongs to what Python calls, too


@pytest.mark.parametrize("shape", [0, 1, 100, (3, 5), (4, 300, 1000)])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float64])
def test_aligned_arrays(shape, dtype):
    array = jit.aligned(shape, dtype)
    wanted = np.zeros(shape, dtype)
    assert array.ctypes.data % 64 == 0
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    np.testing.assert_array_equal(array, wanted)
    array[...] = 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_aligned_arrays_give_their_memory_back():
    """Of sizes that the C library would keep: below 32 MB, after one of 32 MB was freed."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    del_me = np.ones(31 << 20, np.uint8)
    del del_me
    size, before = 20 << 20, resident()
    array = jit.aligned(size, np.uint8)
    array[:] = 1
    assert resident() - before > 0.9 * size
    del array
    assert resident() - before < 0.1 * size


CODE = (bytes(range(256)) * 3, "a_symbol", "f8")


@pytest.mark.parametrize("result", ["", "f8", "i8,i8"])
def test_files_keep_code(tmp_path, result):
    path = tmp_path / "kernel"
    machine.write(path, *CODE[:2], result)
    assert machine.read(path) == (*CODE[:2], result)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("at", [0, 31, 32, 40, -1])
def test_damaged_files_count_as_absent(tmp_path, at):
    path = tmp_path / "kernel"
    assert machine.read(path) is None
    machine.write(path, *CODE)
    whole = path.read_bytes()
    for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at:][1:]):
        path.write_bytes(damaged)
        assert machine.read(path) is None


def test_code_that_cannot_be_kept_is_no_error(tmp_path):
    (tmp_path / "kernel").mkdir()
    machine.write(tmp_path / "kernel", *CODE)
    assert [path.name for path in tmp_path.iterdir()] == ["kernel"]
