"""The update rules in float64, written from the papers: slow, plain, and independent of onepass.

Each function takes arrays and returns new ones, `(param, *states)`; nothing is written in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Options = dict[str, Any]


def _decayed(
    param: Array,
    grad: Array,
    lr: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    scale: float,
) -> tuple[Array, Array]:
    """The parameter and the gradient that a rule sees.

    The gradient is scaled, then turned, then L2 is added (so L2 shrinks either way). decoupled: the
    parameter shrinks by 1 - lr weight_decay instead. Loshchilov and Hutter (2019), algorithms 1 and
    2, with their schedule folded into lr as every library does.
    """
    g = scale * grad
    if maximize:
        g = -g
    if decoupled:
        return param * (1 - lr * weight_decay), g
    return param, g + weight_decay * param if weight_decay else g  # 0 * inf is no decay, not NaN


def sgd(
    param: Array,
    grad: Array,
    *,
    lr: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """p - lr g. Robbins and Monro (1951), eq. 7, with the gradient as the noisy observation."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    return (param - lr * g,)


def momentum(
    param: Array,
    grad: Array,
    velocity: Array,
    *,
    lr: float,
    momentum: float = 0.9,
    form: str = "heavy-ball",
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """Polyak (1964), eq. 9, in three spellings; Nesterov as in Sutskever et al. (2013), eqs. 3-4.

    heavy-ball: v = b v + g          p -= lr v    Nesterov: p -= lr (g + b v)
    averaged:   v = b v + (1-b) g    p -= lr v    Nesterov: p -= lr ((1-b) g + b v)
    velocity:   v = b v - lr g       p += v       Nesterov: p += b v - lr g
    """
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    pull = {"heavy-ball": g, "averaged": (1 - momentum) * g, "velocity": -lr * g}[form]
    velocity = momentum * velocity + pull
    move = pull + momentum * velocity if nesterov else velocity
    return param + (move if form == "velocity" else -lr * move), velocity


def adagrad(
    param: Array,
    grad: Array,
    sum_sq: Array,
    *,
    lr: float = 1e-2,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """h += g^2; p -= lr g / (sqrt(h) + eps). Duchi, Hazan, Singer (2011), figure 1, diagonal."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    sum_sq = sum_sq + g**2
    return param - lr * g / (np.sqrt(sum_sq) + eps), sum_sq


def rmsprop(
    param: Array,
    grad: Array,
    square_avg: Array,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    eps_inside_sqrt: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """s = a s + (1-a) g^2; p -= lr g / (sqrt(s) + eps), or / sqrt(s + eps).

    Tieleman and Hinton (2012), lecture 6.5, slide 29; eps inside: Graves (2013), eqs. 38-45.
    """
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    square_avg = alpha * square_avg + (1 - alpha) * g**2
    root = np.sqrt(square_avg + eps) if eps_inside_sqrt else np.sqrt(square_avg) + eps
    return param - lr * g / root, square_avg


def adam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """p -= lr mhat / (sqrt(vhat) + eps). Kingma and Ba (2015), algorithm 1."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    m, v = _moments(g, m, v, betas)
    mhat, vhat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return param - lr * mhat / (np.sqrt(vhat) + eps), m, v


def amsgrad(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    v_max: Array,
    *,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """Adam over the largest v so far. Reddi, Kale, Kumar (2018), algorithm 2.

    The paper has no bias correction; here, as in the project's contract, the maximum is taken as in
    the paper and corrected as Adam corrects v. NaN wins a maximum.
    """
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    m, v = _moments(g, m, v, betas)
    v_max = np.maximum(v_max, v)
    mhat, vhat = m / (1 - betas[0] ** step), v_max / (1 - betas[1] ** step)
    return param - lr * mhat / (np.sqrt(vhat) + eps), m, v, v_max


def _moments(g: Array, m: Array, v: Array, betas: tuple[float, float]) -> tuple[Array, Array]:
    """Kingma and Ba (2015), algorithm 1, the two moving averages."""
    return betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2


class Rule(NamedTuple):
    """One public function: its oracle, and the options that make it a different formula."""

    oracle: Callable[..., tuple[Array, ...]]
    variants: list[Options]

    def _names(self, kind: object) -> list[str]:
        parameters = inspect.signature(self.oracle).parameters
        return [name for name, parameter in parameters.items() if parameter.kind is kind]

    @property
    def arrays(self) -> list[str]:
        """Names of the array arguments in order: param, grad, states."""
        return self._names(inspect.Parameter.POSITIONAL_OR_KEYWORD)

    @property
    def written(self) -> list[str]:
        return [name for name in self.arrays if name != "grad"]

    @property
    def options(self) -> list[str]:
        return self._names(inspect.Parameter.KEYWORD_ONLY)

    def default(self, option: str) -> Any:
        return inspect.signature(self.oracle).parameters[option].default


# eps = 1e-2 where its place has to show; lr = 0.1 so that an update weighs as much as a parameter.
_ADAM: list[Options] = [{}, {"lr": 0.1}, {"lr": 0.1, "eps": 1e-2, "betas": (0.8, 0.95)}]
RULES = {
    "sgd_step": Rule(sgd, [{"lr": 0.1}]),
    "momentum_step": Rule(
        momentum,
        [
            {"lr": 0.1, "momentum": 0.8, "form": form, "nesterov": nesterov}
            for form in ("heavy-ball", "averaged", "velocity")
            for nesterov in (False, True)
        ]
        + [{"lr": 0.1}],
    ),
    "adagrad_step": Rule(adagrad, [{}, {"lr": 0.1, "eps": 1e-2}]),
    "rmsprop_step": Rule(
        rmsprop,
        [
            {},
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-2},
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "eps_inside_sqrt": True},
        ],
    ),
    "adam_step": Rule(adam, [*_ADAM, {"lr": 0.1, "decoupled": True, "weight_decay": 0.05}]),
    "amsgrad_step": Rule(amsgrad, _ADAM),
}
