"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from .frame.hyperparameter import Hyperparameter
from .frame.optimizer import Common, Optimizer
from .storage.storage import Arrays

Betas = tuple[float, float]


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr mhat / (sqrt(vhat) + eps).

    mhat = m / (1 - b1^t), vhat = v / (1 - b2^t); `weight_decay` is L2. `eps_uncorrected` adds eps
    to the root of v instead, as Keras, TensorFlow and scikit-learn do. What an eps of 0 or nearly 0
    does is told at `kernels.adam_step`.

    Source: Kingma and Ba 2015, algorithm 1.
    """

    __slots__ = ()
    rule = "adam"
    states: ClassVar[tuple[str, ...]] = ("m", "v")
    defaults: ClassVar[Mapping[str, Any]] = {"eps_uncorrected": False}

    betas = Hyperparameter[Betas]()
    eps = Hyperparameter[float]()
    eps_uncorrected = Hyperparameter[bool]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        eps_uncorrected: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, eps_uncorrected=eps_uncorrected, **common
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr weight_decay, apart from the gradient.

    `weight_decay` is 0.01 where it is left out, as in PyTorch.

    Source: Loshchilov and Hutter 2019, algorithm 2 (with lr as the schedule's multiplier).
    """

    __slots__ = ()
    defaults: ClassVar[Mapping[str, Any]] = {
        **Adam.defaults,
        "weight_decay": 1e-2,
        "decoupled": True,
    }
