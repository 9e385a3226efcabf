"""Norms over rows as they are timed: every path computes them, or is noticed not to."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest
from onepass.bench.cases.row_norms import VALUES, RowNormCase
from onepass.bench.suite import Choice, workloads
from onepass.bench.workloads.kernels.row_norms import RowNorm

CASES = (
    RowNormCase("layer_norm", (16, 33)),
    RowNormCase("rms_norm", (16, 33)),
    RowNormCase("group_norm", (4, 6, 3, 5), 3),
)
PEERS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} missing"))
    for name in ("torch", "jax")
]


@pytest.mark.parametrize("path", ["array", "tuned", "numba", "limit", *PEERS])
@pytest.mark.parametrize("what", VALUES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_every_path_can_be_timed(case, what, path):
    work = RowNorm(case, what)
    assert path in work.paths
    assert not work.missing(path)
    (candidate,) = work.prepare([path]).values()
    candidate.call()
    assert (candidate.memory is not None) == (path in ("array", "tuned", "numba"))
    assert work.bytes == case.size * 4 * VALUES[what]


@pytest.mark.parametrize("what", VALUES)
@pytest.mark.parametrize("path", ["tuned", "numba"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_a_path_that_computes_something_else_is_noticed(case, path, what, monkeypatch):
    work = RowNorm(case, what)
    right = work._call

    def wrong(path, arrays, backend):
        changed = {name: array * 1.01 for name, array in arrays.items()}
        return right(path, changed, backend)

    monkeypatch.setattr(work, "_call", wrong)
    with pytest.raises(AssertionError, match=rf"{re.escape(what)}.*by {path}"):
        work.prepare([path])


@pytest.mark.parametrize("mode", ["small", "quick", "default", "full"])
def test_the_suite_has_them(mode):
    found = {(work.case.kind, work.what) for work in workloads("norms", Choice(mode))}
    kinds = ["layer_norm", "rms_norm", *(["group_norm"] if mode != "quick" else [])]
    assert found == {(kind, what) for kind in kinds for what in VALUES}
