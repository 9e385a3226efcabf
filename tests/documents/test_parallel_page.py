"""What the page on several ranks says of where they stop paying is what the model says."""

from __future__ import annotations

import pytest
from documents.measured_tables import TABLES
from onepass.bench.limits.data_parallel import Training, memory, pays_up_to, step_seconds
from onepass.bench.limits.links import ETHERNET, H200, INFINIBAND, NVLINK, SERVER

PAGE = TABLES["ranks"].file
BATCHES = {10**6: 4_096, 10**8: 65_536, 10**10: 1_048_576}
RANKS = [2**k for k in range(1, 11)]

pytestmark = pytest.mark.skipif(
    not PAGE.exists(), reason="documents are not part of an installed wheel"
)


@pytest.fixture(scope="module")
def words():
    """The text, its lines joined."""
    return " ".join(PAGE.read_text(encoding="utf-8").split())


def training(parameters, sharded=True):
    return Training(parameters, 6.0 * parameters * BATCHES[parameters], sharded)


def test_sizes_and_batches(words):
    assert "1e6, 1e8 and 1e10 parameters with batches of 4,096, 65,536 and 1,048,576 rows" in words


def test_rows_of_a_rank_at_which_half_is_lost(words):
    slow, fast, near = (
        round(4 * processor.rate / (3 * link.beta))
        for processor, link in ((SERVER, ETHERNET), (H200, INFINIBAND), (H200, NVLINK))
    )
    assert f"{slow:,} rows for a CPU of 1 TFLOP/s behind 10 Gb/s" in words
    assert f"{fast:,} for an H200 behind 200 Gb/s, and {near:,} for one behind NVLink" in words


def test_ranks_up_to_which_it_pays(words):
    def last(parameters):
        pairs = (SERVER, ETHERNET), (H200, INFINIBAND), (H200, NVLINK)
        return [pays_up_to(training(parameters), *pair, RANKS) for pair in pairs]

    slow, fast, near = last(10**8)
    assert f"{slow}, {fast} and {near} ranks at 1e8 parameters" in words
    slow, fast, near = last(10**10)
    assert near == 1024
    assert f"{slow}, {fast} and more than 1,024 at 1e10" in words
    _, fast, near = last(10**6)
    assert fast == 1
    assert f"1e6 parameters don't pay on two H200 behind 200 Gb/s, and up to {near}" in words


def test_alpha_and_the_update(words):
    assert f"2 (N - 1) messages of {INFINIBAND.alpha * 1e6:.0f} us" in words
    assert f"at 1,024 ranks 2 x {1023 * INFINIBAND.alpha * 1e3:.0f} ms a step" in words
    update = step_seconds(training(10**10, sharded=False), H200, NVLINK, 2).update
    assert f"{update * 1e3:.0f} ms at 1e10 on an H200" in words


def test_memory(words):
    def bytes_each(ranks, sharded):
        return memory(training(10**10, sharded), ranks, scratch=False).total / 10**10

    assert bytes_each(64, sharded=False) == 16
    assert bytes_each(16, sharded=True) == 8 + 8 / 16
    assert "16 bytes a parameter become 8 + 8 / N" in words
    assert bytes_each(1, sharded=False) * 10**10 > H200.memory > bytes_each(2, True) * 10**10
    assert "1e10 parameters (160 GB) fit an H200 of 141 GB from two ranks on" in words
