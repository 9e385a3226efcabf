"""Elementwise nonlinearities, and softmax."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...backend import backend_of
from ...kernels import activation_backward, activation_forward, validate
from ..types import Array
from .layer import Layer, Recorded


class Activation(Layer):
    """An elementwise y = f(x), of any shape, whose derivative can be told from y alone.

    So only y is saved, which the next layer holds anyway. y has the dtype of x. One pass over
    memory each way; `Dense(..., activation=...)` spares that of the bias too.

    Attributes:
        kind: what `kernels.activation_forward` calls f; formulas and conventions are told there.
        slope: of "leaky_relu".
    """

    kind: ClassVar[str]
    slope: float = 0.01

    def forward(self, x: Array, train: bool = False) -> Array:
        y = activation_forward(x, self.kind, slope=self.slope)
        if train:
            self._saved = y
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        y = self.saved
        _check_gradient(self, dy, y)
        return activation_backward(dy, y, self.kind, slope=self.slope) if input_grad else None

    def record(self, recorder: Any, x: Array, train: bool = True) -> tuple[Array, Recorded]:
        y = recorder.empty(*x.shape)
        recorder.activation_forward(x, self.kind, slope=self.slope, out=y)

        def backward(dy: Array, input_grad: bool) -> Array:
            recorder.activation_backward(dy, y, self.kind, slope=self.slope, out=dy)
            recorder.release(y)
            return dy

        return y, backward


class Linear(Activation):
    """The identity: y = x; dx = dy. A new array each way."""

    kind = "linear"


class ReLU(Activation):
    """Rectifier: y = max(x, 0); dx = dy where x > 0, else 0 (at x = 0 too, by convention)."""

    kind = "relu"


class LeakyReLU(Activation):
    """Leaky rectifier: y = x where x > 0, else slope x; dx = dy where x > 0, else slope dy.

    Args:
        slope: finite and > 0; PyTorch calls it negative_slope.

    Raises:
        TypeError, ValueError: `slope` is no such number.
    """

    kind = "leaky_relu"

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = validate("activation", slope=slope)["slope"]

    def __repr__(self) -> str:
        return "LeakyReLU()" if self.slope == 0.01 else f"LeakyReLU({self.slope})"


class Sigmoid(Activation):
    """Logistic function: y = 1 / (1 + exp(-x)); dx = dy y (1 - y).

    Nothing overflows for large |x|, and y keeps its relative accuracy near 0.
    """

    kind = "sigmoid"


class Tanh(Activation):
    """Hyperbolic tangent: y = tanh(x); dx = dy (1 - y^2)."""

    kind = "tanh"


class Softmax(Layer):
    """Softmax over the last axis, which makes positive numbers of sum 1 of each row.

        y = exp(x - max x) / sum of exp(x - max x)        dx = y (dy - sum of dy y)

    The maximum is subtracted so that nothing overflows. y has the dtype of x; float16 computes in
    float32. To train on classes leave it out: SoftmaxCrossEntropy takes logits, and is more
    accurate.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.104 and 4.106.
    """

    def forward(self, x: Array, train: bool = False) -> Array:
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(f"x of {self!r} has shape {x.shape}; expected a last axis to add up")
        xp = backend_of(x).xp
        with np.errstate(invalid="ignore", under="ignore"):  # inf - inf is NaN, and no news
            z = x.astype(_computed(x), copy=False)
            e = xp.exp(z - z.max(axis=-1, keepdims=True))
            y = (e / e.sum(axis=-1, keepdims=True)).astype(x.dtype, copy=False)
        if train:
            self._saved = y
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        y = self.saved
        _check_gradient(self, dy, y)
        if not input_grad:
            return None
        dtype = _computed(y)
        with np.errstate(invalid="ignore", under="ignore"):
            wide, p = dy.astype(dtype, copy=False), y.astype(dtype, copy=False)
            dx = p * (wide - (wide * p).sum(axis=-1, keepdims=True))
        return dx.astype(y.dtype, copy=False)


def _computed(x: Array) -> str:
    return "float64" if x.dtype.char == "d" else "float32"


def _check_gradient(layer: Layer, dy: Array, y: Array) -> None:
    if dy.shape != y.shape:
        raise ValueError(f"dy of {layer!r} has shape {dy.shape}; expected {y.shape}")
