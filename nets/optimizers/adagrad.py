"""AdaGrad."""

from __future__ import annotations

from typing import Unpack

from .hyperparameter import Hyperparameter
from .optimizer import Common, Optimizer
from .updated_arrays import Arrays


class AdaGrad(Optimizer):
    """h += g^2; p -= lr g / (sqrt(h) + eps), where a tiny eps has limits: `kernels.adam_step`.

    Source: Duchi, Hazan and Singer 2011, with the diagonal matrix.
    """

    __slots__ = ()
    rule = "adagrad"
    states = ("sum_sq",)

    eps = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-2,
        eps: float = 1e-10,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, lr=lr, eps=eps, **common)
