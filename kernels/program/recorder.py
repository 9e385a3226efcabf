"""Writes calls of kernels down in a program instead of making them.

Its methods are named as the kernels, and take arrays that exist already or that it makes. What they
refuse was refused when the arrays were made: only layers and losses call them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...backend.checks.numbers import positive
from ..activation.arguments import check_options
from ..activation.formula import KINDS
from ..batch_norm.contract import Running
from ..crew.board import STOP
from ..groups import Runs
from ..inverted_dropout.arguments import mask_of
from ..norms.arguments import check_activation, check_groups, shape_of_rows
from ..norms.norm import GROUP_NORM, LAYER_NORM, RMS_NORM, Norm, Saved
from ..rows.skeleton import Shape
from ..rule import Rule
from ..state_formats.contract import Call
from . import (
    numba_activation,
    numba_batch_norm,
    numba_dropout,
    numba_norm,
    numba_penalty,
    numba_product,
    numba_rule,
)
from .blas import find_blas, one_thread
from .losses import numba_loss_job, numba_number_losses, numba_softmax
from .numba_words import Words, copy, take
from .program import Program
from .stops import NOT_FINITE

LINE = 16  # elements that what is left of a block begins at a multiple of


class Recorder:
    """A program in the making.

    Attributes:
        program: what was written down so far.
        words: those of its jobs that change with the step.
        loss, metric: one number for each step of a run, that losses write: the mean loss,
            and the metric added up over the rows.
    """

    def __init__(
        self, dtype: np.dtype[Any], most: int, stops: bool = True, shared: bool = True
    ) -> None:
        blas = find_blas()
        assert blas is not None
        self._blas, self.dtype = blas, dtype
        self.program = Program(stops, shared)
        self.words = Words(self.program)
        self.loss, self.metric = np.zeros(most), np.zeros(most)
        self._free: list[np.ndarray] = []
        self._elsewhere: dict[int, int] = {}
        self._around: list[tuple[Callable[[], None], Callable[[int], None]]] = []

    def around(self, start: Callable[[], None], ended: Callable[[int], None]) -> None:
        """Have `start` called before each run, and `ended` with the number of its steps after."""
        self._around.append((start, ended))

    def timed(self) -> list[tuple[str, int]]:
        """Run the program for one step: see `Program.timed`."""
        for start, _ in self._around:
            start()
        with one_thread():
            found = self.program.timed()
        self.ended(int(self.program.clock[0]))
        return found

    def run(self, steps: int) -> int:
        """Run the program for that many steps; those that ended, fewer where it asked to stop."""
        for start, _ in self._around:
            start()
        with one_thread():
            ended = self.program.run(steps)
        self.ended(ended)
        return ended

    @property
    def not_finite(self) -> bool:
        """Whether the last run ended because a loss was not."""
        return bool(self.program.clock[STOP] == NOT_FINITE)

    def ended(self, steps: int) -> None:
        """So many more steps have ended."""
        for _, end in self._around:
            end(steps)

    # --- memory -----------------------------------------------------------------------------------
    def empty(self, *shape: int) -> np.ndarray:
        """New memory, or some that was released, of the network's dtype."""
        size = int(np.prod(shape))
        fits = [k for k, array in enumerate(self._free) if array.size >= size]
        if not fits:
            return self.program.empty((size,), self.dtype).reshape(shape)
        least = min(fits, key=lambda k: self._free[k].size)
        block = self._free.pop(least)
        self.release(block[-(-size // LINE) * LINE :])
        return block[:size].reshape(shape)

    def release(self, array: np.ndarray) -> None:
        """Instructions that come from now on may write to what `empty` gave."""
        if array.size:
            self._free.append(array.reshape(-1))

    # --- kernels ----------------------------------------------------------------------------------
    def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        out = self.empty(a.shape[0], b.shape[1]) if out is None else out
        parts = self.empty(numba_product.parts_of(self.program, a, b), *out.shape)
        job = np.zeros(1, numba_product.JOB)
        numba_product.matmul(self.program, self._blas, a, b, out, parts, job)
        if (word := self._elsewhere.pop(id(a), None)) is not None:
            self.words.point(word, job, numba_product.LEFT)
        self.release(parts)
        return out

    def activation_forward(
        self, x: np.ndarray, kind: str, *, out: np.ndarray, bias: np.ndarray | None = None,
        **options: Any,
    ) -> np.ndarray:  # fmt: skip
        _, numbers = check_options(kind, **options)
        numba_activation.forward(self.program, x, out, kind, bias, numbers)
        return out

    def activation_backward(
        self, dy: np.ndarray, y: np.ndarray, kind: str, *, out: np.ndarray,
        bias: np.ndarray | None = None, bias_grad: np.ndarray | None = None, **options: Any,
    ) -> np.ndarray:  # fmt: skip
        _, numbers = check_options(kind, **options)
        bias = bias if KINDS[kind].from_x else None
        numba_activation.backward(self.program, dy, y, out, kind, bias, bias_grad, numbers)
        return out

    def batch_norm_forward(
        self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, running_mean: np.ndarray,
        running_var: np.ndarray, *, momentum: float, eps: float, activation: str | None,
        out: np.ndarray,
    ) -> tuple[np.ndarray, Any]:  # fmt: skip
        how = numba_batch_norm.how_of(x, gamma, beta, eps, activation == "relu")
        running = Running(running_mean, running_var, momentum)
        return out, (x, how, numba_batch_norm.forward(self.program, x, out, how, running))

    def batch_norm_backward(
        self, dy: np.ndarray, saved: Any, *, out: np.ndarray, gamma_grad: np.ndarray,
        beta_grad: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        x, how, kept = saved
        numba_batch_norm.backward(self.program, dy, x, out, how, kept, gamma_grad, beta_grad)
        return out

    def batch_norm_inference(
        self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray,
        var: np.ndarray, *, eps: float, activation: str | None, out: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        how = numba_batch_norm.how_of(x, gamma, beta, eps, activation == "relu")
        numba_batch_norm.inference(self.program, x, out, how, mean, var)
        return out

    def layer_norm_forward(
        self, x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None, *,
        normalized_shape: tuple[int, ...] | None, eps: float, activation: str | None,
        out: np.ndarray,
    ) -> tuple[np.ndarray, Saved]:  # fmt: skip
        shape = shape_of_rows(x.shape, 1 if normalized_shape is None else len(normalized_shape))
        return self._norm_forward(LAYER_NORM, x, shape, gamma, beta, eps, activation, out)

    def rms_norm_forward(
        self, x: np.ndarray, gamma: np.ndarray | None = None, *,
        normalized_shape: tuple[int, ...] | None, eps: float | None, activation: str | None,
        out: np.ndarray,
    ) -> tuple[np.ndarray, Saved]:  # fmt: skip
        shape = shape_of_rows(x.shape, 1 if normalized_shape is None else len(normalized_shape))
        small = float(np.finfo(x.dtype).eps) if eps is None else eps
        return self._norm_forward(RMS_NORM, x, shape, gamma, None, small, activation, out)

    def group_norm_forward(
        self, x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None, *,
        groups: int, eps: float, activation: str | None, out: np.ndarray,
    ) -> tuple[np.ndarray, Saved]:  # fmt: skip
        shape = check_groups(x, groups)
        return self._norm_forward(GROUP_NORM, x, shape, gamma, beta, eps, activation, out)

    def _norm_forward(
        self, norm: Norm, x: np.ndarray, shape: Shape, gamma: np.ndarray | None,
        beta: np.ndarray | None, eps: float, activation: str | None, out: np.ndarray,
    ) -> tuple[np.ndarray, Saved]:  # fmt: skip
        eps, activation = positive("eps", eps), check_activation("activation", activation)
        given = (x, out, shape, gamma, beta, eps, activation)
        return out, numba_norm.forward(self.program, norm, *given)

    def norm_backward(
        self, dy: np.ndarray, saved: Saved, *, out: np.ndarray,
        gamma_grad: np.ndarray | None = None, beta_grad: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """That of all three; a vector that was given has a place for its gradient."""
        numba_norm.backward(self.program, saved, dy, out, gamma_grad, beta_grad)
        return out

    def dropout(
        self, x: np.ndarray, keep_prob: float, *, seed: int, draw: int, out: np.ndarray
    ) -> numba_dropout.Masked:
        mask = mask_of(keep_prob, seed, draw)
        return numba_dropout.dropout(self.program, self.words, x, out, mask)

    def softmax_cross_entropy(
        self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, out: np.ndarray,
        label_smoothing: float = 0.0,
    ) -> np.ndarray:  # fmt: skip
        """The gradient; the loss, and as metric the rows that are right, go where they belong."""
        first = self.loss[:1], self.metric[:1]
        given = (logits, labels, weights, out, *first, label_smoothing)
        job = numba_softmax.cross_entropy(self.program, *given)
        self._results(job)
        return out

    def loss_of_numbers(
        self, name: str, output: np.ndarray, targets: np.ndarray, weights: np.ndarray | None,
        out: np.ndarray, setting: float = 0.0,
    ) -> np.ndarray:  # fmt: skip
        """The gradient of a loss in losses/numba_number_losses.py; loss and metric likewise."""
        first = self.loss[:1], self.metric[:1]
        job = numba_number_losses.loss_of_numbers(
            self.program, name, output, targets, weights, out, *first, setting
        )
        self._results(job)
        return out

    def penalty(
        self, name: str, weights: np.ndarray, gradients: np.ndarray, factor: float, slope: float
    ) -> None:
        """Adds "l1" or "l2" of weights to the loss, and its derivative to their gradients."""
        flat = weights.reshape(-1), gradients.reshape(-1)
        job = numba_penalty.add_penalty(self.program, name, *flat, factor, slope, self.loss[:1])
        self.words.add(job, numba_penalty.LOSS, self.loss.ctypes.data, 8)

    def step(
        self, rule: Rule, arrays: tuple[np.ndarray, ...], runs: Runs, table: np.ndarray,
        clip_norm: float | None,
    ) -> None:  # fmt: skip
        numba_rule.step(self.program, self.words, rule, arrays, runs, table, clip_norm)

    def encoded_step(self, calls: Sequence[Call], groups: np.ndarray, most: int) -> Any:
        """The same of arrays whose states are in 16 or 8 bits: an `EncodedStep`."""
        from .numba_encoded import EncodedStep  # which compiles when it is first needed

        return EncodedStep(self.program, self.words, calls, groups, most)

    def take(self, source: np.ndarray, out: np.ndarray) -> int:
        """Rows of `source`; the number of the changing word that says where their numbers are."""
        job = take(self.program, source, out)
        return self.words.add(job, 1, 0, 8 * len(out))

    def read(self, target: np.ndarray, multiplied: bool = False) -> int:
        """Each step fills `target` from the next bytes; the number of the word that says where.

        multiplied: nothing but the next `matmul` reads it, as its first matrix, and does so there:
            `target` is left empty.
        """
        if not multiplied:
            return self.words.add(copy(self.program, target, target), 0, 0, target.nbytes)
        word = self.words.add(np.zeros(1, np.int64), 0, 0, target.nbytes)
        self._elsewhere[id(target)] = word
        return word

    def write(self, source: np.ndarray) -> int:
        """Each step writes `source` behind what the one before wrote; likewise."""
        return self.words.add(copy(self.program, source, source), 1, 0, source.nbytes)

    def _results(self, job: np.ndarray) -> None:
        self.words.add(job, numba_loss_job.LOSS, self.loss.ctypes.data, 8)
        self.words.add(job, numba_loss_job.METRIC, self.metric.ctypes.data, 8)
