"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Any, ClassVar

from .hyperparameter import Hyperparameter
from .optimizer import Optimizer
from .updated_arrays import Arrays

Betas = tuple[float, float]


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr mhat / (sqrt(vhat) + eps).

    mhat = m / (1 - b1^t), vhat = v / (1 - b2^t); `weight_decay` is L2. What an eps of 0 or nearly
    0 does is told at `kernels.adam_step`.

    Source: Kingma and Ba 2015, algorithm 1.
    """

    __slots__ = ()
    rule = "adam"
    states: ClassVar[tuple[str, ...]] = ("m", "v")
    decoupled: ClassVar[bool] = False
    """Whether weight decay leaves the gradient alone."""

    betas = Hyperparameter[Betas]()
    eps = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
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
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            maximize=maximize,
        )

    def _fixed(self) -> dict[str, Any]:
        return {"decoupled": self.decoupled}


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr weight_decay, apart from the gradient.

    `weight_decay` is 0.01 where it is left out, as in PyTorch.

    Source: Loshchilov and Hutter 2019, algorithm 2 (with lr as the schedule's multiplier).
    """

    __slots__ = ()
    decoupled = True

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 1e-2,
        maximize: bool = False,
        clip_norm: float | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay=weight_decay,
            maximize=maximize,
            clip_norm=clip_norm,
            engine=engine,
        )
