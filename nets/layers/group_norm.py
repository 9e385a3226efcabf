"""The group-normalization layer."""

from __future__ import annotations

from typing import Any

from ...backend.checks.numbers import count, flag
from ...kernels import group_norm_backward, validate
from ..types import Array
from .norm import Norm


class GroupNorm(Norm):
    """Group normalization: each group of channels of each row by its own mean and variance.

    With the mean mu and the biased variance sigma^2 of a group, over its channels and all places
    within them,

        y = f(gamma (x - mu) / sqrt(sigma^2 + eps) + beta)

    with gamma and beta of each channel. GroupNorm(C, C) is instance norm, which takes images.

    Args:
        groups: how many there are, of channels that follow one another; divides features.
        features: channels C of x, shape (n, C) or (n, C, ...).
        eps: added to the variance, > 0.
        affine: False leaves gamma and beta out.
        activation: f: None for none, or "relu", "silu" or "gelu", in the same pass.

    The parameters are "gamma", which starts at 1, and "beta", which starts at 0, both (C,) and
    PyTorch's weight and bias.

    Raises:
        TypeError, ValueError: an argument is out of its range, `groups` does not divide
            `features`; in forward, x has another number of channels, or a group of it one value;
            in backward, dy has another shape than y.

    Conventions: order, defaults and eps under the root are PyTorch's, which calls the first two
        num_groups and num_channels; Keras and Flax have the channels last, and eps 1e-3 and 1e-6.
    Formulas and source: `kernels.group_norm_forward`.
    """

    def __init__(
        self,
        groups: int,
        features: int,
        eps: float = 1e-5,
        affine: bool = True,
        activation: str | None = None,
    ) -> None:
        self.groups, self.features = count("groups", groups), count("features", features)
        if self.features % self.groups:
            raise ValueError(
                f"groups is {self.groups} but features is {self.features}; expected a number of "
                "groups that divides them"
            )
        checked = validate("group_norm", eps=eps, activation=activation)
        self.eps: float = checked["eps"]
        self.affine, self.activation = flag("affine", affine), checked["activation"]
        self._learned = ("gamma", "beta") if self.affine else ()
        self.in_features = self.out_features = self.features
        self._shape = (self.features,)

    def _check(self, x: Array) -> None:
        if x.ndim < 2 or x.shape[1] != self.features:
            raise ValueError(
                f"x of {self!r} has shape {x.shape}; expected (n, {self.features}, ...)"
            )

    def _normalize(self, by: Any, x: Array, options: dict[str, Any]) -> tuple[Array, Any]:
        return by.group_norm_forward(x, groups=self.groups, **options)

    def _differentiate(self, dy: Array, saved: Any) -> tuple[Array, ...]:
        return group_norm_backward(dy, saved)

    def __repr__(self) -> str:
        shown = [f"{self.groups}, {self.features}"]
        shown += [f"eps={self.eps}"] if self.eps != 1e-5 else []
        shown += [] if self.affine else ["affine=False"]
        shown += [f"activation={self.activation!r}"] if self.activation is not None else []
        return f"GroupNorm({', '.join(shown)})"
