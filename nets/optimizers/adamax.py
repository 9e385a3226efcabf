"""Adamax."""

from __future__ import annotations

from typing import Unpack

from .adam import Betas
from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class Adamax(Optimizer):
    """m = b1 m + (1 - b1) g; u = max(b2 u, |g| + eps); p -= lr m / (1 - b1^t) / u.

    Source: Kingma and Ba 2015, algorithm 2.
    """

    __slots__ = ()
    rule = "adamax"
    states = ("m", "u")

    betas = Hyperparameter[Betas]()
    eps = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, **common)
