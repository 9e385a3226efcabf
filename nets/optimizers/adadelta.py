"""Adadelta."""

from __future__ import annotations

from typing import Unpack

from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class Adadelta(Optimizer):
    """s = rho s + (1 - rho) g^2; d = sqrt(a + eps) / sqrt(s + eps) g; p -= lr d.

    Then a = rho a + (1 - rho) d^2, the average of the steps. A tiny eps has limits:
    `kernels.adam_step`.

    Source: Zeiler 2012, algorithm 1.
    """

    __slots__ = ()
    rule = "adadelta"
    states = ("square_avg", "acc_delta")

    rho = Hyperparameter[float]()
    eps = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, lr=lr, rho=rho, eps=eps, **common)
