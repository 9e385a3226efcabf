"""The layer of root mean square normalization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...backend.checks.numbers import flag
from ...kernels import rms_norm_backward, validate
from ..types import Array
from .norm import Norm, check_last_axes, over_last_axes


class RMSNorm(Norm):
    """Divides each row by the root of its mean square, in training and inference.

        y = f(gamma x / sqrt(mean(x^2) + eps))

    Args:
        normalized_shape: lengths of the last axes of x, which make a row together: x is
            (n, features) for RMSNorm(features).
        eps: added to the mean square, > 0; None: numpy.finfo(dtype).eps of the network's dtype.
        affine: False leaves gamma out.
        activation: f: None for none, or "relu", "silu" or "gelu", in the same pass.

    The parameter is "gamma", of normalized_shape, which starts at 1: PyTorch's weight.

    Raises:
        TypeError, ValueError: an argument is out of its range; in forward, the last axes of x have
            other lengths; in backward, dy has another shape than y.

    Conventions: names, defaults and eps under the root are PyTorch's, whose elementwise_affine is
        affine; Flax has eps 1e-6, and so have the published weights of most language models.
    Formulas and source: `kernels.rms_norm_forward`.
    """

    vectors: ClassVar[Mapping[str, float]] = {"gamma": 1.0}

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        affine: bool = True,
        activation: str | None = None,
    ) -> None:
        given = {"normalized_shape": normalized_shape, "eps": eps, "activation": activation}
        checked = validate("rms_norm", **given)
        self.normalized_shape = over_last_axes(self, checked["normalized_shape"])
        self.eps: float | None = checked["eps"]
        self.affine, self.activation = flag("affine", affine), checked["activation"]
        self._learned = ("gamma",) if self.affine else ()

    def _check(self, x: Array) -> None:
        check_last_axes(self, x)

    def _normalize(self, by: Any, x: Array, options: dict[str, Any]) -> tuple[Array, Any]:
        rows = self._shape if len(self._shape) > 1 else None
        return by.rms_norm_forward(x, normalized_shape=rows, **options)

    def _differentiate(self, dy: Array, saved: Any) -> tuple[Array, ...]:
        return rms_norm_backward(dy, saved)

    def __repr__(self) -> str:
        shown = [str(self.normalized_shape)]
        shown += [f"eps={self.eps}"] if self.eps is not None else []
        shown += [] if self.affine else ["affine=False"]
        shown += [f"activation={self.activation!r}"] if self.activation is not None else []
        return f"RMSNorm({', '.join(shown)})"
