"""A data-parallel step on paper: seconds, bytes sent and memory of each of N ranks.

Messages take alpha + bytes / beta (Hockney), collectives go round a ring of N ranks, and nothing
is done at once: gradients are exchanged once all of them are there. With n parameters of b bytes,

    reduce-scatter, all-gather    each (N - 1) (alpha + n b / (N beta))
    norm of `clip_norm`           (N - 1) (alpha + 8 / beta): an all-gather of a number a rank
    meeting                       2 ceil(log2 N) alpha: a sum of few numbers, there and back
    update                        bytes of the rule / bandwidth, for n parameters, sharded for n / N
    compute                       flops of the batch / (N rate)

Source: Hockney 1994, The communication challenge for MPP; Thakur, Rabenseifner and Gropp 2005,
Optimization of collective communication operations in MPICH, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log2

from ..cases.steps import CASES

NUMBER = 8
"""Bytes of a number that ranks tell one another: float64."""


@dataclass(frozen=True)
class Link:
    """What joins ranks.

    Attributes:
        alpha: seconds that a message takes, however short.
        beta: bytes a second, in one direction.
        source: where both come from.
        most: ranks that it joins.
    """

    name: str
    alpha: float
    beta: float
    source: str
    most: int = 1024


@dataclass(frozen=True)
class Processor:
    """What a rank computes with.

    Attributes:
        rate: operations a second in matrix products.
        bandwidth: bytes a second of its memory, read and written together.
        memory: bytes of it; None where nothing is said.
        source: where they come from.
    """

    name: str
    rate: float
    bandwidth: float
    source: str
    memory: float | None = None


@dataclass(frozen=True)
class Training:
    """A step of a network.

    Attributes:
        parameters: how many.
        flops: operations of a whole batch, forward and backward.
        sharded: whether each rank has a part of the optimizer's states, and steps that part.
        clipped: whether gradients are clipped by their norm.
        rule: of the optimizer, a name of CASES.
        itemsize: bytes of a parameter.
        meetings: of all ranks in a step.
    """

    parameters: int
    flops: float
    sharded: bool = False
    clipped: bool = False
    rule: str = "adam"
    itemsize: int = 4
    meetings: int = 1

    @property
    def bytes(self) -> int:
        """Of all parameters."""
        return self.parameters * self.itemsize


@dataclass(frozen=True)
class Seconds:
    """What a step takes, part by part: each waits for the one before."""

    compute: float
    update: float
    exchange: float
    meetings: float

    @property
    def total(self) -> float:
        return self.compute + self.update + self.exchange + self.meetings


@dataclass(frozen=True)
class Memory:
    """Bytes that a rank holds, beside its data and activations."""

    parameters: float
    gradients: float
    states: float
    scratch: float

    @property
    def total(self) -> float:
        return self.parameters + self.gradients + self.states + self.scratch


def dense_flops(widths: Sequence[int], rows: int) -> int:
    """Products of a step of dense layers: forward, and backward to weights and to inputs, but for
    the inputs of the first layer."""
    sizes = [into * out for into, out in pairwise(widths)]
    return rows * (6 * sum(sizes) - 2 * sizes[0])


def ring_seconds(link: Link, ranks: int, total: float) -> float:
    """A reduce-scatter or an all-gather of `total` bytes."""
    return (ranks - 1) * (link.alpha + total / (ranks * link.beta))


def meeting_seconds(link: Link, ranks: int) -> float:
    """A sum of few numbers over all ranks."""
    return 2 * ceil(log2(ranks)) * link.alpha


def sent_bytes(training: Training, ranks: int) -> float:
    """What each rank sends in a step, without meetings: 2 (N - 1) / N of the gradients' bytes."""
    parts = 2 * (ranks - 1) / ranks * training.bytes
    return parts + (ranks - 1) * NUMBER * training.clipped


def step_seconds(training: Training, processor: Processor, link: Link, ranks: int) -> Seconds:
    """What a step takes where each rank has its share of the batch."""
    moved = training.parameters * CASES[training.rule].bytes_per_element(training.itemsize)
    exchange = 2 * ring_seconds(link, ranks, training.bytes)
    if training.clipped:
        exchange += ring_seconds(link, ranks, ranks * NUMBER)
    return Seconds(
        compute=training.flops / (ranks * processor.rate),
        update=moved / (ranks if training.sharded else 1) / processor.bandwidth,
        exchange=exchange,
        meetings=training.meetings * meeting_seconds(link, ranks),
    )


def memory(training: Training, ranks: int, scratch: bool = True) -> Memory:
    """What a rank holds; `scratch`: whether sums of its part are made beside the gradients, as MPI
    makes them."""
    whole = float(training.bytes)
    states = CASES[training.rule].states * whole
    return Memory(
        parameters=whole,
        gradients=whole,
        states=states / ranks if training.sharded else states,
        scratch=whole / ranks if scratch and ranks > 1 else 0.0,
    )


def efficiency(training: Training, processor: Processor, link: Link, ranks: int) -> float:
    """Speedup over a single rank, a rank: T(1) / (N T(N))."""
    alone = step_seconds(training, processor, link, 1).total
    return alone / (ranks * step_seconds(training, processor, link, ranks).total)


def pays_up_to(
    training: Training, processor: Processor, link: Link, numbers: Sequence[int], least: float = 0.5
) -> int:
    """The last of these ascending numbers of ranks before the efficiency falls below `least`; 1
    where it is below from the first on."""
    last = 1
    for ranks in numbers:
        if efficiency(training, processor, link, ranks) < least:
            break
        last = ranks
    return last


def link_from(
    ranks: int, meeting: float, exchange: float, total: int, name: str, source: str
) -> Link:
    """The link by which a meeting, and an exchange of `total` bytes (a reduce-scatter and an
    all-gather), take as many seconds."""
    alpha = meeting / (2 * ceil(log2(ranks)))
    of_bytes = max(exchange / (2 * (ranks - 1)) - alpha, 1e-3 * exchange)
    return Link(name, alpha, total / (ranks * of_bytes), source)
