"""Optimizers by name, for the command line and for estimators."""

from __future__ import annotations

from collections.abc import Callable

from .optimizer import Optimizer
from .optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, Momentum, RMSprop
from .storage import Arrays

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, Momentum, AdaGrad, RMSprop, Adam, AdamW, AMSGrad)
}


def check_name(name: str) -> None:
    """Refuse what is none of `OPTIMIZERS`."""
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}; expected {', '.join(map(repr, OPTIMIZERS))}")


def optimizer_by_name(
    name: str,
    params: Arrays,
    lr: float | None = None,
    momentum: float | None = None,
    engine: str = "auto",
) -> Optimizer:
    """The optimizer of that name, with its own defaults for what is None.

    Args:
        name: "sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw" or "amsgrad".
        params: as the optimizer takes them.
        lr: learning rate.
        momentum: weight of the past gradients: b of Momentum, the first of Adam's betas; the others
            have none and ignore it.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError: the name is none of these, or a number is out of its range.
    """
    check_name(name)
    made = OPTIMIZERS[name](params, engine=engine, **({} if lr is None else {"lr": lr}))
    if momentum is not None and "momentum" in made.hyper:
        made.tune(momentum=momentum)
    elif momentum is not None and "betas" in made.hyper:
        made.tune(betas=(momentum, made.hyper["betas"][1]))
    return made
