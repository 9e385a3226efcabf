"""Plain gradient descent."""

from __future__ import annotations

from .optimizer import Optimizer
from .updated_arrays import Arrays


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
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        clip_norm: float | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__(
            params,
            clip_norm=clip_norm,
            engine=engine,
            lr=lr,
            weight_decay=weight_decay,
            maximize=maximize,
        )
