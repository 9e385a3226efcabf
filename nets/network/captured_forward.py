"""A network's forward captured: written down once for a number of rows, then run as a program.

Rows don't need one another: each thread takes batches through all layers by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from ...kernels import get_num_threads
from ...kernels.program import new_claims, new_recorder, why_no_programs
from ..layers.dense import Dense
from ..layers.layer import Layer
from ..losses.loss import Loss
from ..sparse_rows import SparseRows
from ..types import HostArray
from .sequential import Sequential

ROWS = 384  # of a batch, which a core's second cache holds with what is made of it
LEAST = 512  # rows that are worth a program which may run once
FEW, SHORT = 8, 128  # pairs of batches that are made even, and rows that one batch takes
KEPT = 8  # programs of a network
MOST = 64  # batches of a run

_forks = 0  # of the processes before this one: what was captured there may have been in use


def _after_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Uncapturable(Exception):
    """Why something can't be captured."""


class CapturedForward:
    """The forward of a network, or a loss of it, on batches of `rows` rows.

    Args:
        like: arrays of the dtypes and widths that are given: x, then what a loss takes.
        loss: None, or what is measured.
    """

    def __init__(
        self, net: Sequential, rows: int, like: tuple[HostArray, ...], loss: Loss | None
    ) -> None:
        self._lock, self._rows, self._loss = Lock(), rows, loss
        self._copy = partial(_Copy, rows, like, loss)
        self._copies = [self._copy(net)]
        self._claims = new_claims([self._copies[0].recorder])
        self.shape = self._copies[0].shape
        self._settings = self._now(net)

    def _now(self, net: Sequential) -> list[Any]:
        losses = () if self._loss is None else (self._loss,)
        return [_forks, *settings(net, *losses)]

    def holds(self, net: Sequential) -> bool:
        """Whether the network is as it was when it was captured."""
        return same_settings(self._now(net), self._settings)

    def run(
        self, net: Sequential, given: tuple[HostArray, ...], out: HostArray | None
    ) -> tuple[float, float]:
        """Work through all batches of `given`; outputs go to `out`.

        Returns the loss, as the sum over batches of mean times rows, and the metric's sum. Threads
        that call it at once take turns.
        """
        with self._lock:
            batches = len(given[0]) // self._rows
            self._copy_for(net, min(batches, get_num_threads()))
            return self._run(given, out, batches)

    def _copy_for(self, net: Sequential, threads: int) -> None:
        """Have a copy for each thread."""
        if threads > len(self._copies):
            new = [self._copy(net) for _ in range(threads - len(self._copies))]
            claims = new_claims([copy.recorder for copy in (*self._copies, *new)])
            self._claims, self._copies = claims, self._copies + new

    def _run(
        self, given: tuple[HostArray, ...], out: HostArray | None, batches: int
    ) -> tuple[float, float]:
        total, measured, rows = 0.0, 0.0, self._rows
        for first in range(0, batches, MOST):
            left = [array[first * rows :] for array in given]
            for copy in self._copies:
                copy.start(left, None if out is None else out[first * rows :])
            self._claims.run(min(MOST, batches - first))
            if self._loss is not None:
                found = [copy.recorder for copy in self._copies]
                total += float(sum(each.loss for each in found).sum()) * rows
                measured += float(sum(each.metric for each in found).sum())
        return total, measured


class _Copy:
    """The forward of a network written down once, with memory of its own."""

    def __init__(
        self, rows: int, like: tuple[HostArray, ...], loss: Loss | None, net: Sequential
    ) -> None:
        recorder = self.recorder = new_recorder(net.dtype, MOST, stops=False, shared=False)
        rooms = [recorder.program.empty((rows, *a.shape[1:]), a.dtype) for a in like]
        x, *others = rooms
        multiplied = bool(net.layers) and type(net.layers[0]).record is Dense.record
        self._reads = [recorder.read(x, multiplied), *map(recorder.read, others)]
        try:
            for layer in net.layers:
                y, _ = layer.record(recorder, x, False)
                if y is not x and x is not rooms[0]:
                    recorder.release(x)
                x = y
            if loss is not None:
                loss.record(recorder, x, *(*others, None)[:2])
        except NotImplementedError as error:
            raise Uncapturable(str(error)) from error
        self.shape = x.shape
        self._write = recorder.write(x) if loss is None else 0

    def start(self, given: Sequence[HostArray], out: HostArray | None) -> None:
        """Let the next run read and write there."""
        recorder = self.recorder
        for word, array in zip(self._reads, given, strict=True):
            recorder.words.start(word, array.ctypes.data)
        if out is not None:
            recorder.words.start(self._write, out.ctypes.data)
        recorder.loss[:] = recorder.metric[:] = 0.0


def settings(net: Sequential, *others: Any) -> list[Any]:
    """What is written down of a network and of other things, and must not change."""
    found: list[Any] = [net.parameters().flat, *(layer._params for layer in net.layers)]
    for thing in (*net.layers, *others):
        found += [thing, *(v for k, v in vars(thing).items() if k[0] != "_")]
    return found


def same_settings(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(map(_same, a, b))


def _same(a: Any, b: Any) -> bool:
    plain = (bool, int, float, str)
    return a is b or (type(a) is type(b) and isinstance(a, plain) and a == b)


def check_programs(net: Sequential) -> None:
    """Raise Uncapturable with the reason where there are no programs for such a network."""
    if net.backend.device != "cpu":
        raise Uncapturable(f"the network is on {net.backend.device}")
    if reason := why_no_programs(net.dtype):
        raise Uncapturable(reason)


def check_methods(net: Sequential) -> None:
    """Likewise where it, or a layer, has methods of its own that nothing writes down."""
    if newer := newer_than("parameters", net, Sequential, ("forward", "backward", "__call__")):
        raise Uncapturable(f"the network has a {newer} of its own")
    for k, layer in enumerate(net.layers):
        if newer := newer_than("record", layer, Layer, ("forward", "backward")):
            raise Uncapturable(f"layer {k} {layer!r} has a {newer} of its own, and no record")


def check_loss(loss: Loss) -> None:
    """Likewise for a loss."""
    if newer := newer_than("record", loss, Loss, ("__call__", "measure")):
        raise Uncapturable(f"the loss {loss!r} has a {newer} of its own, and no record")


def newer_than(record: str, thing: Any, base: type, methods: tuple[str, ...]) -> str:
    """The first of `methods` that a thing has of its own, or its class defines after `record`; ""
    where there is none."""
    order = [each for each in type(thing).__mro__ if issubclass(each, base)]

    def place(name: str) -> int:
        return next(k for k, each in enumerate(order) if name in vars(each))

    own = getattr(thing, "__dict__", {})
    found = (name for name in methods if name in own or place(name) < place(record))
    return next(found, "")


def captured_outputs(net: Sequential, x: HostArray, batch_size: int) -> HostArray | None:
    """What the network gives for each row of `x`; None where it is better called layer by layer."""
    if len(x) < LEAST or net.backend.device != "cpu" or isinstance(x, SparseRows):
        return None
    out, x = None, np.ascontiguousarray(x)
    for rows, part in _batches(len(x), batch_size):
        if (program := _take(net, rows, (x,), None)) is None:
            return None
        if out is None:
            out = net.backend.empty((len(x), *program.shape[1:]), net.dtype)
        program.run(net, (x[part],), out[part])
    return out


def captured_loss(
    net: Sequential, x: HostArray, y: HostArray, loss: Loss, weights: HostArray | None
) -> tuple[float, float] | None:
    """(sum of the loss over rows, sum of the metric); None likewise."""
    if isinstance(x, SparseRows):
        return None
    try:
        check_programs(net)
        check_methods(net)
        check_loss(loss)
    except Uncapturable:
        return None
    targets, factors = loss.given_to_record(y, weights, net.dtype)
    x = np.ascontiguousarray(x)
    given = (x, targets) if factors is None else (x, targets, factors)
    total = measured = 0.0
    for rows, part in _batches(len(x), ROWS):
        if (program := _take(net, rows, given, loss)) is None:
            return None
        sums = program.run(net, tuple(array[part] for array in given), None)
        total, measured = total + sums[0], measured + sums[1]
    return total, measured


def _batches(n: int, most: int) -> Iterator[tuple[int, slice]]:
    """(rows of a batch, the rows that go in such batches)."""
    rows = min(ROWS, most, n)
    pairs = -(-n // (2 * rows))
    if n > SHORT and pairs <= FEW:  # else one thread would wait for the other's last one
        rows = n // (2 * pairs)
    whole = n - n % rows
    yield rows, slice(0, whole)
    if whole < n:
        yield n - whole, slice(whole, n)


def _take(
    net: Sequential, rows: int, given: tuple[HostArray, ...], loss: Loss | None
) -> CapturedForward | None:
    """The program for that many rows, made when first needed; None where there can be none."""
    made = net.programs
    key = rows, id(loss), *((array.dtype, array.shape[1:]) for array in given)
    found = made.get(key)
    if found is None or not found.holds(net):
        try:
            check_programs(net)
            check_methods(net)
            if loss is not None:
                check_loss(loss)
            found = CapturedForward(net, rows, given, loss)
        except Uncapturable:
            return None
        while len(made) >= KEPT:
            made.pop(next(iter(made)), None)
        made[key] = found
    return found
