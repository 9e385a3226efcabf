"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from .adam import Betas
from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class Lion(Optimizer):
    """p *= 1 - lr weight_decay; p -= lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g.

    Every element moves by lr: take three to ten times less than for Adam, and as much more
    `weight_decay`, which is decoupled where `decoupled` is left out.

    Source: Chen et al. 2023, algorithm 2.
    """

    __slots__ = ()
    rule = "lion"
    states = ("m",)
    defaults: ClassVar[Mapping[str, Any]] = {"decoupled": True}

    betas = Hyperparameter[Betas]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-4,
        betas: Betas = (0.9, 0.99),
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, **common)
