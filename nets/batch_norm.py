"""The batch-normalization layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.checks import count
from ..kernels import batch_norm_backward, batch_norm_forward, batch_norm_inference
from ..kernels.batchnorm.arguments import options
from .layer import Layer
from .types import Array, HostArray, Shape


class BatchNorm(Layer):
    """Batch normalization over rows, and over all other axes but the channels'.

    Training normalizes by the batch's own mean and variance and keeps running averages of them;
    `forward(x)` without train normalizes by these. The layer before needs no bias, which the mean
    would take out again: `Dense(64, 32, bias=False), BatchNorm(32)`.

    Args:
        features: channels C of x, shape (n, C) or (n, C, ...).
        momentum: weight of the new batch in the running averages, in [0, 1].
        eps: added to the variance, > 0.
        activation: None, or "relu" for max(y, 0) in the same pass, in place of a ReLU layer.

    The parameters are "gamma", which starts at 1, and "beta", which starts at 0, both (C,) and
    PyTorch's weight and bias. The buffers are "running_mean" (0) and "running_var" (1), (C,), in
    float32 where the network is float16; a network's state_dict holds them.

    Raises:
        TypeError, ValueError: `features` is not an integer or smaller than 1, another argument is
            out of its range; in training, a channel has one value.

    Formulas, conventions and source: `kernels.batch_norm_forward`.
    """

    least_rows = 2

    def __init__(
        self,
        features: int,
        momentum: float = 0.1,
        eps: float = 1e-5,
        activation: str | None = None,
    ) -> None:
        self.features = self.in_features = self.out_features = count("features", features)
        self.momentum, self.eps, _ = options(momentum, eps, activation)
        self.activation = activation

    def shapes(self) -> dict[str, Shape]:
        features = count("features", self.in_features)
        return {"gamma": (features,), "beta": (features,)}

    def initial(self, rng: np.random.Generator) -> dict[str, HostArray]:
        features = self.in_features or 0
        return {"gamma": np.ones(features), "beta": np.zeros(features)}

    def initial_buffers(self) -> dict[str, HostArray]:
        features = self.in_features or 0
        return {"running_mean": np.zeros(features), "running_var": np.ones(features)}

    def forward(self, x: Array, train: bool = False) -> Array:
        if x.ndim < 2 or x.shape[1] != self.in_features:
            raise ValueError(
                f"x of {self!r} has shape {x.shape}; expected (n, {self.in_features}, ...)"
            )
        affine = self.params["gamma"], self.params["beta"]
        running = self.buffers["running_mean"], self.buffers["running_var"]
        both: dict[str, Any] = {"eps": self.eps, "activation": self.activation}
        if train and x.size < 2 * x.shape[1]:
            raise ValueError(
                f"x of {self!r} has shape {x.shape}, which is not 2 values a channel; expected a "
                "larger batch to train on (forward(x) without train takes one sample)"
            )
        if not train:
            return batch_norm_inference(x, *affine, *running, **both)
        y, self._saved = batch_norm_forward(x, *affine, *running, momentum=self.momentum, **both)
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        dx, dgamma, dbeta = batch_norm_backward(dy, self.saved)
        self.grads["gamma"][...] = dgamma
        self.grads["beta"][...] = dbeta
        return dx if input_grad else None

    def __repr__(self) -> str:
        shown = [str(self.in_features)]
        shown += [f"momentum={self.momentum}"] if self.momentum != 0.1 else []
        shown += [f"eps={self.eps}"] if self.eps != 1e-5 else []
        shown += [f"activation={self.activation!r}"] if self.activation is not None else []
        return f"BatchNorm({', '.join(shown)})"
