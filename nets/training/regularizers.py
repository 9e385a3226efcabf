"""Penalties on large weights, added to the loss and to its gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ...backend.checks.numbers import flag, non_negative
from ..network.sequential import Sequential
from ..types import Array


class Regularizer(ABC):
    """A penalty on the weights of a network.

    Args:
        lam: lambda, how strong it is, >= 0.
        biases: True penalizes every parameter; by default biases, and gamma and beta of batch
            normalization are left out: only arrays of two or more dimensions count.

    In every formula m is the number of training samples, not of a batch: `fit` passes it, so that
    the sum over a batch's mean loss and the whole penalty is the cost J of the whole set. Where
    several ranks train, one of them passes m over their number, and its penalty counts for all: a
    penalty of your own has to be proportional to 1 / m, too.

    Raises:
        TypeError, ValueError: `lam` is not a finite number >= 0, or `biases` no bool.
    """

    def __init__(self, lam: float, biases: bool = False) -> None:
        self.lam = non_negative("lam", lam)
        self.biases = flag("biases", biases)

    def penalty(self, net: Sequential, m: float) -> Array:
        """What is added to the loss: 0-d, on the network's device, and not waited for."""
        with net.backend.scope(), np.errstate(all="ignore"):
            total: Array = 0.0
            for weight, _ in self._pairs(net):
                total = total + self._size(_wide(weight), net.backend.xp).astype(np.float64)
            return total * self._factor(m)

    def add_gradient(self, net: Sequential, m: float) -> None:
        """Add its gradient to the network's gradients, in place; parameters are left untouched."""
        with net.backend.scope(), np.errstate(all="ignore"):
            for weight, gradient in self._pairs(net):
                term = self._derivative(_wide(weight), self.lam / m, net.backend.xp)
                if term.dtype == gradient.dtype:
                    gradient += term
                else:
                    gradient[...] = gradient + term

    def record(self, recorder: Any, net: Sequential, m: float) -> None:
        """Write both down, as `Layer.record` does a layer.

        Raises:
            NotImplementedError: it can't be written down.
        """
        raise NotImplementedError(f"{self!r} has no method record")

    def _record(self, name: str, recorder: Any, net: Sequential, m: float) -> None:
        for weight, gradient in self._pairs(net):
            recorder.penalty(name, weight, gradient, self._factor(m), self.lam / m)

    def _pairs(self, net: Sequential) -> Iterator[tuple[Array, Array]]:
        """(parameter, its gradient) of all that is penalized."""
        params = net.parameters()
        for name, param in params.items():
            if self.biases or param.ndim >= 2:
                yield param, params.grads[name]

    @abstractmethod
    def _factor(self, m: float) -> float:
        """What the sum of `_size` is multiplied with."""

    @abstractmethod
    def _size(self, w: Array, xp: Any) -> Array:
        """The size of one array, 0-d."""

    @abstractmethod
    def _derivative(self, w: Array, factor: float, xp: Any) -> Array:
        """factor times the derivative, of the shape of `w`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lam!r}{', biases=True' * self.biases})"


class L2(Regularizer):
    """Squared weights: J + lambda/(2m) sum ||W||_F^2, gradient dW + lambda/m W.

    For plain gradient descent this is weight decay: W := (1 - lr lambda/m) W - lr dW. An
    optimizer's own `weight_decay` is lambda/m, and takes the biases along.

    What else holds, and what it refuses: `Regularizer`.

    Source: Krogh and Hertz 1991, A Simple Weight Decay Can Improve Generalization.
    """

    def record(self, recorder: Any, net: Sequential, m: float) -> None:
        self._record("l2", recorder, net, m)

    def _factor(self, m: float) -> float:
        return self.lam / (2 * m)

    def _size(self, w: Array, xp: Any) -> Array:
        flat = w.reshape(-1)
        return xp.dot(flat, flat)

    def _derivative(self, w: Array, factor: float, xp: Any) -> Array:
        return w * factor


class L1(Regularizer):
    """Absolute weights: J + lambda/m sum |W|, gradient dW + lambda/m sign(W), with sign(0) = 0.

    It drives many weights to nearly zero, where `L2` makes all of them smaller.

    What else holds, and what it refuses: `Regularizer`.

    Source: Tibshirani 1996, Regression Shrinkage and Selection via the Lasso.
    """

    def record(self, recorder: Any, net: Sequential, m: float) -> None:
        self._record("l1", recorder, net, m)

    def _factor(self, m: float) -> float:
        return self.lam / m

    def _size(self, w: Array, xp: Any) -> Array:
        return xp.abs(w).sum()

    def _derivative(self, w: Array, factor: float, xp: Any) -> Array:
        return xp.sign(w) * factor


Regularizers: TypeAlias = Regularizer | Sequence[Regularizer] | None
"""What is taken as `regularizer=`: one, several, or none."""


def regularizers_of(given: Regularizers) -> tuple[Regularizer, ...]:
    """All of them; TypeError says what can be given."""
    if given is None:
        return ()
    several = given if isinstance(given, (list, tuple)) else (given,)
    for each in several:
        if not isinstance(each, Regularizer):
            raise TypeError(
                f"regularizer is {each!r}; expected one such as L2(0.1), or a list of them"
            )
    return tuple(several)


def _wide(w: Array) -> Array:
    """What is computed in: float32 for float16, where sums overflow and lambda/m vanishes."""
    return w.astype(np.float32) if w.dtype == np.float16 else w
