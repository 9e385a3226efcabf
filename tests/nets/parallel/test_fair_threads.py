"""BLAS has a rank's share of the cores, and no more than somebody has given it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from onepass.nets.parallel import fair_threads as module
from onepass.nets.parallel.fair_threads import BLAS_VARIABLES, fair_threads
from threadpoolctl import ThreadpoolController, threadpool_limits

pytest.importorskip("scipy.linalg", reason="a second BLAS, beside NumPy's, comes with SciPy")

TWO = SimpleNamespace(rank=1, size=2, objects=lambda value: [value, value])
"""A rank beside another one of its machine."""


def threads():
    """How many each BLAS has, by its file."""
    libraries = ThreadpoolController().select(user_api="blas").info()
    return {each["filepath"]: each["num_threads"] for each in libraries}


@pytest.fixture
def share(monkeypatch):
    """share(n): that of a rank."""
    for name in BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return lambda n: monkeypatch.setattr(module, "fair_share", lambda *given: n)


@pytest.mark.parametrize(("limit", "n", "inside"), [(1, 3, 1), (2, 3, 2), (3, 3, 3), (3, 1, 1)])
def test_a_limit_is_lowered_to_the_share_or_left(share, limit, n, inside):
    share(n)
    with threadpool_limits(limit, user_api="blas"):
        before = threads()
        if {*before.values()} != {limit}:
            pytest.skip(f"no BLAS that takes {limit} threads: {before}")
        with fair_threads(TWO):
            assert {*threads().values()} == {inside}
        assert threads() == before


def test_each_library_has_a_limit_of_its_own(share):
    """The one that has fewer keeps them, where another has more than the share."""
    share(2)
    with threadpool_limits(3, user_api="blas"):
        first, *others = threads()
        if not others or {*threads().values()} != {3}:
            pytest.skip(f"no two BLAS that take 3 threads: {threads()}")
        with ThreadpoolController().select(filepath=first).limit(limits=1):
            before = threads()
            with fair_threads(TWO):
                assert threads() == {first: 1, **dict.fromkeys(others, 2)}
            assert threads() == before


def test_a_variable_says_how_many(share, monkeypatch):
    share(1)
    monkeypatch.setenv(BLAS_VARIABLES[0], "3")
    with threadpool_limits(3, user_api="blas"):
        before = threads()
        with fair_threads(TWO):
            assert threads() == before
