"""Masks of dropout are as random as their users count on: as many elements are kept as asked for,
and neighbours, lanes, draws and seeds don't know of each other."""

from __future__ import annotations

import numpy as np
import pytest

SIZE = 1 << 20
SIGMAS = 5.0


def kept(engine, keep_prob=0.5, seed=0, draw=0, size=SIZE):
    """The mask, as 0 and 1."""
    y = engine.kernel("dropout")(
        engine.asarray(np.ones(size, "float32")), keep_prob, seed=seed, draw=draw
    )
    return (engine.to_numpy(y) != 0).astype(np.float64)


def assert_share(mask, keep_prob):
    sigma = np.sqrt(keep_prob * (1 - keep_prob) / mask.size)
    assert abs(mask.mean() - keep_prob) < SIGMAS * sigma


def assert_unrelated(a, b):
    """The correlation of two masks is one of chance: its deviation is 1 / sqrt(n)."""
    correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert abs(correlation) < SIGMAS / np.sqrt(a.size)


@pytest.mark.parametrize("keep_prob", [1e-3, 0.1, 0.5, 0.8, 0.99])
def test_as_many_are_kept_as_asked_for_in_every_lane_and_part(engine, keep_prob):
    mask = kept(engine, keep_prob, seed=12, draw=34)
    assert_share(mask, keep_prob)
    for lane in range(4):
        assert_share(mask[lane::4], keep_prob)
    for part in np.split(mask, 8):
        assert_share(part, keep_prob)


def test_neighbours_are_unrelated(engine):
    """Elements of one call, of the next calls, and of the next rows of a layer."""
    mask = kept(engine, seed=1, draw=2)
    for distance in (1, 2, 3, 4, 5, 8, 64, 256, 1024, 4096):
        assert_unrelated(mask[:-distance], mask[distance:])


def test_lanes_are_unrelated(engine):
    lanes = kept(engine, seed=3, draw=4).reshape(-1, 4).T
    for a in range(4):
        for b in range(a):
            assert_unrelated(lanes[a], lanes[b])


def test_draws_are_unrelated(engine):
    first = kept(engine, seed=5, draw=0)
    for draw in (1, 2, 3, 1 << 31, 1 << 32, (1 << 64) - 1):
        assert_unrelated(first, kept(engine, seed=5, draw=draw))


def test_seeds_are_unrelated(engine):
    first = kept(engine, seed=0, draw=6)
    for seed in (1, 2, 3, 1 << 31, 1 << 32, (1 << 64) - 1):
        assert_unrelated(first, kept(engine, seed=seed, draw=6))


def test_a_seed_and_a_draw_that_change_places_are_unrelated(engine):
    assert_unrelated(kept(engine, seed=7, draw=8), kept(engine, seed=8, draw=7))


def test_all_patterns_of_a_call_are_equally_likely(engine):
    """Pearson's chi^2 over the 16 patterns of four elements; 15 degrees of freedom."""
    patterns = kept(engine, seed=9, draw=10).reshape(-1, 4) @ [1, 2, 4, 8]
    counts = np.bincount(patterns.astype(int), minlength=16)
    expected = counts.sum() / 16
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert 15 - SIGMAS * np.sqrt(30) < chi2 < 15 + SIGMAS * np.sqrt(30)


def test_these_checks_see_what_they_are_for(reference):
    mask = kept(reference, seed=1, draw=2)
    with pytest.raises(AssertionError):
        assert_unrelated(mask, kept(reference, seed=1, draw=2))
    nearly = mask.copy()
    nearly[::50] = 1  # a hundredth of all kept that should not be
    with pytest.raises(AssertionError):
        assert_share(nearly, 0.5)
    with pytest.raises(AssertionError):
        assert_unrelated(np.repeat(mask[::2], 2)[:-1], np.repeat(mask[::2], 2)[1:])
