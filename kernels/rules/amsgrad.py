"""AMSGrad: Adam whose second moment never falls."""

from __future__ import annotations

from numpy import maximum, sqrt

from ...backend import Array
from ..launch import launch
from ..rule import Rule
from .adam import HYPERPARAMETERS as HYPERPARAMETERS
from .adam import corrected


def update(p, g, m, v, v_max, beta1, rest1, beta2, rest2, lr, eps):
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    v_max = maximum(v_max, v)
    p = p - lr * m / (sqrt(v_max) + eps)
    return p, m, v, v_max


AMSGRAD = Rule("amsgrad", update, ("m", "v", "v_max"), floor="eps", unsigned=("v", "v_max"))
prepare = corrected(AMSGRAD)


def amsgrad_step(
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
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One AMSGrad step, in place.

    With g as in `sgd_step`, (b1, b2) = betas, t = step:

        m = b1 m + (1 - b1) g              mhat = m / (1 - b1^t)
        v = b2 v + (1 - b2) g^2
        v_max = max(v_max, v)              vhat = v_max / (1 - b2^t)
        param = param - lr mhat / (sqrt(vhat) + eps)

    Args:
        v_max: state, same shape and dtype, zeros before the first step; written in place.
        The others are those of `adam_step`.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: as `adam_step`.

    Conventions: as in PyTorch and Keras, the maximum is taken of v itself and corrected afterwards.
        optax takes it of the corrected average, which is largest in the first steps and makes all
        that follow smaller. The kernel uses the equal form of the paper's section 2, as `adam_step`
        does. Tiny or no eps: as there, below 4e-12 (float64: 3e-138).
    Source: Reddi, Kale and Kumar (2018), algorithm 2, with Adam's bias correction.
    """
    prepared = prepare(
        step, lr, betas, eps, eps_uncorrected, weight_decay, decoupled, maximize, grad_scale
    )
    launch(prepared, (param, grad, m, v, v_max), engine, "amsgrad_step", seed, step, remainder)
