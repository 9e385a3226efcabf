"""Who has which part, and how many threads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets.parallel.fair_threads import fair_share
from onepass.nets.parallel.shards import LINE, batch_parts, shards

RANKS = st.integers(1, 40)


def lengths(bounds):
    return [end - start for start, end in pairwise(bounds)]


@given(st.integers(0, 10_000), RANKS)
def test_shards_are_all_of_it_in_order(size, ranks):
    """Equal, and aligned, but for the last one."""
    bounds = shards(size, ranks)
    parts = lengths(bounds)
    assert (bounds[0], bounds[-1], len(parts)) == (0, size, ranks)
    assert len({*parts[:-1]}) <= 1
    assert all(bound % LINE == 0 for bound in bounds[:-1])
    assert all(0 <= part <= parts[-1] for part in parts)
    assert parts[-1] - parts[0] < LINE * ranks or ranks == 1


@given(st.integers(0, 10_000), RANKS, st.integers(1, 5))
def test_parts_of_a_batch_are_all_of_it_as_equal_as_can_be(rows, ranks, least):
    bounds = batch_parts(rows, ranks, least)
    parts = lengths(bounds)
    assert (bounds[0], bounds[-1], len(parts)) == (0, rows, ranks)
    working = sum(part > 0 for part in parts)
    assert all(part > 0 for part in parts[:working]), "the last ones have none"
    assert max(parts) - min(parts[: max(1, working)]) <= 1
    assert all(part >= min(least, rows) for part in parts[:working])
    assert working == min(ranks, max(rows // least, min(rows, 1))), "as many as can be"


@pytest.mark.parametrize(
    ("rows", "ranks", "least", "expected"),
    [
        (10, 3, 1, (0, 3, 6, 10)),
        (2, 3, 1, (0, 1, 2, 2)),
        (5, 3, 2, (0, 2, 5, 5)),
        (3, 3, 2, (0, 3, 3, 3)),
        (1, 2, 2, (0, 1, 1)),
        (0, 2, 1, (0, 0, 0)),
    ],
)
def test_some_batches(rows, ranks, least, expected):
    assert batch_parts(rows, ranks, least) == expected


CORES = st.lists(st.frozensets(st.integers(0, 15), min_size=1), min_size=1, max_size=8)


@given(CORES, st.none() | st.floats(0.5, 32))
def test_no_core_is_promised_twice(cores, quota):
    """But that each rank has a thread at least."""
    shares = [fair_share(cores, rank, quota) for rank in range(len(cores))]
    assert all(1 <= share <= len(own) for share, own in zip(shares, cores, strict=True))
    beyond_one = sum(share for share in shares if share > 1)
    assert beyond_one <= len(frozenset.union(*cores))
    if quota is not None:
        assert beyond_one <= quota + 1e-6


@pytest.mark.parametrize(
    ("cores", "quota", "expected"),
    [
        ([range(8)], None, [8]),
        ([range(8)] * 2, None, [4, 4]),
        ([range(8)] * 3, None, [2, 2, 2]),
        ([range(2)] * 3, None, [1, 1, 1]),
        ([range(4), range(4, 8)], None, [4, 4]),
        ([range(4), range(8)], None, [2, 6]),
        ([range(8)] * 2, 4.0, [2, 2]),
        ([range(8)] * 2, 1.5, [1, 1]),
        ([range(1)] * 2, None, [1, 1]),
    ],
)
def test_some_machines(cores, quota, expected):
    sets = [frozenset(each) for each in cores]
    assert [fair_share(sets, rank, quota) for rank in range(len(sets))] == expected
