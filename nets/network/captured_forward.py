"""A network's forward captured: written down once for a number of rows, then run as a program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np

from ...kernels.program import new_recorder, why_no_programs
from ..layers.layer import Layer
from ..losses.loss import Loss
from ..types import HostArray
from .sequential import Sequential

ROWS = 256  # of a batch, which a core's second cache holds with what is made of it
LEAST = 2 * ROWS  # rows that are worth a program which may run once
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
        recorder = self._recorder = new_recorder(net.dtype, MOST, stops=False)
        self._rooms = [recorder.program.empty((rows, *a.shape[1:]), a.dtype) for a in like]
        self._reads = [recorder.read(room) for room in self._rooms]
        x = self._rooms[0]
        try:
            for layer in net.layers:
                y, _ = layer.record(recorder, x, False)
                if y is not x and x is not self._rooms[0]:
                    recorder.release(x)
                x = y
            if loss is not None:
                loss.record(recorder, x, *(*self._rooms[1:], None)[:2])
        except NotImplementedError as error:
            raise Uncapturable(str(error)) from error
        self.shape = x.shape
        self._write = recorder.write(x) if loss is None else 0
        self._settings = self._now(net)

    def _now(self, net: Sequential) -> list[Any]:
        losses = () if self._loss is None else (self._loss,)
        return [_forks, *settings(net, *losses)]

    def holds(self, net: Sequential) -> bool:
        """Whether the network is as it was when it was captured."""
        return same_settings(self._now(net), self._settings)

    def run(self, given: tuple[HostArray, ...], out: HostArray | None) -> tuple[float, float]:
        """Work through all batches of `given`; outputs go to `out`.

        Returns the loss, as the sum over batches of mean times rows, and the metric's sum. Threads
        that call it at once take turns.
        """
        with self._lock:
            return self._run(given, out)

    def _run(self, given: tuple[HostArray, ...], out: HostArray | None) -> tuple[float, float]:
        recorder, total, measured = self._recorder, 0.0, 0.0
        batches = len(given[0]) // self._rows
        for first in range(0, batches, MOST):
            for word, array in zip(self._reads, given, strict=True):
                recorder.words.start(word, array[first * self._rows :].ctypes.data)
            if out is not None:
                recorder.words.start(self._write, out[first * self._rows :].ctypes.data)
            steps = recorder.run(min(MOST, batches - first))
            if self._loss is not None:
                total += float(recorder.loss[:steps].sum()) * self._rows
                measured += float(recorder.metric[:steps].sum())
        return total, measured


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


def check_layers(net: Sequential) -> None:
    """Raise Uncapturable with the reason where the network's layers can't be captured at all."""
    if net.backend.device != "cpu":
        raise Uncapturable(f"the network is on {net.backend.device}")
    if reason := why_no_programs(net.dtype):
        raise Uncapturable(reason)
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
    if len(x) < LEAST or net.backend.device != "cpu":
        return None
    out, x = None, np.ascontiguousarray(x)
    for rows, part in _batches(len(x), batch_size):
        if (program := _take(net, rows, (x,), None)) is None:
            return None
        if out is None:
            out = net.backend.empty((len(x), *program.shape[1:]), net.dtype)
        program.run((x[part],), out[part])
    return out


def captured_loss(
    net: Sequential, x: HostArray, y: HostArray, loss: Loss, weights: HostArray | None
) -> tuple[float, float] | None:
    """(sum of the loss over rows, sum of the metric); None likewise."""
    if net.backend.device != "cpu":
        return None
    targets, factors = loss.given_to_record(y, weights, net.dtype)
    x = np.ascontiguousarray(x)
    given = (x, targets) if factors is None else (x, targets, factors)
    total = measured = 0.0
    for rows, part in _batches(len(x), ROWS):
        if (program := _take(net, rows, given, loss)) is None:
            return None
        sums = program.run(tuple(array[part] for array in given), None)
        total, measured = total + sums[0], measured + sums[1]
    return total, measured


def _batches(n: int, most: int) -> Iterator[tuple[int, slice]]:
    """(rows of a batch, the rows that go in such batches)."""
    rows = min(ROWS, most, n)
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
            check_layers(net)
            if loss is not None:
                check_loss(loss)
            found = CapturedForward(net, rows, given, loss)
        except Uncapturable:
            return None
        while len(made) >= KEPT:
            made.pop(next(iter(made)), None)
        made[key] = found
    return found
