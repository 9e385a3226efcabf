"""AdaGrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from ...backend.checks.numbers import non_negative
from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays


class AdaGrad(Optimizer):
    """h += g^2; p -= lr g / (sqrt(h) + eps), where a tiny eps has limits: `kernels.adam_step`.

    h starts at `initial_accumulator_value`, in every element. With `lr_decay` there is
    lr / (1 + (t - 1) lr_decay) in place of lr.

    Source: Duchi, Hazan and Singer 2011, with the diagonal matrix.
    """

    __slots__ = ()
    rule = "adagrad"
    states = ("sum_sq",)
    defaults: ClassVar[Mapping[str, Any]] = {"lr_decay": 0.0}

    eps = Hyperparameter[float]()
    lr_decay = Hyperparameter[float]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-2,
        eps: float = 1e-10,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        start = non_negative("initial_accumulator_value", initial_accumulator_value)
        super().__init__(params, lr=lr, eps=eps, lr_decay=lr_decay, **common)
        if start:
            with self._backend.scope():
                for array in self._state["sum_sq"]:
                    array[...] = start
