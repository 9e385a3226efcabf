"""When an estimator has learnt enough, by scikit-learn's rule, and what happens to its rate."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, nan
from typing import Any

from ..network.sequential import Sequential
from ..training.callbacks.callback import Callback
from ..training.run import Run
from ..types import HostArray

SMALLEST = 1e-6
"""The learning rate from which on "adaptive" gives up instead of dividing it."""


class Convergence(Callback):
    """Ends a run whose figure has stopped getting better by `tol`; divides the rate before, or so.

    The figure is the training loss, or what `score` says of the network after an epoch. An epoch
    counts as no better where

        loss > best loss - tol        score < best score + tol

    and more than `patience` of these in a row end the run, or, of an "adaptive" rate above 1e-6,
    divide it by 5. With `score` the weights of the best epoch are brought back at the end.

    Args:
        tol: how much better is better, >= 0.
        patience: a number; inf never ends a run.
        rate: "constant", "adaptive" or "invscaling": lr(t) = lr / (t + 1)^power_t after each epoch,
            t the samples seen since the first, or anything else: the rate is left alone.
        lr, power_t: of "invscaling".
        seen, samples: samples seen before this run, and those of an epoch.
        score: of a network, larger is better; nan where it isn't finite.
        best: the best loss or score of runs before this one.

    Source: the rule of scikit-learn's MLPClassifier, as its documentation tells it.
    """

    def __init__(
        self,
        tol: float,
        patience: float,
        rate: Any = "constant",
        lr: float = 0.0,
        power_t: float = 0.5,
        seen: int = 0,
        samples: int = 0,
        score: Callable[[Sequential], float] | None = None,
        best: float | None = None,
    ) -> None:
        self.tol, self.patience, self.score = tol, patience, score
        self.rate, self.lr, self.power_t = rate, lr, power_t
        self.seen, self.samples = seen, samples
        worst = inf if score is None else -inf
        self.best = worst if best is None else best
        self.no_better = 0
        self.scores: list[float] = []
        self.best_state: dict[str, HostArray] | None = None

    def on_start(self, run: Run) -> None:
        if self.score is not None:
            self.best_state = run.net.state_dict()

    def on_epoch(self, run: Run) -> None:
        if self.score is None:
            loss = run.history.loss[-1]
            worse = loss > self.best - self.tol
            self.best = min(self.best, loss)
        else:
            found = float(self.score(run.net))
            found = found if isfinite(found) else nan
            self.scores.append(found)
            worse = found < self.best + self.tol
            if found > self.best:
                self.best, self.best_state = found, run.net.state_dict()
        self.no_better = self.no_better + 1 if worse else 0
        self.seen += self.samples
        if self.rate == "invscaling":
            run.optimizer.lr = self.lr / (self.seen + 1) ** self.power_t
        if self.no_better > self.patience:
            if self.rate == "adaptive" and run.optimizer.lr > SMALLEST:
                run.optimizer.lr = run.optimizer.lr / 5
                self.no_better = 0
            else:
                figure = "training loss" if self.score is None else "validation score"
                run.stop(f"no {figure} better by tol={self.tol:g} in {self.patience:g} epochs")

    def on_end(self, run: Run) -> None:
        if self.best_state is not None:
            run.net.load_state_dict(self.best_state)
