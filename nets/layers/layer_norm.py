"""The layer-normalization layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backend.checks.numbers import flag
from ...kernels import layer_norm_backward, validate
from ..types import Array
from .norm import Norm, check_last_axes, over_last_axes


class LayerNorm(Norm):
    """Layer normalization: each row by its own mean and variance, in training and inference.

    With the mean mu and the biased variance sigma^2 of a row,

        y = f(gamma (x - mu) / sqrt(sigma^2 + eps) + beta)

    Args:
        normalized_shape: lengths of the last axes of x, which make a row together: x is
            (n, features) for LayerNorm(features), (n, C, H, W) for LayerNorm((C, H, W)).
        eps: added to the variance, > 0.
        affine: False leaves gamma and beta out.
        bias: False leaves beta out.
        activation: f: None for none, or "relu", "silu" or "gelu", in the same pass, in place of a
            layer of that name.

    The parameters are "gamma", which starts at 1, and "beta", which starts at 0, both of
    normalized_shape and PyTorch's weight and bias.

    Raises:
        TypeError, ValueError: an argument is out of its range; in forward, the last axes of x have
            other lengths; in backward, dy has another shape than y.

    Conventions: names, defaults and eps under the root are PyTorch's, whose elementwise_affine is
        affine; Keras and Flax have eps 1e-3 and 1e-6, and call gamma and beta center and scale.
    Formulas and source: `kernels.layer_norm_forward`.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        activation: str | None = None,
    ) -> None:
        given = {"normalized_shape": normalized_shape, "eps": eps, "activation": activation}
        checked = validate("layer_norm", **given)
        self.normalized_shape = over_last_axes(self, checked["normalized_shape"])
        self.eps: float = checked["eps"]
        self.affine, self.bias = flag("affine", affine), flag("bias", bias)
        self.activation = checked["activation"]
        self._learned = ("gamma", "beta")[: self.affine * (1 + self.bias)]

    def _check(self, x: Array) -> None:
        check_last_axes(self, x)

    def _normalize(self, by: Any, x: Array, options: dict[str, Any]) -> tuple[Array, Any]:
        rows = self._shape if len(self._shape) > 1 else None
        return by.layer_norm_forward(x, normalized_shape=rows, **options)

    def _differentiate(self, dy: Array, saved: Any) -> tuple[Array, ...]:
        return layer_norm_backward(dy, saved)

    def __repr__(self) -> str:
        shown = [str(self.normalized_shape)]
        shown += [f"eps={self.eps}"] if self.eps != 1e-5 else []
        shown += [] if self.affine else ["affine=False"]
        shown += [] if self.bias else ["bias=False"]
        shown += [f"activation={self.activation!r}"] if self.activation is not None else []
        return f"LayerNorm({', '.join(shown)})"
