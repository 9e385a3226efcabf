"""A captured step on the CPU: kernel calls and products written down, run by compiled code."""

from __future__ import annotations

from typing import Any

from ....kernels.program import new_recorder
from ...network.captured_forward import Uncapturable, check_programs
from ...optimizers.frame.optimizer import Optimizer
from ...types import Array
from .step import MOST, Batch, Captured, check_engine


class CapturedProgram(Captured):
    """A program of kernels/program/."""

    _encoded: Any = None
    """The optimizer's step, where its states are in 16 or 8 bits."""

    def _write_down(self, data: Batch, gathered: bool) -> None:
        check_programs(self._net)
        if self._optimizer is not None:
            check_engine(self._optimizer, "numba")
        recorder = self._recorder = new_recorder(self._net.dtype, MOST)
        self.loss, self.metric = recorder.loss, recorder.metric
        self._orders: list[int] = []
        x, y, weights = data
        x, y = self._room(x, gathered), self._room(y, gathered)
        weights = None if weights is None else self._room(weights, gathered)
        self._rooms: Batch = x, y, weights
        try:
            self._record(self._rooms)
        except NotImplementedError as error:
            raise Uncapturable(str(error)) from error
        if self._optimizer is not None:
            self._write_step(self._optimizer)

    def _write_step(self, optimizer: Optimizer) -> None:
        recorder = self._recorder
        if optimizer.formats:
            calls, groups = optimizer.encoded_calls()
            self._calls, self._encoded = len(calls), recorder.encoded_step(calls, groups, MOST)
        else:
            arrays = tuple(column[0] for column in optimizer.columns())
            recorder.step(self._rule, arrays, self._runs, self._table, self._clip_norm)

    def prepare(self, number: int) -> bool:
        same = super().prepare(number)
        if self._encoded is not None and self._optimizer is not None:
            keys = self._optimizer.noise_keys(number, self._calls)
            self._encoded.prepare(number, self._table[number], keys)
        return same

    def _record(self, batch: Batch) -> None:
        """All but the optimizer's step."""
        net, recorder = self._net, self._recorder
        x, y, weights = batch
        learning = (k for k, layer in enumerate(net.layers) if layer.shapes())
        first, backwards = next(learning, len(net.layers)), []
        for layer in net.layers:
            x, backward = layer.record(recorder, x, True)
            backwards.append(backward)
        dy = self._loss.record(recorder, x, y, weights)
        for k in range(len(backwards) - 1, first - 1, -1):
            dy = backwards[k](dy, k > first)
        for regularizer in self._regularizers:
            regularizer.record(recorder, net, self._samples)

    def _room(self, array: Array, gathered: bool) -> Array:
        """Room for a batch of `array`; `gathered`: and what fills it."""
        room = self._recorder.program.empty((self.batch_size, *array.shape[1:]), array.dtype)
        if gathered:
            self._orders.append(self._recorder.take(array, room))
        return room

    def give(self, *batch: Array | None) -> None:
        for room, array in zip(self._rooms, batch, strict=True):
            if room is not None:
                room[...] = array

    def timed(self, order: Array) -> list[tuple[str, int]]:
        """Take one step, `prepare`d, for the batch of `order`: see `Program.timed`."""
        self._start(order)
        found: list[tuple[str, int]] = self._recorder.timed()
        self.taken = int(self._recorder.program.clock[0])
        if self._optimizer is not None:
            self._optimizer.stepped(self.taken)
        return found

    def _start(self, order: Array | None) -> None:
        if order is not None:
            for word in self._orders:
                self._recorder.words.start(word, order.ctypes.data)

    def _run(self, order: Array | None, steps: int) -> int:
        self._start(order)
        taken: int = self._recorder.run(steps)
        return taken

    @property
    def _not_finite(self) -> bool:
        return bool(self._recorder.not_finite)

    def _ended(self) -> None:
        self._recorder.ended(1)
