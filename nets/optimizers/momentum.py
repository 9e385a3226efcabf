"""Gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class Momentum(Optimizer):
    """Gradient descent with momentum b, in one of three forms; v starts at 0.

        "heavy-ball"  v = b v + g          p -= lr v       (PyTorch's)
        "averaged"    v = b v + (1 - b) g  p -= lr v
        "velocity"    v = b v - lr g       p += v          (Keras's)

    `nesterov` looks ahead: the last assignment takes the same expression once more, with the new
    v, in its place. `dampening` takes (1 - dampening) g in "heavy-ball", but for the first step.

    Source: Polyak 1964; Nesterov 1983; Sutskever et al. 2013, eq. 1-4.
    """

    __slots__ = ()
    rule = "momentum"
    states = ("velocity",)
    defaults: ClassVar[Mapping[str, Any]] = {"dampening": 0.0}

    momentum = Hyperparameter[float]()
    form = Hyperparameter[str]()
    nesterov = Hyperparameter[bool]()
    dampening = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-2,
        momentum: float = 0.9,
        form: str = "heavy-ball",
        nesterov: bool = False,
        dampening: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            form=form,
            nesterov=nesterov,
            dampening=dampening,
            **common,
        )
