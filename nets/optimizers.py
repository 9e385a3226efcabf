"""The optimizers: the arguments users know, and which kernel each one calls.

What all of them share is told at `Optimizer`; below, g is the gradient after scaling, clipping and
L2 weight decay, and t counts steps from 1.
"""

from __future__ import annotations

from .adam import Adam, AdamW, AMSGrad
from .hyperparameter import Hyperparameter
from .optimizer import Optimizer
from .storage import Arrays

__all__ = ["SGD", "AMSGrad", "AdaGrad", "Adam", "AdamW", "Momentum", "RMSprop"]


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


class Momentum(Optimizer):
    """Gradient descent with momentum b, in one of three forms; v starts at 0.

        "heavy-ball"  v = b v + g          p -= lr v       (PyTorch's)
        "averaged"    v = b v + (1 - b) g  p -= lr v
        "velocity"    v = b v - lr g       p += v          (Keras's)

    `nesterov` looks ahead: the last assignment takes the same expression once more, with the new
    v, in its place.

    Source: Polyak 1964; Nesterov 1983; Sutskever et al. 2013, eq. 1-4.
    """

    __slots__ = ()
    rule = "momentum"
    states = ("velocity",)

    momentum = Hyperparameter[float]()
    form = Hyperparameter[str]()
    nesterov = Hyperparameter[bool]()

    def __init__(
        self,
        params: Arrays,
        lr: float = 1e-2,
        momentum: float = 0.9,
        form: str = "heavy-ball",
        nesterov: bool = False,
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
            momentum=momentum,
            form=form,
            nesterov=nesterov,
            weight_decay=weight_decay,
            maximize=maximize,
        )


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
