"""AdaGrad."""

from __future__ import annotations

from .hyperparameter import Hyperparameter
from .optimizer import Optimizer
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
            eps=eps,
            weight_decay=weight_decay,
            maximize=maximize,
        )
