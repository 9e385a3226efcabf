"""Steps that don't need one another: each is worked through once, whole, by one thread."""

from __future__ import annotations

import numpy as np
import pytest
from onepass.kernels.crew.crew import get_crew
from onepass.kernels.program import new_claims, new_recorder
from tolerances import PRODUCT_LIMIT, assert_close

MOST, ROWS, INNER, COLUMNS = 50, 6, 5, 4


class Copies:
    """`tanh(x w + b)` of `steps` batches, on copies for so many threads."""

    def __init__(self, dtype, copies, multiplied):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((MOST, ROWS, INNER)).astype(dtype)
        self.weight, self.bias = (
            rng.standard_normal(shape).astype(dtype) for shape in ((INNER, COLUMNS), (COLUMNS,))
        )
        self.out = np.full((MOST, ROWS, COLUMNS), 7, dtype)
        self.recorders = [self.written(np.dtype(dtype), multiplied) for _ in range(copies)]
        self.claims = new_claims(self.recorders)

    def written(self, dtype, multiplied):
        recorder = new_recorder(dtype, MOST, stops=False, shared=False)
        room = recorder.program.empty((ROWS, INNER), dtype)
        room[...] = np.nan
        read = recorder.read(room, multiplied)
        y = recorder.matmul(room, self.weight)
        recorder.activation_forward(y, "tanh", bias=self.bias, out=y)
        write = recorder.write(y)
        recorder.words.start(read, self.x.ctypes.data)
        recorder.words.start(write, self.out.ctypes.data)
        return recorder


@pytest.mark.parametrize("multiplied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_they_follow_the_formula(set_threads, dtype, multiplied):
    set_threads(2)
    made = Copies(dtype, 2, multiplied)
    made.claims.run(MOST)
    wide = [each.astype(float) for each in (made.x, made.weight, made.bias)]
    sizes = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
    expected = np.tanh(wide[0] @ wide[1] + wide[2])
    assert_close(made.out, expected, dtype, limit=PRODUCT_LIMIT, scale=sizes)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, MOST])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_each_step_is_done_and_no_other(set_threads, copies, threads, steps):
    set_threads(1)
    alone = Copies("float32", 1, True)
    alone.claims.run(MOST)
    set_threads(threads)
    made = Copies("float32", copies, True)
    for _ in range(3):
        made.out[...] = 7
        made.claims.run(steps)
        np.testing.assert_array_equal(made.out[:steps], alone.out[:steps])
        assert np.all(made.out[steps:] == 7)


def test_they_are_posted_as_one_job(set_threads):
    set_threads(2)
    made = Copies("float32", 2, False)
    before = get_crew()._board[0]
    made.claims.run(MOST)
    assert get_crew()._board[0] == before + 1


def test_a_caller_beside_another_does_all_of_it(set_threads):
    set_threads(2)
    made = Copies("float32", 2, False)
    with get_crew()._leading:
        made.claims.run(MOST)
    steps = [int(each.program.clock[0]) for each in made.recorders]
    assert steps == [MOST - 1, 0]
    assert np.all(made.out != 7)


def test_a_product_is_not_cut_where_nobody_shares_it():
    for shared in (True, False):
        recorder = new_recorder(np.dtype("float32"), 1, shared=shared)
        recorder.matmul(np.ones((256, 784), "f"), np.ones((784, 256), "f"))
        table = recorder.program.table()
        sizes, chunks = table[:, 1], table[:, 2]
        assert (sizes.max() > 1 and chunks.max() > 0) == shared
