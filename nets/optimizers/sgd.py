"""Plain gradient descent."""

from __future__ import annotations

from typing import Unpack

from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class SGD(Optimizer):
    """Plain gradient descent: p -= lr g.

    Source: Robbins and Monro 1951.
    """

    __slots__ = ()
    rule = "sgd"

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-2,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, lr=lr, **common)
