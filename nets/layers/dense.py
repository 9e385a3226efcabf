"""The fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import backend_of
from ...backend.memory_pool import PERHAPS, product
from ...kernels import ACTIVATIONS, activation_backward, activation_forward, matmul, validate
from ..sparse_rows import SparseRows
from ..types import Array, HostArray, Shape
from .activations import activation_options
from .first_weights import EVENLY, bound, deviation, initialize
from .layer import Layer, Recorded


class Dense(Layer):
    """Fully connected layer, a row a sample, with or without an activation f.

        y = f(x W + b)
        dz = dy f'(z)        dW = x.T dz        db = sum of dz over rows        dx = dz W.T

    Args:
        in_features: width of x, shape (n, in_features).
        out_features: width of y, shape (n, out_features).
        bias: False leaves b out, as before a normalization, which would subtract it again.
        init: how W starts: "he", "xavier", "glorot", "glorot_uniform", "normal" or "zeros" (see
            `deviation`).
        activation: f: "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "gelu_tanh", "silu",
            "softplus" (see `kernels.activation_forward`), or "linear" or None for none. It is what
            a layer such as ReLU() behind would do, in one pass with the bias, and with db on the
            way back.
        slope: of "leaky_relu", finite and > 0.
        bias_init: how b starts: "zeros", or "glorot_uniform": even from -c to c, of that W's c,
            so that the kinks of rectifiers don't all start at the origin.
        alpha: of "elu", finite and > 0.
        beta, threshold: of "softplus", finite, > 0 and >= 0.

    The parameters are "weight", (in_features, out_features), the transpose of PyTorch's, and
    "bias", (out_features,). Backward writes dW and db straight into the gradient views, replacing
    what was there. For the way back y is kept, and x W too where f is "gelu", "gelu_tanh", "silu"
    or "softplus". On a GPU forward is one launch, with b and relu, and so are dW with db, and dx;
    another f is one more forward, and the gradient of any f one more on the way back. On the CPU x
    may be SparseRows, of the dtype of W, whose products are SciPy's.

    Raises:
        TypeError: a width is not an integer, `activation` no string, or an option of it no number.
        ValueError: a width is smaller than 1, `init`, `activation`, an option of it or `bias_init`
            is none of the above, or (forward, backward) x or dy has another shape.
    """

    alpha: float = 1.0  # also of a layer that was pickled before it had these
    beta: float = 1.0
    threshold: float = 20.0

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: str = "he",
        activation: str | None = None,
        slope: float = 0.01,
        bias_init: str = "zeros",
        alpha: float = 1.0,
        beta: float = 1.0,
        threshold: float = 20.0,
    ) -> None:
        deviation(init, in_features, out_features)  # refuses bad widths and names at once
        self.in_features: int = int(in_features)
        self.out_features: int = int(out_features)
        self.bias = bias
        if bias_init != "zeros" and (bias_init not in EVENLY or not bias):
            expected = "'zeros' or 'glorot_uniform'" if bias else "'zeros' without a bias"
            raise ValueError(f"bias_init is {bias_init!r}; expected {expected}")
        self.init, self.bias_init = init, bias_init
        self.activation = activation
        self._kind = "linear" if activation is None else activation
        options = {"slope": slope, "alpha": alpha, "beta": beta, "threshold": threshold}
        checked = validate("activation", activation=self._kind, **options)
        self.slope, self.alpha = checked["slope"], checked["alpha"]
        self.beta, self.threshold = checked["beta"], checked["threshold"]

    def config(self) -> dict[str, Any]:
        """Without what is new and at its default: older versions read it, and match older files."""
        config = super().config()
        for name in ("alpha", "beta", "threshold"):
            if config[name] == getattr(Dense, name):
                del config[name]
        return config

    def shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"weight": (self.in_features, self.out_features)}
        if self.bias:
            shapes["bias"] = (self.out_features,)
        return shapes

    def initial(self, rng: np.random.Generator) -> dict[str, HostArray]:
        values = {"weight": initialize(self.init, self.in_features, self.out_features, rng)}
        if self.bias:
            c = bound(self.in_features, self.out_features)
            even = self.bias_init in EVENLY
            values["bias"] = (
                rng.uniform(-c, c, self.out_features) if even else np.zeros(self.out_features)
            )
        return values

    def forward(self, x: Array, train: bool = False) -> Array:
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"x of {self!r} has shape {x.shape}; expected (n, {self.in_features})")
        weight, bias = self.params["weight"], self.params["bias"] if self.bias else None
        kind, options = self._kind, activation_options(self, self._kind)
        kept = train and ACTIVATIONS[kind].from_x
        if type(x) is not np.ndarray and type(x) is not SparseRows:
            if kept:
                h = matmul(x, weight)
            else:
                y = matmul(x, weight, bias=bias, activation=kind, **options)
        else:
            large = len(x) * self.out_features >= PERHAPS
            h = product(x, weight) if large else x @ weight
            if kind == "linear" and bias is not None:
                h += bias
            y = h
            if kind != "linear" and not kept:
                activation_forward(h, kind, bias=bias, out=h, **options)
        if kept:
            y = activation_forward(h, kind, bias=bias, **options)
        if train:
            self._saved = x, None if kind == "linear" else h if kept else y
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        x, told = self.saved
        if dy.shape != (len(x), self.out_features):
            raise ValueError(
                f"dy of {self!r} has shape {dy.shape}; expected {(len(x), self.out_features)}"
            )
        bias_grad, dz = self.grads["bias"] if self.bias else None, dy
        options: dict[str, Any] = activation_options(self, self._kind)
        if ACTIVATIONS[self._kind].from_x and self.bias:
            options["bias"] = self.params["bias"]
        sparse = type(x) is SparseRows
        if type(x) is not np.ndarray and not sparse:  # on a GPU db comes with dW
            if told is not None:
                dz = activation_backward(dy, told, self._kind, **options)
            matmul(x.T, dz, self.grads["weight"], bias_grad=bias_grad)
            return matmul(dz, self.params["weight"].T) if input_grad else None
        xp = backend_of(dy, names=["dy"]).xp
        if told is not None:
            dz = activation_backward(dy, told, self._kind, bias_grad=bias_grad, **options)
        elif self.bias:
            xp.sum(dy, axis=0, out=bias_grad)
        if sparse:
            x.gradient(dz, out=self.grads["weight"])
        else:
            xp.matmul(x.T, dz, out=self.grads["weight"])
        if not input_grad:
            return None
        weight, large = self.params["weight"].T, len(x) * self.in_features >= PERHAPS
        return product(dz, weight) if large else dz @ weight

    def record(self, recorder: Any, x: Array, train: bool = True) -> tuple[Array, Recorded]:
        weight, bias = self.params["weight"], self.params["bias"] if self.bias else None
        kind, options = self._kind, activation_options(self, self._kind)
        alone = kind == "linear" and bias is None
        kept = train and ACTIVATIONS[kind].from_x
        h = recorder.matmul(x, weight)
        y = recorder.empty(*h.shape) if kept else h
        if not alone:
            recorder.activation_forward(h, kind, bias=bias, out=y, **options)

        def backward(dy: Array, input_grad: bool) -> Array:
            if not alone:
                grads = {"bias": bias, "bias_grad": self.grads["bias"] if self.bias else None}
                recorder.activation_backward(dy, h, kind, out=dy, **grads, **options)
            for each in (y, h) if kept else (y,):
                recorder.release(each)
            recorder.matmul(x.T, dy, out=self.grads["weight"])
            dx = recorder.matmul(dy, weight.T) if input_grad else None
            recorder.release(dy)
            return dx

        return y, backward

    def __repr__(self) -> str:
        shown = [f"{self.in_features}, {self.out_features}"]
        shown += [] if self.bias else ["bias=False"]
        shown += [] if self.init == "he" else [f"init={self.init!r}"]
        shown += [] if self.activation is None else [f"activation={self.activation!r}"]
        shown += [] if self.slope == 0.01 else [f"slope={self.slope}"]
        shown += [] if self.bias_init == "zeros" else [f"bias_init={self.bias_init!r}"]
        shown += [] if self.alpha == 1.0 else [f"alpha={self.alpha}"]
        shown += [] if self.beta == 1.0 else [f"beta={self.beta}"]
        shown += [] if self.threshold == 20.0 else [f"threshold={self.threshold}"]
        return f"Dense({', '.join(shown)})"
