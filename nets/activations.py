"""Elementwise nonlinearities."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ..backend import backend_of
from .layer import Layer
from .types import Array


class Activation(Layer):
    """An elementwise y = f(x), of any shape, whose derivative can be told from y alone.

    So only y is saved, which the next layer holds anyway. y has the dtype of x.
    """

    @abstractmethod
    def function(self, x: Array, xp: Any) -> Array:
        """f(x), computed with the array module `xp`."""

    @abstractmethod
    def gradient(self, dy: Array, y: Array, xp: Any) -> Array:
        """dy * f'(x), told from y = f(x)."""

    def forward(self, x: Array, train: bool = False) -> Array:
        y = self.function(x, backend_of(x).xp)
        if train:
            self._saved = y
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        y = self.saved
        if dy.shape != y.shape:
            raise ValueError(f"dy of {self!r} has shape {dy.shape}; expected {y.shape}")
        return self.gradient(dy, y, backend_of(dy).xp) if input_grad else None


class ReLU(Activation):
    """Rectifier: y = max(x, 0); dx = dy where x > 0, else 0 (at x = 0 too, by convention)."""

    def function(self, x: Array, xp: Any) -> Array:
        return xp.maximum(x, 0)

    def gradient(self, dy: Array, y: Array, xp: Any) -> Array:
        return xp.where(y > 0, dy, 0)


class Sigmoid(Activation):
    """Logistic function: y = 1 / (1 + exp(-x)); dx = dy y (1 - y).

    Computed from e = exp(-|x|), which can't overflow: 1 / (1 + e) for x >= 0, e / (1 + e) for
    x < 0, which also keeps the relative accuracy of y near 0.
    """

    def function(self, x: Array, xp: Any) -> Array:
        e = xp.exp(-xp.abs(x))
        return xp.where(x >= 0, 1, e) / (1 + e)

    def gradient(self, dy: Array, y: Array, xp: Any) -> Array:
        return dy * y * (1 - y)


class Tanh(Activation):
    """Hyperbolic tangent: y = tanh(x); dx = dy (1 - y^2)."""

    def function(self, x: Array, xp: Any) -> Array:
        return xp.tanh(x)

    def gradient(self, dy: Array, y: Array, xp: Any) -> Array:
        return dy * (1 - y * y)
