"""The update rules in float64, written from the papers: slow, plain, and independent of onepass.

Each function takes arrays and returns new ones, `(param, *states)`; nothing is written in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
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
    dampening: float = 0.0,
    step: int | None = None,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """Polyak (1964), eq. 9, in three spellings; Nesterov as in Sutskever et al. (2013), eqs. 3-4.

    heavy-ball: v = b v + g          p -= lr v    Nesterov: p -= lr (g + b v)
    averaged:   v = b v + (1-b) g    p -= lr v    Nesterov: p -= lr ((1-b) g + b v)
    velocity:   v = b v - lr g       p += v       Nesterov: p += b v - lr g

    dampening: v = b v + (1 - dampening) g, but v = g at the first step, and v = g without momentum,
    as in PyTorch's documentation of SGD.
    """
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    pull = {"heavy-ball": g, "averaged": (1 - momentum) * g, "velocity": -lr * g}[form]
    if dampening and step > 1 and momentum:
        pull = (1 - dampening) * pull
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
    lr_decay: float = 0.0,
    step: int | None = None,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """h += g^2; p -= lr g / (sqrt(h) + eps). Duchi, Hazan, Singer (2011), figure 1, diagonal.

    lr_decay: lr falls as 1 / (1 + (step - 1) lr_decay), as in PyTorch's documentation of Adagrad.
    """
    if lr_decay:
        lr = lr / (1 + (step - 1) * lr_decay)
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    sum_sq = sum_sq + g**2
    return param - lr * g / (np.sqrt(sum_sq) + eps), sum_sq


def rmsprop(
    param: Array,
    grad: Array,
    square_avg: Array,
    *,
    momentum_buffer: Array | None = None,
    grad_avg: Array | None = None,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    eps_inside_sqrt: bool = False,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """s = a s + (1-a) g^2; p -= lr g / (sqrt(s) + eps), or / sqrt(s + eps).

    Tieleman and Hinton (2012), lecture 6.5, slide 29; eps inside: Graves (2013), eqs. 38-45.
    centered: s - a^2 in place of s, with a = alpha a + (1-alpha) g, as there; a variance is not
    below 0. momentum: b = momentum b + quotient; p -= lr b, as in PyTorch's documentation.
    """
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    square_avg = alpha * square_avg + (1 - alpha) * g**2
    states, variance = [square_avg], square_avg
    if centered:
        grad_avg = alpha * grad_avg + (1 - alpha) * g
        variance = np.maximum(square_avg - grad_avg**2, 0)
    move = g / (np.sqrt(variance + eps) if eps_inside_sqrt else np.sqrt(variance) + eps)
    if momentum:
        states.append(move := momentum * momentum_buffer + move)
    if centered:
        states.append(grad_avg)
    return param - lr * move, *states


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
    eps_uncorrected: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """p -= lr mhat / (sqrt(vhat) + eps). Kingma and Ba (2015), algorithm 1.

    eps_uncorrected: p -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), the end of section 2.
    """
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    m, v = _moments(g, m, v, betas)
    return param - _adam_move(m, v, step, lr, betas, eps, eps_uncorrected), m, v


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
    eps_uncorrected: bool = False,
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
    return param - _adam_move(m, v_max, step, lr, betas, eps, eps_uncorrected), m, v, v_max


def nadam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """Dozat (2016), algorithm 2, mu_t = b1 (1 - 0.96^(t psi) / 2) with psi = momentum_decay."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    m, v = _moments(g, m, v, betas)
    t = min(int(step), 100_000)  # later a product of these is 0, and mu_t as it will stay
    mu = betas[0] * (1 - 0.96 ** (np.arange(1, t + 2) * momentum_decay) / 2)
    mbar = mu[t] * m / (1 - np.prod(mu)) + (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t]))
    return param - lr * mbar / (np.sqrt(v / (1 - betas[1] ** step)) + eps), m, v


def radam(
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
    """Liu et al. (2020), algorithm 2, but from 5 on, not 4; eps, which it lacks, as in PyTorch."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    m, v = _moments(g, m, v, betas)
    mhat, far = m / (1 - betas[0] ** step), 2 / (1 - betas[1]) - 1
    rho = far - 2 * float(step) * betas[1] ** step / (1 - betas[1] ** step)
    if rho <= 5:
        return param - lr * mhat, m, v
    r = np.sqrt((rho - 4) * (rho - 2) * far / ((far - 4) * (far - 2) * rho))
    return param - lr * mhat * r * np.sqrt(1 - betas[1] ** step) / (np.sqrt(v) + eps), m, v


def adamax(
    param: Array,
    grad: Array,
    m: Array,
    u: Array,
    *,
    step: int,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """Kingma and Ba (2015), algorithm 2; eps, which it lacks, beside |g|. NaN wins a maximum."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    m = betas[0] * m + (1 - betas[0]) * g
    u = np.maximum(betas[1] * u, np.abs(g) + eps)
    return param - lr / (1 - betas[0] ** step) * m / u, m, u


def adadelta(
    param: Array,
    grad: Array,
    square_avg: Array,
    acc_delta: Array,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """Zeiler (2012), algorithm 1, with RMS[x] = sqrt(E[x^2] + eps); lr is a factor of libraries."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    square_avg = rho * square_avg + (1 - rho) * g**2
    delta = -np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * g
    acc_delta = rho * acc_delta + (1 - rho) * delta**2
    return param + lr * delta, square_avg, acc_delta


def lion(
    param: Array,
    grad: Array,
    m: Array,
    *,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
    decoupled: bool = True,
    maximize: bool = False,
    grad_scale: float = 1.0,
) -> tuple[Array, ...]:
    """Chen et al. (2023), algorithm 2: p -= lr (sign(b1 m + (1-b1) g) + weight_decay p)."""
    param, g = _decayed(param, grad, lr, weight_decay, decoupled, maximize, grad_scale)
    update = np.sign(betas[0] * m + (1 - betas[0]) * g)
    return param - lr * update, betas[1] * m + (1 - betas[1]) * g


def _adam_move(
    m: Array,
    v: Array,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    eps_uncorrected: bool,
) -> Array:
    """Kingma and Ba (2015), algorithm 1 or the last lines of section 2."""
    if eps_uncorrected:
        rate = lr * np.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
        return rate * m / (np.sqrt(v) + eps)
    mhat, vhat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return lr * mhat / (np.sqrt(vhat) + eps)


def _moments(g: Array, m: Array, v: Array, betas: tuple[float, float]) -> tuple[Array, Array]:
    """Kingma and Ba (2015), algorithm 1, the two moving averages."""
    return betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2


class Rule(NamedTuple):
    """One public function: its oracle, and the options that make it a different formula.

    `more` has the names of the states that it keeps with an option alone, by that option. `jumps`:
    the least rounding of a state may turn a whole step round.
    """

    oracle: Callable[..., tuple[Array, ...]]
    variants: list[Options]
    more: Mapping[str, str] = MappingProxyType({})
    jumps: bool = False

    def _names(self, kind: object) -> list[str]:
        parameters = inspect.signature(self.oracle).parameters
        return [name for name, parameter in parameters.items() if parameter.kind is kind]

    @property
    def arrays(self) -> list[str]:
        """Names of the array arguments in order: param, grad, states."""
        return self._names(inspect.Parameter.POSITIONAL_OR_KEYWORD)

    def arrays_with(self, options: Options) -> list[str]:
        """The same, and the states that these options need."""
        return [*self.arrays, *(name for key, name in self.more.items() if options.get(key))]

    @property
    def written(self) -> list[str]:
        return self.written_with({})

    def written_with(self, options: Options) -> list[str]:
        return [name for name in self.arrays_with(options) if name != "grad"]

    def call(self, function: Callable[..., Any], arrays: dict[str, Any], options: Options) -> Any:
        """`function` as it takes these arrays: those that options need by their names."""
        more = {name: array for name, array in arrays.items() if name not in self.arrays}
        return function(*(arrays[name] for name in self.arrays), **more, **options)

    @property
    def options(self) -> list[str]:
        return self._names(inspect.Parameter.KEYWORD_ONLY)

    def default(self, option: str) -> Any:
        return inspect.signature(self.oracle).parameters[option].default


# eps = 1e-2 where its place has to show; lr = 0.1 so that an update weighs as much as a parameter.
_ADAM: list[Options] = [
    {},
    {"lr": 0.1},
    {"lr": 0.1, "eps": 1e-2, "betas": (0.8, 0.95)},
    {"lr": 0.1, "eps": 1e-2, "eps_uncorrected": True},
]
RULES = {
    "sgd_step": Rule(sgd, [{"lr": 0.1}]),
    "momentum_step": Rule(
        momentum,
        [
            {"lr": 0.1, "momentum": 0.8, "form": form, "nesterov": nesterov}
            for form in ("heavy-ball", "averaged", "velocity")
            for nesterov in (False, True)
        ]
        + [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}],
    ),
    "adagrad_step": Rule(adagrad, [{}, {"lr": 0.1, "eps": 1e-2}, {"lr": 0.1, "lr_decay": 0.1}]),
    "rmsprop_step": Rule(
        rmsprop,
        [
            {},
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-2},
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "eps_inside_sqrt": True},
            {"lr": 0.1, "alpha": 0.5, "momentum": 0.8},
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "centered": True},
            {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "momentum": 0.8, "centered": True},
        ],
        {"momentum": "momentum_buffer", "centered": "grad_avg"},
    ),
    "adam_step": Rule(adam, [*_ADAM, {"lr": 0.1, "decoupled": True, "weight_decay": 0.05}]),
    "amsgrad_step": Rule(amsgrad, _ADAM),
    "nadam_step": Rule(
        nadam,
        [
            {},
            {"lr": 0.1},
            {"lr": 0.1, "eps": 1e-2, "betas": (0.8, 0.95)},
            {"lr": 0.1, "momentum_decay": 1.0},
        ],
    ),
    "radam_step": Rule(  # of the second, no step is rectified; of the third, those from the 6th
        radam,
        [
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.8, 0.5)},
            {"lr": 0.1, "eps": 1e-2, "betas": (0.8, 0.95)},
        ],
    ),
    "adamax_step": Rule(adamax, [{}, {"lr": 0.1}, {"lr": 0.1, "eps": 1e-2, "betas": (0.8, 0.7)}]),
    "adadelta_step": Rule(adadelta, [{}, {"lr": 0.5, "eps": 1e-2, "rho": 0.8}]),
    "lion_step": Rule(
        lion,
        [{}, {"lr": 0.1}, {"lr": 0.1, "betas": (0.5, 0.8), "weight_decay": 0.05}],
        jumps=True,
    ),
}

SHORT = ("sgd_step", "momentum_step", "adam_step", "amsgrad_step")
"""A rule for each number of states: a short run takes these where the rules are of one kind."""


def slow_unless_short(name: str) -> Any:
    """The mark of a case of that rule."""
    return () if name in SHORT else pytest.mark.slow


def each(*cases: Any) -> list[Any]:
    """Cases that are a rule's name, or begin with one, as pytest takes them: those of other rules
    than SHORT are slow."""
    found = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=slow_unless_short(values[0])))
    return found
