"""NAdam."""

from __future__ import annotations

from typing import Unpack

from .adam import Betas
from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class NAdam(Optimizer):
    """Adam that looks ahead: p -= lr mbar / (sqrt(vhat) + eps).

    mbar = mu_(t+1) m / (1 - M_(t+1)) + (1 - mu_t) g / (1 - M_t), where M_t = mu_1 ... mu_t and
    mu_t = b1 (1 - 0.96^(t momentum_decay) / 2); m and vhat are Adam's. A tiny eps has limits:
    `kernels.adam_step`.

    Source: Dozat 2016, algorithm 2.
    """

    __slots__ = ()
    rule = "nadam"
    states = ("m", "v")

    betas = Hyperparameter[Betas]()
    eps = Hyperparameter[float]()
    momentum_decay = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        momentum_decay: float = 4e-3,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, momentum_decay=momentum_decay, **common
        )
