"""A training step of one's own loop, captured: compiled code on the CPU, a graph on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.checks.numbers import count
from ..losses.loss import Loss
from ..network.sequential import Sequential
from ..optimizers.frame.optimizer import Optimizer
from ..types import Array
from .captured.step import Captured
from .captured.steps import CapturedBySize, captured_step, written_down
from .given.inputs import check_batches, check_loss, check_optimizer, checked_weights, prepared
from .regularizers import Regularizer, Regularizers, regularizers_of
from .told.divergence import first_fault
from .update import NotFiniteError, update


def capture(
    net: Sequential,
    loss: Loss,
    optimizer: Optimizer,
    *,
    batch_size: int = 128,
    regularizer: Regularizers = None,
    samples: int | None = None,
) -> CapturedStep:
    """A training step as one call: `step(x, y)` does forward, loss, backward and update.

    All of it is written down once, on memory that stays. On the CPU each call runs it as one piece
    of compiled code, whose loops and matrix products share one crew of threads; on a GPU it is a
    CUDA graph, captured at the second call with as many rows: from then on a call copies the batch
    into place, launches the graph and waits for the loss. `fit` trains so by itself; this is for
    loops of one's own.

    On a GPU a graph has memory of its own, beside CuPy's pool: for one step's activations, for each
    number of rows, and for cuBLASLt to work in.

    Args:
        net: the network; a call writes its parameters, gradients and running statistics.
        loss: such as SoftmaxCrossEntropy().
        optimizer: made from `net.parameters()`; a call writes its states.
        batch_size: rows that a call is made ready for now, on the CPU; another number of rows, such
            as a last smaller batch's, is made ready for when it first comes.
        regularizer: such as L2(0.1), or several.
        samples: m of the regularizer's formula, the number of all training samples; needed with it.

    Returns:
        the step; see `CapturedStep`.

    Raises:
        TypeError, ValueError: an argument is none of these; the optimizer updates other arrays.
    """
    check_loss(net, loss)
    check_optimizer(net, optimizer)
    regularizers = regularizers_of(regularizer)
    if regularizers and samples is None:
        raise TypeError("samples are left out; expected their number, which regularizer is over")
    m = 1 if samples is None else count("samples", samples)

    return CapturedStep(net, loss, optimizer, regularizers, m, count("batch_size", batch_size))


class CapturedStep(CapturedBySize):
    """A training step as one call, from `capture`.

    A network that changed since (a layer's settings, the device, an optimizer's rule or states) is
    noticed, and the step captured anew.

    Attributes:
        why_not: why calls go through layer by layer instead, as a layer of one's own does; "" where
            they do not, but for a GPU's first with as many rows.
        metric: of the last call: the loss's metric, such as accuracy, as a mean over its rows.
    """

    def __init__(
        self,
        net: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        regularizers: tuple[Regularizer, ...],
        samples: int,
        batch_size: int,
    ) -> None:
        super().__init__(net, loss, optimizer)
        self._net, self._loss, self._optimizer = net, loss, optimizer
        self._regularizers, self._samples = regularizers, samples
        self.metric = float("nan")
        if not self.why_not and net.backend.device == "cpu":
            width = net.out_features or net.in_features or 1
            rows = np.zeros((batch_size, net.in_features or width), net.dtype)
            shape = (batch_size,) if loss.of_logits == "softmax" else (batch_size, width)
            self._ready(rows, np.zeros(shape), None)

    def __call__(self, x: Array, y: Array, weights: Array | None = None) -> float:
        """Update the network once; the mean loss before the update.

        Args:
            x: rows, (n, in_features); from another device or dtype it is brought to the network's.
            y: what the loss takes: labels (n,), or targets (n, out_features).
            weights: (n,), a factor on the loss of each row.

        Raises:
            TypeError, ValueError: x, y or weights do not fit; nothing was written.
            FloatingPointError: the loss is not finite, or the gradients are not where `clip_norm`
                asks for their norm; the message names the layer that first went wrong, and the
                parameters are those of the step before.
        """
        net, loss = self._net, self._loss
        x, y = prepared(net, (x, y), loss, "the batch")
        check_batches(net, len(x), len(x))
        with net.backend.scope(), np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if weights is not None:
                weights = checked_weights(net, weights, len(x), "weights")
            try:
                mean, metric = self._captured(x, y, weights) or update(
                    net, loss, self._optimizer, self._regularizers, self._samples, x, y, weights,
                    waits=True,
                )  # fmt: skip
            except NotFiniteError as error:
                fault = first_fault(net, x, y, loss, training=True)
                raise FloatingPointError(f"{error}{': ' if fault else ''}{fault}") from error
            self.metric = float(metric) / len(x)
            return float(mean)

    def _captured(self, x: Array, y: Array, weights: Array | None) -> tuple[float, float] | None:
        """What `update` gives, by the captured step; None where there can be none."""
        if self.why_not:
            return None
        ready = self._ready(x, y, weights)
        if ready is None:
            return None
        step, given = ready
        step.give(*given)
        step.prepare(0)
        step.run(None, 1)
        if step.unfinished:
            step.finish()
        return float(step.loss[0]), float(step.metric[0])

    def _ready(self, x: Array, y: Array, weights: Array | None) -> Any:
        """The captured step for such a batch, and what it is given; None likewise."""
        given = written_down(self._net, self._loss, x, y, weights)

        def make() -> Captured:
            return captured_step(
                self._net, self._loss, self._optimizer, len(x), given, self._regularizers,
                self._samples, gathered=False,
            )  # fmt: skip

        step = self._step((len(x), weights is None), make)
        return None if step is None else (step, given)
