"""A program runs the same calls as Python would, in the same order."""

import numpy as np
import pytest

from visionkit.kernels import pointwise
from visionkit.kernels.memory import Buffer, Map, Tables
from visionkit.kernels.program import Program


def maps(*channels):
    """Maps (1, 2, 3, c) in one memory, filled with random numbers."""
    made, at = [], 0
    for c in channels:
        buffer = Buffer(1, 2, 3, 16)
        buffer.base = at
        at += buffer.size
        made.append(Map(buffer, c))
    return made, np.random.default_rng(0).standard_normal(at + 64).astype(np.float32)


def test_a_program_runs_its_calls_in_order():
    (a, b, c), memory = maps(16, 16, 16)
    table = Tables().array()
    calls = [
        (pointwise.copy, pointwise.copy_call(a, b, False)),  # b = a
        (pointwise.combine, pointwise.combine_call(b, c, keep=1.0)),  # c += b
        (pointwise.copy, pointwise.copy_call(c, b, True)),  # b += c
    ]
    one_by_one = memory.copy()
    for kernel, arguments in calls:
        kernel(one_by_one, table, *arguments)
    Program(calls, memory, table).run(0, 3)
    np.testing.assert_array_equal(memory, one_by_one)
    x = a.view(memory)
    assert not np.array_equal(b.view(memory), x)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 2), (1, 1), (0, 2)])
def test_a_part_of_a_program_runs_alone(start, end):
    (a, b), memory = maps(16, 16)
    calls = [
        (pointwise.combine, pointwise.combine_call(a, b, keep=1.0)),
        (pointwise.combine, pointwise.combine_call(b, a, keep=1.0)),
    ]
    expected = memory.copy()
    for kernel, arguments in calls[start:end]:
        kernel(expected, Tables().array(), *arguments)
    Program(calls, memory, Tables().array()).run(start, end)
    np.testing.assert_array_equal(memory, expected)


def test_arguments_may_change_between_runs():
    (a, b), memory = maps(16, 16)
    calls = [(pointwise.combine, pointwise.combine_call(a, b, keep=0.0))]
    program = Program(calls, memory, Tables().array())
    program.run(0, 1)
    np.testing.assert_array_equal(b.view(memory), a.view(memory))
    program.calls[0][1][1][:] = 1.0  # keep
    program.run(0, 1)
    np.testing.assert_array_equal(b.view(memory), 2 * a.view(memory))
