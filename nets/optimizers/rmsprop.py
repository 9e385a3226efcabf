"""RMSprop."""

from __future__ import annotations

from typing import Unpack

from .hyperparameter import Hyperparameter
from .optimizer import Common, Optimizer
from .updated_arrays import Arrays


class RMSprop(Optimizer):
    """s = alpha s + (1 - alpha) g^2; p -= lr g / (sqrt(s) + eps).

    With `eps_inside_sqrt`: p -= lr g / sqrt(s + eps). A tiny eps has limits: `kernels.adam_step`.

    Source: Tieleman and Hinton 2012, lecture 6.5.
    """

    __slots__ = ()
    rule = "rmsprop"
    states = ("square_avg",)

    alpha = Hyperparameter[float]()
    eps = Hyperparameter[float]()
    eps_inside_sqrt = Hyperparameter[bool]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        eps_inside_sqrt: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            params, lr=lr, alpha=alpha, eps=eps, eps_inside_sqrt=eps_inside_sqrt, **common
        )
