"""Steps of a scaled loss that a GPU takes or leaves out by itself, without anyone who waits for it.

How many were taken, and the scale, lie in its memory. A step's coefficients depend on the first: so
the host sends those of every step that this may be, a row for each, and the GPU takes its row. What
it has found out comes back behind a step, and is looked at when it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, device_of
from ...backend.failures import Explained
from ..compiling.dtypes import GPU_COMPUTED, NAMES
from ..compiling.gpu.cuda_chunks import Chunks
from ..compiling.gpu.cuda_launch import RawKernel, made_once
from ..compiling.gpu.cuda_packs import launch_chunks_with
from ..compiling.gpu.cuda_squares import sum_of_chunks
from ..groups import groups_of
from ..rule import Prepared, Rule
from . import cuda_scaling
from .cuda_clock import (
    CALLS,
    SCALE,
    SINCE,
    TAKEN,
    WORDS,
    Changes,
    Report,
    host_words,
    standing_clock,
)
from .cupy_bundle import GRADS, on_gpu
from .cupy_gpu import table_kernel

AHEAD = 64  # rows of steps to come that go to the GPU where coefficients stay as they were
MOST = 256  # steps that may be decided on before the host hears of any


class Rows(NamedTuple):
    """Coefficients of so many `steps` in the GPU's memory, after `base` steps.

    Attributes:
        key: what they were worked out from.
        groups: rows of a step, one for each group.
    """

    key: tuple[Any, ...]
    rule: Rule
    groups: int
    table: Array
    base: int
    steps: int


class PendingSteps:
    """The steps of one optimizer with one scale of the loss, on the device of `like`.

    Attributes:
        device: as `device_of` calls it.
        known: the last report that has come.
        told: how many of the steps that are stuck in it someone was told of.
    """

    def __init__(self, like: Array, taken: int, scale: float, since: int) -> None:
        import cupy

        self._under_way = False  # a report
        self.device = device_of(like)
        self.known = Report(scale, since, 0, taken, 0)
        self.told = 0
        self._asked = 0  # steps
        self._device, self._stream = like.device, None
        self._rows: Rows | None = None
        words = np.zeros(WORDS, np.int64)
        words[TAKEN], words[SINCE] = taken, since
        words.view(np.float64)[SCALE] = scale
        with self._device:
            self._words, self._clock = cupy.asarray(words), standing_clock()
            self._scale = self._words.view("float64")[SCALE : SCALE + 1].reshape(())
            self._arrived = cupy.cuda.Event(disable_timing=True)
        self._host = host_words(WORDS).view(np.int64)

    def __del__(self) -> None:
        """A report that is under way goes to memory that would be another's soon."""
        if self._under_way:
            with suppress(Exception):  # as where Python ends
                self._arrived.synchronize()

    def scaled(self, gradient: Array) -> Array:
        """An array times the scale as it is on the GPU, of its own dtype."""
        import cupy

        dtype = gradient.dtype
        with gradient.device:
            product = cupy.multiply(gradient, self._scale, dtype=GPU_COMPUTED[dtype])
            return product.astype(dtype, copy=False)

    def hear(self) -> Report:
        """What is known without waiting."""
        if self._under_way and self._arrived.done:
            self._under_way = False
            self._take(self._host)
        return self.known

    def settle(self) -> Report:
        """What is known once all is done, which is waited for."""
        if self.known.calls < self._asked:
            with self._device:
                self._take(self._words.get(stream=self._stream))
            self._asked = self.known.calls  # a launch that failed decided nothing
        return self.known

    def _take(self, words: np.ndarray) -> None:
        if words[CALLS] > self.known.calls:
            _, since, stuck, taken, calls = words.tolist()
            self.known = Report(float(words.view(np.float64)[SCALE]), since, stuck, taken, calls)

    def rows(self, key: tuple[Any, ...], prepared: Callable[[int], Prepared]) -> Rows:
        """The coefficients of each step that the next one may be.

        Args:
            key: objects that are others where `prepared` gives others.
            prepared: the rule and coefficients of the step of that number.
        """
        if self._asked - self.hear().calls >= MOST:
            self.settle()
        base = self.known.taken
        most = base + self._asked - self.known.calls + 1
        last = self._rows
        same = last is not None and all(map(is_, key, last.key))
        if last is None or not same or not last.base <= base < most <= last.base + last.steps:
            count = most - base + (AHEAD if same else 0)
            found = [prepared(base + 1 + k) for k in range(count)]
            rule, groups = found[0][0], groups_of(found[0])
            table = on_gpu([number for _, numbers in found for number in numbers])
            self._rows = last = Rows(key, rule, groups, table, base, count)
        return last

    def step(
        self,
        tables: Sequence[Chunks],
        key: tuple[Any, ...],
        prepared: Callable[[int], Prepared],
        grad_scale: float,
        clip_norm: float | None,
        changes: Changes,
    ) -> Array:
        """Step all arrays of `tables`, or none where a gradient is inf or NaN.

        Args:
            tables: an argument of the rule after another, in groups.
            key, prepared: as for `rows`; of gradients as they come.
            grad_scale: a factor on them beside 1 / scale.
            clip_norm: None, or the largest norm that they are to have.

        Returns:
            whether they were stepped, a bool on the GPU.
        """
        import cupy

        like = tables[0].like
        with self._device, Explained("a step of a scaled loss", like, "cupy"):
            rows = self.rows(key, prepared)
            kernels = [table_kernel(rows.rule, NAMES[each.like.dtype]) for each in tables]
            decide = decide_kernel()
            for kernel in (decide, *kernels):  # all of them, before the first writes
                kernel.compile()
            taken = cupy.empty((), "bool")
            squares = sum_of_chunks((each, GRADS) for each in tables)
            limits = np.array([grad_scale, np.inf if clip_norm is None else clip_norm])
            numbers = np.array([changes.growth, changes.backoff])
            counts = np.int64(changes.interval), np.int64(rows.base)
            self._stream = cupy.cuda.get_current_stream()
            self._asked += 1
            given = (*limits, *numbers, *counts, self._words, self._clock, taken)
            decide(squares, 1, 1, squares, *given)
            for kernel, chunks in zip(kernels, tables, strict=True):
                given = chunks.groups, np.int32(rows.groups), rows.table, self._clock
                launch_chunks_with(kernel, chunks, *given)
            self._ask()
        return taken

    def _ask(self) -> None:
        """Let a report come, unless one is under way."""
        if not self._under_way:
            self._words.get(out=self._host, blocking=False)
            self._arrived.record()
            self._under_way = True


@made_once
def decide_kernel() -> RawKernel:
    """scale_decide."""
    return RawKernel(cuda_scaling.KERNEL, "float64", cuda_scaling.decide())
