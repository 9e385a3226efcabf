"""What layers have in common that normalize each row by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ... import kernels
from ..types import Array, HostArray, Shape
from .layer import Layer, Recorded, no_backward


class Norm(Layer):
    """Normalizes rows, or groups of a row's channels, by their own statistics; see its subclasses.

    Training and inference are the same: there are no running statistics, and a batch of one row is
    as good as any.

    Attributes:
        vectors: the parameters that such a norm may have, with their first values.
        eps: added before the root, > 0.
        activation: None, or what follows in the same pass: "relu", "silu" or "gelu".
    """

    vectors: ClassVar[Mapping[str, float]] = {"gamma": 1.0, "beta": 0.0}
    eps: float | None
    activation: str | None
    _learned: tuple[str, ...]
    _shape: Shape

    def shapes(self) -> dict[str, Shape]:
        return dict.fromkeys(self._learned, self._shape)

    def initial(self, rng: np.random.Generator) -> dict[str, HostArray]:
        return {name: np.full(self._shape, self.vectors[name]) for name in self._learned}

    def forward(self, x: Array, train: bool = False) -> Array:
        self._check(x)
        y, saved = self._normalize(kernels, x, self._options())
        if train:
            self._saved = saved
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        saved = self.saved
        if dy.shape != saved.axes:
            raise ValueError(f"dy of {self!r} has shape {dy.shape}; expected {saved.axes}")
        dx, *gradients = self._differentiate(dy, saved)
        for name, gradient in zip(self.vectors, gradients, strict=True):
            if gradient is not None:
                self.grads[name][...] = gradient
        return dx if input_grad else None

    def record(self, recorder: Any, x: Array, train: bool = True) -> tuple[Array, Recorded]:
        self._check(x)
        y = recorder.empty(*x.shape)
        _, saved = self._normalize(recorder, x, {**self._options(), "out": y})

        def backward(dy: Array, input_grad: bool) -> Array:
            recorder.release(y)
            grads = {f"{name}_grad": self.grads[name] for name in self._learned}
            dx = recorder.norm_backward(dy, saved, **grads, out=recorder.empty(*x.shape))
            recorder.release(dy)
            return dx

        return y, backward if train else no_backward

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"eps": self.eps, "activation": self.activation}
        return options | {name: self.params[name] for name in self._learned}

    @abstractmethod
    def _check(self, x: Array) -> None:
        """Refuse x of a shape that doesn't fit."""

    @abstractmethod
    def _normalize(self, by: Any, x: Array, options: dict[str, Any]) -> tuple[Array, Any]:
        """y, and what backward needs, by kernels or by a recorder."""

    @abstractmethod
    def _differentiate(self, dy: Array, saved: Any) -> tuple[Array, ...]:
        """dx, and the gradient of each of `vectors`, None where there is none."""


def over_last_axes(layer: Norm, normalized_shape: Shape) -> int | Shape:
    """Let a layer normalize x, (n, *normalized_shape); what it calls that."""
    if 0 in normalized_shape:
        raise ValueError(
            f"normalized_shape is {normalized_shape}; expected lengths of at least 1, such as 64"
        )
    layer._shape = normalized_shape
    layer.in_features = layer.out_features = normalized_shape[0]
    return normalized_shape[0] if len(normalized_shape) == 1 else normalized_shape


def check_last_axes(layer: Norm, x: Array) -> None:
    """Refuse x whose last axes are others."""
    shape = layer._shape
    if x.ndim <= len(shape) or x.shape[x.ndim - len(shape) :] != shape:
        raise ValueError(
            f"x of {layer!r} has shape {x.shape}; expected (n, {', '.join(map(str, shape))}), "
            "or more axes between"
        )
