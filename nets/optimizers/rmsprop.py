"""RMSprop."""

from __future__ import annotations

from .hyperparameter import Hyperparameter
from .optimizer import Optimizer
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
            alpha=alpha,
            eps=eps,
            eps_inside_sqrt=eps_inside_sqrt,
            weight_decay=weight_decay,
            maximize=maximize,
        )
