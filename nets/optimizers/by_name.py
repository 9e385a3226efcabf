"""Optimizers by name, for the command line and for estimators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...backend.checks.numbers import decay_rate, flag
from .adadelta import Adadelta
from .adagrad import AdaGrad
from .adam import Adam, AdamW
from .adamax import Adamax
from .amsgrad import AMSGrad
from .frame.optimizer import Optimizer
from .lion import Lion
from .momentum import Momentum
from .nadam import NAdam
from .radam import RAdam
from .rmsprop import RMSprop
from .sgd import SGD
from .storage.storage import Arrays

OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.__name__: kind
    for kind in (
        SGD,
        Momentum,
        AdaGrad,
        RMSprop,
        Adam,
        AdamW,
        AMSGrad,
        NAdam,
        RAdam,
        Adamax,
        Adadelta,
        Lion,
    )
}
"""The optimizers that `load`, the command line and the estimators know: the first by these names,
the others by the same in small letters. For one of your own: OPTIMIZERS["Mine"] = Mine."""


def optimizer_type(name: str) -> Callable[..., Optimizer]:
    """The one of `OPTIMIZERS` whose name, in small letters, this is; ValueError where none is."""
    kinds = {known.lower(): kind for known, kind in OPTIMIZERS.items()}
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(f"optimizer is {name!r}; expected {', '.join(map(repr, kinds))}")
    return kinds[name]


def optimizer_by_name(
    name: str,
    params: Arrays,
    lr: float | None = None,
    momentum: float | None = None,
    engine: str = "auto",
    *,
    nesterov: bool = False,
    beta_2: float | None = None,
    eps: float | None = None,
    weight_decay: float | None = None,
    **options: Any,
) -> Optimizer:
    """The optimizer of that name, with its own defaults for what is None.

    Args:
        name: "sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam", "radam",
            "adamax", "adadelta" or "lion".
        params: as the optimizer takes them.
        lr: learning rate.
        momentum: weight of the past gradients: b of Momentum, the first of betas; the others have
            none, or none by default, and ignore it.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".
        nesterov: look ahead, of Momentum.
        beta_2: weight of the past squared gradients: the second of betas (Lion's is of gradients),
            RMSprop's alpha, Adadelta's rho.
        eps, weight_decay: as the optimizer takes them.
        options: `clip_norm`, `groups`, `no_decay` and others, as every optimizer takes them.

    Raises:
        TypeError, ValueError: the name is none of these, a number is out of its range, or what
            is given (other than `momentum`) is nothing that the optimizer has.
    """
    kind = optimizer_type(name)
    own = kind([np.zeros(1)]).hyper
    wished: dict[str, Any] = {
        "lr": lr,
        "nesterov": flag("nesterov", nesterov) or None,
        "eps": eps,
        "weight_decay": weight_decay,
    }
    first = None if momentum is None else decay_rate("momentum", momentum)
    wished |= placed(own, first, None if beta_2 is None else decay_rate("beta_2", beta_2))
    if wished.pop("beta_1", None) is not None and own.get("momentum"):  # RMSprop's is off unasked
        wished["momentum"] = first
    given = {key: value for key, value in wished.items() if value is not None}
    if strange := [key for key in given if key not in own]:
        key = strange[0]
        raise ValueError(
            f"{key} is {given[key]!r}, but the optimizer {name!r} has none; expected "
            f"{'False' if key == 'nesterov' else 'None'}, or another optimizer"
        )
    return kind(params, engine=engine, **given, **options)


def placed(own: Mapping[str, Any], beta_1: float | None, beta_2: float | None) -> dict[str, Any]:
    """The weights of past gradients and squares under the names of an optimizer's hyperparameters.

    `own` has betas, both of them, with its own for what is None; or alpha or rho, the second. What
    has no place keeps its name.
    """
    if "betas" in own:
        pair = zip((beta_1, beta_2), own["betas"], strict=True)
        return {"betas": tuple(default if beta is None else beta for beta, default in pair)}
    average = next((word for word in ("alpha", "rho") if word in own), "beta_2")
    return {"beta_1": beta_1, average: beta_2}
