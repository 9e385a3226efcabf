"""Dropout as it is timed: every path computes it, or is noticed not to."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from onepass import get_backend
from onepass.bench.workloads.kernels import dropout as dropouts
from onepass.bench.workloads.kernels.dropout import KEEP_PROB, SHAPES, Dropout

CPU = get_backend("cpu")
TORCH = pytest.param(
    "torch", marks=pytest.mark.skipif(find_spec("torch") is None, reason="torch is missing")
)


@pytest.mark.parametrize("path", ["array", "tuned", "numba", "limit", TORCH])
def test_every_path_can_be_timed(path):
    work = Dropout((64, 33))
    assert path in work.paths
    (candidate,) = work.prepare([path]).values()
    assert candidate.call() is not None or path == "limit"
    assert (candidate.memory is not None) == (path in ("array", "tuned", "numba"))


@pytest.mark.parametrize("path", ["array", "tuned", TORCH])
def test_what_others_draw_is_new_each_time_and_x_is_left_alone(path):
    x = np.random.default_rng(0).standard_normal((64, 33), dtype="float32")
    before = x.copy()
    call = Dropout(x.shape)._call(path, x, CPU)
    first, second = (np.asarray(call()) for _ in range(2))
    assert first.dtype == second.dtype == np.float32
    assert not np.array_equal(first, second)
    assert np.array_equal(x, before)


MISTAKES = {
    "nothing is scaled": lambda x: np.where(x > -0.5, x, 0),
    "nothing is dropped": lambda x: x / np.float32(KEEP_PROB),
    "half is kept": lambda x: np.where(x > 0, x / np.float32(KEEP_PROB), 0),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_path_that_computes_something_else_is_noticed(mistake, monkeypatch):
    wrong = MISTAKES[mistake]
    monkeypatch.setattr(dropouts, "expressions", lambda x, backend: lambda: wrong(x))
    with pytest.raises(AssertionError, match="array"):
        Dropout((64, 33)).prepare(["array"])


def test_an_engine_with_a_mask_of_its_own_is_noticed(monkeypatch):
    def another(x, keep_prob, *, seed, draw, engine):
        return run(x, keep_prob, seed=seed, draw=draw + (engine == "numba"), engine=engine)

    run = dropouts.kernels.dropout
    monkeypatch.setattr(dropouts.kernels, "dropout", another)
    with pytest.raises(AssertionError, match="another mask"):
        Dropout((64, 33)).prepare(["numba"])


def test_shapes_paths_and_bytes():
    works = dropouts.dropouts(SHAPES, "cpu")
    assert [work.label for work in works] == ["(128, 256)", "(4096, 1024)"]
    assert {work.section for work in works} == {"elementwise"}
    assert works[0].bytes == 8 * 128 * 256, "x is read and y written, no mask"
    assert works[0].paths == ("array", "tuned", "numba", "limit", "torch")
    gpu = Dropout((128, 256), "cuda")
    assert gpu.paths == ("array", "tuned", "cupy", "numba-cuda", "limit", "torch")
