"""The fully connected layer."""

from __future__ import annotations

import numpy as np

from ..backend import backend_of
from .initialize import deviation, initialize
from .layer import Layer
from .types import Array, HostArray, Shape


class Dense(Layer):
    """Fully connected layer, a row a sample.

        y = x W + b        dW = x.T dy        db = sum of dy over rows        dx = dy W.T

    Args:
        in_features: width of x, shape (n, in_features).
        out_features: width of y, shape (n, out_features).
        bias: False leaves b out, as before a normalization, which would subtract it again.
        init: how W starts: "he", "xavier", "glorot", "normal" or "zeros" (see `deviation`);
            b starts at zero.

    The parameters are "weight", (in_features, out_features), the transpose of PyTorch's, and
    "bias", (out_features,). Backward writes dW and db straight into the gradient views
    (`matmul(..., out=)`), replacing what was there.

    Raises:
        TypeError: a width is not an integer.
        ValueError: a width is smaller than 1, `init` is none of the above, or (forward, backward)
            x or dy has another shape.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, init: str = "he"
    ) -> None:
        deviation(init, in_features, out_features)  # refuses bad widths and names at once
        self.in_features: int = int(in_features)
        self.out_features: int = int(out_features)
        self.bias = bias
        self.init = init

    def shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"weight": (self.in_features, self.out_features)}
        if self.bias:
            shapes["bias"] = (self.out_features,)
        return shapes

    def initial(self, rng: np.random.Generator) -> dict[str, HostArray]:
        values = {"weight": initialize(self.init, self.in_features, self.out_features, rng)}
        if self.bias:
            values["bias"] = np.zeros(self.out_features)
        return values

    def forward(self, x: Array, train: bool = False) -> Array:
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"x of {self!r} has shape {x.shape}; expected (n, {self.in_features})")
        y = x @ self.params["weight"]
        if self.bias:
            y += self.params["bias"]
        if train:
            self._saved = x
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        x = self.saved
        if dy.shape != (len(x), self.out_features):
            raise ValueError(
                f"dy of {self!r} has shape {dy.shape}; expected {(len(x), self.out_features)}"
            )
        xp = backend_of(dy).xp
        xp.matmul(x.T, dy, out=self.grads["weight"])
        if self.bias:
            xp.sum(dy, axis=0, out=self.grads["bias"])
        return dy @ self.params["weight"].T if input_grad else None

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        init = "" if self.init == "he" else f", init={self.init!r}"
        return f"Dense({self.in_features}, {self.out_features}{bias}{init})"
