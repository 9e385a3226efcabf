"""The model of a data-parallel step: its formulas by hand, and held to what the library sends."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass.bench.cases.ranks import PARAMETERS, WIDTHS
from onepass.bench.limits.data_parallel import (
    Link,
    Processor,
    Training,
    dense_flops,
    efficiency,
    link_from,
    meeting_seconds,
    memory,
    pays_up_to,
    ring_seconds,
    sent_bytes,
    step_seconds,
)
from onepass.bench.limits.links import PAIRS
from onepass.nets import Adam, Communicator, DataParallel, Dense, Sequential, SoftmaxCrossEntropy
from onepass.nets.parallel.shards import LINE

LINK = Link("a link", alpha=3.0, beta=2.0, source="made up")
CORE = Processor("a core", rate=5.0, bandwidth=7.0, source="made up")
RANKS = (1, 2, 4, 16, 64, 1024)


class OneOfMany(Communicator):
    """A rank of many, whose others are not there: it counts what it sends, and hears nothing."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size
        self.meetings = 0

    def sum_parts(self, array, bounds):
        self._count(array, bounds)

    gather_parts = sum_parts

    def gathered(self, array):
        self.sent += (self.size - 1) * array.nbytes
        return np.stack([array] * self.size)

    def take_from_first(self, array):
        pass

    def sum_numbers(self, numbers):
        self.meetings += 1
        return numbers * self.size

    def objects(self, value):
        return [value] * self.size

    def object_from_first(self, value):
        return value

    def abort(self):
        raise AssertionError("ended")

    def close(self):
        pass


def a_step(widths, rank, ranks, sharded=False, clip_norm=None):
    """(bytes sent by a step, bytes of this rank's states)."""
    layers = [Dense(*pair) for pair in pairwise(widths)]
    net = Sequential(*layers, device="cpu", seed=0)
    optimizer = Adam(net.parameters(), clip_norm=clip_norm)
    communicator = OneOfMany(rank, ranks)
    with DataParallel(net, optimizer, communicator, sharded=sharded):
        net.parameters().flat_grads[...] = 1e-3
        before = communicator.sent
        optimizer.step()
        sent = communicator.sent - before
        states = sum(state[0].nbytes for state in optimizer._state.values())
    return sent, states


def training(widths, **changed):
    size = sum(into * out + out for into, out in pairwise(widths))
    return Training(size, 0.0, **changed)


# --- held to the library --------------------------------------------------------------------------
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("ranks", RANKS)
def test_what_is_sent_and_held_is_what_the_formulas_say(ranks, sharded, clip_norm):
    """Of 16,384 parameters, which 1,024 ranks share in equal parts of 16."""
    model = training((127, 128), sharded=sharded, clipped=clip_norm is not None)
    assert model.parameters % (LINE * ranks) == 0
    sent, states = a_step((127, 128), ranks - 1, ranks, sharded, clip_norm)
    assert sent == sent_bytes(model, ranks)
    assert states == memory(model, ranks).states


@given(
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=3),
    ranks=st.integers(2, 40),
    rank=st.integers(0, 39),
    sharded=st.booleans(),
)
def test_parts_that_are_not_equal_differ_by_some_lines(widths, ranks, rank, sharded):
    model = training(widths, sharded=sharded)
    sent, states = a_step(widths, rank % ranks, ranks, sharded)
    spare = LINE * ranks * model.itemsize
    assert abs(sent - sent_bytes(model, ranks)) <= 2 * spare
    assert abs(states - memory(model, ranks).states) <= 2 * spare


def test_a_step_of_fit_has_a_single_meeting():
    from onepass.nets import fit

    met = []
    for batches in (2, 5):
        net = Sequential(Dense(3, 4), device="cpu", seed=0)
        communicator = OneOfMany(0, 2)
        x, y = np.zeros((8 * batches, 3), "float32"), np.arange(8 * batches) % 4
        fit(
            net, (x, y), loss=SoftmaxCrossEntropy(), optimizer=Adam(net.parameters()), epochs=1,
            batch_size=8, comm=communicator, progress=False,
        )  # fmt: skip
        met.append(communicator.meetings)
    assert (met[1] - met[0]) / 3 == Training(1, 1).meetings


def test_the_network_of_the_section_has_as_many_parameters():
    layers = [Dense(*pair) for pair in pairwise(WIDTHS)]
    assert Sequential(*layers, device="cpu").parameters().flat.size == PARAMETERS


# --- by hand --------------------------------------------------------------------------------------
def test_collectives_by_hand():
    assert ring_seconds(LINK, 4, 40.0) == 3 * (3 + 40 / (4 * 2))
    assert ring_seconds(LINK, 1, 40.0) == 0
    assert [meeting_seconds(LINK, ranks) for ranks in (1, 2, 3, 4, 5, 1024)] == [
        0,
        6,
        12,
        12,
        18,
        60,
    ]


@pytest.mark.parametrize(("sharded", "share"), [(False, 1), (True, 4)])
def test_a_step_by_hand(sharded, share):
    """Adam in float32 moves 28 bytes a parameter; a norm is a number of 8 bytes a rank."""
    found = step_seconds(Training(100, 6000.0, sharded, clipped=True), CORE, LINK, 4)
    assert found.compute == 6000 / (4 * 5)
    assert found.update == pytest.approx(28 * 100 / share / 7)
    assert found.exchange == pytest.approx(2 * 3 * (3 + 400 / 8) + 3 * (3 + 8 / 2))
    assert found.meetings == 12
    assert found.total == found.compute + found.update + found.exchange + found.meetings


def test_memory_by_hand():
    whole = memory(Training(100, 0.0), 4)
    assert (whole.parameters, whole.gradients, whole.states, whole.scratch) == (400, 400, 800, 100)
    assert whole.total == 1700
    part = memory(Training(100, 0.0, sharded=True), 4, scratch=False)
    assert (part.states, part.scratch, part.total) == (200, 0, 1000)
    assert memory(Training(100, 0.0), 1).total == 1600


def test_products_of_dense_layers():
    """2 for each weight and row: forward, to weights and, but in the first layer, to inputs."""
    assert dense_flops((3, 5), 7) == 7 * 4 * 15
    assert dense_flops((3, 5, 2), 7) == 7 * (4 * 15 + 6 * 10)


# --- what follows ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("link", "processor"), PAIRS, ids=lambda one: one.name)
def test_efficiency_falls_with_ranks_and_rises_with_the_batch(link, processor):
    one = Training(10**8, 6.0 * 10**8 * 65_536)
    numbers = [2**k for k in range(11)]
    found = [efficiency(one, processor, link, ranks) for ranks in numbers]
    assert found[0] == 1
    assert found == sorted(found, reverse=True)
    larger = [efficiency(replace(one, flops=2 * one.flops), processor, link, n) for n in numbers]
    assert all(many > few for many, few in zip(larger[1:], found[1:], strict=True))
    last = pays_up_to(one, processor, link, numbers[1:])
    assert efficiency(one, processor, link, last) >= 0.5
    assert last == 1024 or efficiency(one, processor, link, 2 * last) < 0.5


def test_for_a_large_network_it_is_the_rows_of_a_rank_that_count():
    """Efficiency 1/2 where compute is as long as the exchange: at b rate / (3 beta) rows a rank,
    however large the network, where messages are long and updates short."""
    link, core = replace(LINK, alpha=0.0, beta=25e9), replace(CORE, rate=67e12, bandwidth=1e30)
    rows = 4 * core.rate / (3 * link.beta)
    for parameters in (10**6, 10**10):
        for ranks in (64, 1024):
            batch = rows * (ranks - 1)
            one = Training(parameters, 6.0 * parameters * batch)
            assert efficiency(one, core, link, ranks) == pytest.approx(0.5)


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_link_is_found_from_what_it_takes(ranks):
    link = Link("a link", 5e-6, 3e9, "made up")
    meeting = meeting_seconds(link, ranks)
    exchange = 2 * ring_seconds(link, ranks, 4_000_000)
    found = link_from(ranks, meeting, exchange, 4_000_000, link.name, link.source)
    assert found.alpha == pytest.approx(link.alpha)
    assert found.beta == pytest.approx(link.beta)


def test_links_and_processors_say_where_their_figures_come_from():
    for pair in PAIRS:
        assert all(one.source and one.name for one in pair)
