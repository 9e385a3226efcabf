"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class RMSprop(Optimizer):
    """s = alpha s + (1 - alpha) g^2; p -= lr g / (sqrt(s) + eps).

    With `eps_inside_sqrt`: p -= lr g / sqrt(s + eps). A tiny eps has limits: `kernels.adam_step`.
    `centered` has max(s - a^2, 0) in place of s, with a = alpha a + (1 - alpha) g. With `momentum`,
    b = momentum b + g / (sqrt(s) + eps) and p -= lr b. Each of the two has a state of its own, so
    that it stays on or off; only how much momentum there is can be changed.

    Source: Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, eqs. 38-45.
    """

    __slots__ = ()
    rule = "rmsprop"
    states: ClassVar[tuple[str, ...]] = ("square_avg",)
    defaults: ClassVar[Mapping[str, Any]] = {"momentum": 0.0, "centered": False}

    alpha = Hyperparameter[float]()
    eps = Hyperparameter[float]()
    eps_inside_sqrt = Hyperparameter[bool]()
    momentum = Hyperparameter[float]()
    centered = Hyperparameter[bool]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        eps_inside_sqrt: bool = False,
        momentum: float = 0.0,
        centered: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            eps_inside_sqrt=eps_inside_sqrt,
            momentum=momentum,
            centered=centered,
            **common,
        )

    @classmethod
    def states_of(cls, hyper: Mapping[str, Any]) -> tuple[str, ...]:
        own = {"momentum_buffer": hyper.get("momentum"), "grad_avg": hyper.get("centered")}
        return (*cls.states, *(name for name, wished in own.items() if wished))
