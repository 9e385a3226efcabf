"""Activations as they are timed: every path computes them, or is noticed not to."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from onepass.bench.limits.numba_activation import HELPED, mover
from onepass.bench.suite import Choice, workloads
from onepass.bench.workloads.kernels import activations
from onepass.bench.workloads.kernels.activations import ARRAYS, KINDS, Activation

TORCH = pytest.param(
    "torch", marks=pytest.mark.skipif(find_spec("torch") is None, reason="torch is missing")
)


@pytest.mark.parametrize("path", ["array", "tuned", "numba", "limit", TORCH])
@pytest.mark.parametrize("what", ARRAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_path_can_be_timed(kind, what, path):
    work = Activation((64, 33), kind, what)
    assert path in work.paths
    (candidate,) = work.prepare([path]).values()
    candidate.call()
    assert (candidate.memory is not None) == (path in ("array", "tuned", "numba"))
    assert (candidate.launches is not None) == (path in ("array", "tuned"))
    assert work.bytes == 64 * 33 * 4 * ARRAYS[what]


def test_passes_are_counted_as_for_the_whole_array():
    (found,) = Activation((128, 256), "relu", "forward").prepare(["tuned"]).values()
    values = 128 * 256 * 4
    assert found.launches == 2
    assert found.moved == 2 * values + 256 * 4 * 128 // 4 + 2 * values


@pytest.mark.parametrize("what", ARRAYS)
@pytest.mark.parametrize("path", ["array", "tuned", "numba"])
def test_a_path_that_computes_something_else_is_noticed(path, what, monkeypatch):
    work = Activation((64, 33), "tanh", what)
    right = work._call

    def wrong(path, arrays, backend):
        x, _, dy, _ = arrays
        return right(path, arrays._replace(x=x + 1e-3, dy=dy * 1.001), backend)

    monkeypatch.setattr(work, "_call", wrong)
    with pytest.raises(AssertionError, match=rf"bias_and_tanh,{what}.*by {path}"):
        work.prepare([path])


@pytest.mark.parametrize("rows", [3, HELPED // 16])
@pytest.mark.parametrize("what", ARRAYS)
def test_the_limit_moves_every_element(what, rows):
    x, y = (np.full((rows, 4), value, "float32") for value in (2, 5))
    assert (mover(what, x, y)() == {"forward": 3, "backward": 7}[what]).all()


@pytest.mark.parametrize("mode", ["small", "quick", "default", "full"])
def test_the_suite_has_them(mode):
    found = {
        (work.kind, work.what)
        for work in workloads("elementwise", Choice(mode))
        if isinstance(work, activations.Activation)
    }
    assert found == {(kind, what) for kind in KINDS for what in ARRAYS}
