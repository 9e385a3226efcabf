"""Elementwise nonlinearities, and softmax."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...backend import backend_of
from ...backend.checks.numbers import one_of
from ...kernels import ACTIVATIONS, activation_backward, activation_forward, validate
from ..types import Array
from .layer import Layer, Recorded

_one_of_two = one_of("none", "tanh")


class Activation(Layer):
    """An elementwise y = f(x), of any shape.

    Where the derivative can be told from y alone, y is saved, else x; the layers beside it hold
    both anyway. y has the dtype of x. One pass over memory each way; `Dense(..., activation=...)`
    spares that of the bias too.

    Attributes:
        kind: what `kernels.activation_forward` calls f; formulas and conventions are told there.
        slope, alpha, beta, threshold: of kinds that take them.
    """

    kind: ClassVar[str]
    slope: float = 0.01
    alpha: float = 1.0
    beta: float = 1.0
    threshold: float = 20.0

    def forward(self, x: Array, train: bool = False) -> Array:
        y = activation_forward(x, self.kind, **activation_options(self, self.kind))
        if train:
            self._saved = x if ACTIVATIONS[self.kind].from_x else y
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        told = self.saved
        _check_gradient(self, dy, told)
        options = activation_options(self, self.kind)
        return activation_backward(dy, told, self.kind, **options) if input_grad else None

    def record(self, recorder: Any, x: Array, train: bool = True) -> tuple[Array, Recorded]:
        options = activation_options(self, self.kind)
        y = recorder.empty(*x.shape)
        recorder.activation_forward(x, self.kind, out=y, **options)

        def backward(dy: Array, input_grad: bool) -> Array:
            told = x if ACTIVATIONS[self.kind].from_x else y
            recorder.activation_backward(dy, told, self.kind, out=dy, **options)
            recorder.release(y)
            return dy

        return y, backward


def activation_options(layer: Any, kind: str) -> dict[str, Any]:
    """The options of that activation, as a layer has them now."""
    return {name: getattr(layer, name) for name in ACTIVATIONS[kind].options}


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


class ELU(Activation):
    """Exponential linear unit: y = x where x > 0, else alpha (exp(x) - 1).

        dx = dy where x > 0, else dy (y + alpha)

    Args:
        alpha: finite and > 0; -alpha is the limit for small x.

    y keeps its relative accuracy near 0. In a network of float16 the slope is told from a rounded
    y, and right to half an eps of alpha. PyTorch, Keras and JAX have the same formula and default.

    Raises:
        TypeError, ValueError: `alpha` is no such number.

    Source: Clevert, Unterthiner and Hochreiter (2016), eq. 15 and 16.
    """

    kind = "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = validate("activation", alpha=alpha)["alpha"]

    def __repr__(self) -> str:
        return "ELU()" if self.alpha == 1.0 else f"ELU({self.alpha})"


class GELU(Activation):
    """Gaussian error linear unit: y = x Phi(x), Phi being the normal distribution's function.

    Args:
        approximate: "none": as above; "tanh": x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2,
            off by 5e-4 at most.

    Names and default are PyTorch's; JAX has approximate=True, the tanh, by default, Keras False.

    Raises:
        TypeError, ValueError: `approximate` is neither.

    Source: Hendrycks and Gimpel (2016), Gaussian Error Linear Units, section 2.
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = _one_of_two("approximate", approximate)

    @property
    def kind(self) -> str:  # type: ignore[override]
        return "gelu_tanh" if self.approximate == "tanh" else "gelu"

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU({self.approximate!r})"


class SiLU(Activation):
    """Sigmoid linear unit, or swish: y = x / (1 + exp(-x)).

        dx = dy s (1 + x (1 - s)), s = 1 / (1 + exp(-x))

    Source: Hendrycks and Gimpel (2016), Gaussian Error Linear Units, section 2; Elfwing, Uchibe and
        Doya (2018), eq. 4.
    """

    kind = "silu"


class Softplus(Activation):
    """A smooth rectifier: y = log(1 + exp(beta x)) / beta, or x where beta x > threshold.

        dx = dy / (1 + exp(-beta x)), or dy there

    Args:
        beta: finite and > 0; the larger, the nearer a ReLU.
        threshold: finite and >= 0.

    Nothing overflows for large |x|, and y keeps its relative accuracy where it is small. Names and
    defaults are PyTorch's; JAX and Keras have neither, which differs by 2e-9 at most.

    Raises:
        TypeError, ValueError: an argument is no such number.

    Source: Dugas et al. (2001), Incorporating Second-Order Functional Knowledge for Better Option
        Pricing, eq. 3.
    """

    kind = "softplus"

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        checked = validate("activation", beta=beta, threshold=threshold)
        self.beta, self.threshold = checked["beta"], checked["threshold"]

    def __repr__(self) -> str:
        shown = [f"beta={self.beta}"] if self.beta != 1.0 else []
        shown += [f"threshold={self.threshold}"] if self.threshold != 20.0 else []
        return f"Softplus({', '.join(shown)})"


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
