"""Training by L-BFGS: the whole set at a time, its steps found by SciPy."""

from __future__ import annotations

from copy import deepcopy
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np

from ...backend.checks.numbers import count, non_negative
from ..losses.loss import Loss
from ..network.prediction import parts
from ..network.sequential import Sequential
from ..types import Array, HostArray
from .given.class_weights import ClassWeight
from .given.inputs import (
    Pair,
    check_batches,
    check_loss,
    prepared,
    prepared_class_weight,
    prepared_weights,
)
from .history import History
from .regularizers import Regularizer, Regularizers, regularizers_of
from .told.divergence import first_fault
from .told.interrupt import Interrupt
from .told.progress import Progress, RichProgress
from .update import NotFiniteError, gradients

ROWS = 4096  # that go through the layers at a time


def fit_lbfgs(
    net: Sequential,
    data: Pair,
    *,
    loss: Loss,
    regularizer: Regularizers = None,
    sample_weight: Array | None = None,
    class_weight: ClassWeight = None,
    max_iter: int = 200,
    max_fun: int = 15000,
    tol: float = 1e-4,
    progress: bool = False,
    history: History | None = None,
) -> History:
    """Train `net` in place by L-BFGS, on all rows at a time, and return what was seen.

    It minimizes J, the loss of all rows with the penalty, by scipy.optimize.minimize with
    "L-BFGS-B": each iteration is a line search in a direction that the last ten gradients give. On
    small sets it finds a lower loss than mini-batches do, in fewer passes; there is no learning
    rate. The network ends with the parameters of the last iteration, which has the lowest loss.

    SciPy works in float64, with some 25 numbers a parameter, on the CPU. The network computes in
    its own dtype, where it is: float32 ends sooner, as its loss tells small steps no longer; on a
    GPU parameters and gradients are copied to and fro, once a pass. 4096 rows go through the layers
    at a time, and gradients are added up; all at once where a layer has statistics of the batch.

    A BatchNorm's running statistics go by every pass, those of the line search too.

    Ctrl-C ends training after the present pass, with the parameters of the last iteration.

    Args:
        net: the network; its parameters, gradients and running statistics are written.
        data: (x, y), as `fit` takes them; x may be sparse.
        loss, regularizer, sample_weight, class_weight: as for `fit`.
        max_iter: iterations at most, at least 1.
        max_fun: passes over the data after which no iteration begins, at least 1.
        tol: training has converged where no element of the gradient is larger than `tol`, or the
            loss falls by less than 2.2e-9 of itself; >= 0.
        progress: show a bar (needs rich), on which iterations are epochs; False prints nothing.
        history: of an earlier run of its own, whose figures come first; left as it is.

    Returns:
        `loss` (with penalty and weights) and `metric` after each iteration, and its seconds; none
        where the start has converged already. `stopped` is "converged", "interrupted", or SciPy's
        message: no convergence in so many iterations or passes, or a line search that finds nothing
        lower. `path` is "L-BFGS".

    Raises:
        ImportError: SciPy is not installed.
        TypeError, ValueError: as `fit`; a layer draws random numbers, so that J would be another at
            every look; before anything is written.
        FloatingPointError: the loss is not finite; the message names the iteration and the layer
            that first went wrong. The network has the parameters of the iteration before.

    Conventions: scikit-learn's solver="lbfgs" passes max_iter, max_fun and tol on as this does, and
        has J / 2 for squared errors.

    Source: Liu and Nocedal 1989, On the Limited Memory BFGS Method for Large Scale Optimization.

    Example:
        >>> import numpy as np
        >>> from onepass.nets import Dense, MeanSquaredError, Sequential, fit_lbfgs
        >>> x = np.linspace(-1, 1, 20).reshape(-1, 1)
        >>> net = Sequential(Dense(1, 1), dtype="float64")
        >>> history = fit_lbfgs(net, (x, 3 * x + 1), loss=MeanSquaredError())
        >>> history.stopped, history.loss[-1] < 1e-8
        ('converged', True)
    """
    check_loss(net, loss)
    max_iter, max_fun = count("max_iter", max_iter), count("max_fun", max_fun)
    tol = non_negative("tol", tol)
    regularizers = regularizers_of(regularizer)
    _check_layers(net)
    _check_history(history, loss)
    minimize = _scipys_minimize()
    x, y = prepared(net, data, loss, "data", sparse=True)
    check_batches(net, len(x), len(x))
    by_class = prepared_class_weight(net, (x, y), loss, class_weight)
    weights = prepared_weights(net, y, loss, by_class, sample_weight, "data")
    found = deepcopy(history) or History(metric_name=loss.metric)
    found.path, found.stopped = "L-BFGS", ""
    bar = RichProgress(found.epochs + max_iter, 1, found.epochs) if progress else Progress()
    silent = np.errstate(over="ignore", under="ignore", invalid="ignore")
    with bar, Interrupt() as interrupt, net.backend.scope(), silent:
        passes = _Passes(net, loss, regularizers, x, y, weights, found, interrupt, bar)
        try:
            result = minimize(
                passes,
                net.backend.to_numpy(net.parameters().flat).astype(np.float64),
                method="L-BFGS-B",
                jac=True,
                callback=passes.iterated,
                options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
            )
            found.stopped = "converged" if result.success else _words(result.message)
        except _Interrupted:
            found.stopped = "interrupted"
        finally:
            passes.restore()
    return found


class _Interrupted(Exception):
    """Ctrl-C was pressed."""


class _Passes:
    """J and its gradient as a function of one vector; and the network of the last iteration."""

    def __init__(
        self,
        net: Sequential,
        loss: Loss,
        regularizers: tuple[Regularizer, ...],
        x: Array,
        y: Array,
        weights: Array | None,
        history: History,
        interrupt: Interrupt,
        bar: Progress,
    ) -> None:
        self._net, self._loss, self._regularizers = net, loss, regularizers
        self._data = x, y, weights
        self._rows = len(x) if _sees_the_batch(net) else ROWS
        self._history, self._interrupt, self._bar = history, interrupt, bar
        self._figures = float("nan"), float("nan")  # J and the metric's sum of the last pass
        self._start = perf_counter()
        self._kept = self._state()

    def __call__(self, vector: HostArray) -> tuple[float, HostArray]:
        """J and its gradient, in float64."""
        if self._interrupt.asked:
            raise _Interrupted
        net, (x, y, weights) = self._net, self._data
        net.parameters().flat[...] = net.backend.asarray(vector, dtype=net.dtype)
        try:
            mean, metric = gradients(
                net, self._loss, self._regularizers, len(x), x, y, weights,
                waits=True, rows=self._rows,
            )  # fmt: skip
        except NotFiniteError as error:
            raise self._diverged(error) from error
        self._figures = float(mean), float(metric)
        gradient = net.backend.to_numpy(net.parameters().flat_grads)
        return self._figures[0], gradient.astype(np.float64)

    def iterated(self, vector: HostArray) -> None:
        """An iteration has ended, where the last pass was."""
        history, rows, now = self._history, len(self._data[0]), perf_counter()
        self._kept = self._state()
        history.loss.append(self._figures[0])
        history.metric.append(self._figures[1] / rows)
        history.seconds.append(now - self._start)
        self._start = now
        self._bar.batch()
        self._bar.epoch(history, rows)

    def restore(self) -> None:
        """Give the network the parameters and the statistics of the last iteration."""
        net = self._net
        for own, kept in zip((net.parameters().flat, *net.buffers().values()), self._kept,
                             strict=True):  # fmt: skip
            own[...] = kept

    def _state(self) -> list[Array]:
        net = self._net
        return [net.parameters().flat.copy(), *(each.copy() for each in net.buffers().values())]

    def _diverged(self, error: NotFiniteError) -> FloatingPointError:
        net, (x, y, _) = self._net, self._data
        slices = parts(len(x), self._rows)
        found = (first_fault(net, x[part], y[part], self._loss, training=True) for part in slices)
        fault = next((fault for fault in found if fault), "")
        return FloatingPointError(
            f"{error} in iteration {self._history.epochs + 1}{': ' if fault else ''}{fault}; bring "
            "samples and targets to numbers around 1 (Normalizer), look at regularizer, "
            "class_weight and sample_weight, or train by fit"
        )


def _sees_the_batch(net: Sequential) -> bool:
    """Whether a row's output depends on the others."""
    return net.least_rows > 1 or bool(net.buffers())


def _check_layers(net: Sequential) -> None:
    if not len(net.parameters()):
        raise ValueError(f"net is {net!r}, without parameters; expected a layer such as Dense")
    for k, layer in enumerate(net.layers):
        if layer.stochastic:
            raise ValueError(
                f"layer {k} {layer!r} draws random numbers in training, and a line search needs "
                "one loss at one place; expected a network without, or training by fit"
            )


def _check_history(history: Any, loss: Loss) -> None:
    if history is None:
        return
    if not isinstance(history, History):
        raise TypeError(f"history is {history!r}; expected a History, or None")
    if history.lr or history.val_loss:
        raise ValueError(
            f"history is {history!r}, with learning rates or figures of validation data, which "
            "L-BFGS has none of; expected one of fit_lbfgs"
        )
    if history.metric_name != loss.metric:
        raise ValueError(
            f"history has the metric {history.metric_name!r}; expected {loss.metric!r}, as "
            f"{loss!r} measures it"
        )


def _scipys_minimize() -> Any:
    try:
        return import_module("scipy.optimize").minimize
    except ImportError as error:
        raise ImportError(
            f'fit_lbfgs needs SciPy: pip install "onepass[sklearn]" ({error})'
        ) from error


def _words(message: Any) -> str:
    """SciPy's message; bytes in old versions."""
    return message.decode() if isinstance(message, bytes) else str(message)
