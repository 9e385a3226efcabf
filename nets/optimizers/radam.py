"""RAdam."""

from __future__ import annotations

from typing import Unpack

from .adam import Betas
from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class RAdam(Optimizer):
    """Adam that needs no warm-up: p -= lr s mhat sqrt(1 - b2^t) / (sqrt(v) + eps).

    s rises from 0 to 1 with what the average of squares is worth; until that is 5 samples (the
    first 5 steps, with b2 = 0.999), p -= lr mhat. `kernels.radam_step` has s, `kernels.adam_step`
    the limits of a tiny eps.

    Source: Liu et al. 2020, algorithm 2.
    """

    __slots__ = ()
    rule = "radam"
    states = ("m", "v")

    betas = Hyperparameter[Betas]()
    eps = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, **common)
