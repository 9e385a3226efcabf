"""What scikit-learn's words for a solver mean here: an optimizer and its learning rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.checks.numbers import decay_rate, flag, non_negative, positive
from ..network.sequential import Sequential
from ..optimizers.by_name import OPTIMIZERS, optimizer_type
from ..optimizers.optimizer import Optimizer
from ..optimizers.schedules.by_name import WHOLE, schedule_by_name
from ..training.run import LrSchedule

RATES = ("constant", "invscaling", "adaptive")
"""The words for `learning_rate` that scikit-learn has; `Convergence` does what they say."""

ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}
"""scikit-learn's names of activations -> those of `multilayer`; the others are the same."""

_SGD = 1e-3  # the rate of "sgd" where none is given, as scikit-learn has it


def check_solver(name: Any) -> str:
    """The name of a solver; ValueError where it is none."""
    kinds = ["lbfgs", *(known.lower() for known in OPTIMIZERS if known != "Momentum")]
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(f"solver is {name!r}; expected {', '.join(map(repr, kinds))}")
    return name


def descends(estimator: Any) -> bool:
    """Whether the solver goes by mini-batches, so that there is a `partial_fit`."""
    return bool(estimator.solver != "lbfgs")


def optimizer_of(estimator: Any, net: Sequential) -> Optimizer:
    """The optimizer of a network's parameters that an estimator's arguments describe.

    Raises:
        TypeError, ValueError: an argument is out of its range, or given to a solver that has none.
    """
    name, lr = estimator.solver, estimator.learning_rate_init
    given: dict[str, Any] = {}
    if name == "sgd":
        lr = _SGD if lr is None else lr
        momentum = decay_rate("momentum", estimator.momentum)
        nesterov = flag("nesterovs_momentum", estimator.nesterovs_momentum)
        if momentum:
            name = "momentum"  # a new rate acts on new gradients only, as scikit-learn has it
            given = {"momentum": momentum, "nesterov": nesterov, "form": "velocity"}
    kind = optimizer_type(name)
    own = kind([np.zeros(1)]).hyper
    average = next((word for word in ("alpha", "rho") if word in own), "betas")
    betas = list(own.get("betas", ()))
    for place, word in enumerate(("beta_1", "beta_2")):
        if (beta := getattr(estimator, word)) is None:
            continue
        beta = decay_rate(word, beta)
        if betas:
            betas[place] = beta
        elif word == "beta_2" and average in own:
            given[average] = beta
        else:
            raise ValueError(_has_none(word, beta, estimator.solver))
    if betas:
        given["betas"] = tuple(betas)
    for word, called in (("epsilon", "eps"), ("weight_decay", "weight_decay")):
        if (value := getattr(estimator, word)) is not None:
            if called not in own:
                raise ValueError(_has_none(word, value, estimator.solver))
            given[called] = non_negative(word, value)
    if lr is not None:
        given["lr"] = positive("learning_rate_init", lr) if lr else lr
    return kind(
        net.parameters(),
        engine=estimator.engine,
        clip_norm=estimator.clip_norm,
        groups=estimator.groups,
        no_decay=estimator.no_decay,
        **given,
    )


def schedule_of(
    estimator: Any, optimizer: Optimizer, samples: int, batch_size: int, part: bool
) -> LrSchedule | None:
    """What sets the rate before each update: a function, or one by name over all of a training.

    Args:
        part: the samples are a part of a stream, whose length nobody knows.

    Raises:
        TypeError, ValueError: `learning_rate` is none of the words, or no function.
    """
    rate = estimator.learning_rate
    if callable(rate):
        return rate
    if isinstance(rate, str) and rate in RATES:
        return None
    if not isinstance(rate, str) or rate not in WHOLE:
        words = ", ".join(map(repr, (*RATES, *WHOLE)))
        raise ValueError(f"learning_rate is {rate!r}; expected {words}, or schedule(epoch, step)")
    if part:
        raise ValueError(
            f"learning_rate is {rate!r}, over all of a training, whose length partial_fit does not "
            f"know; expected {', '.join(map(repr, RATES))}, or a schedule"
        )
    return schedule_by_name(rate, optimizer.lr, samples, batch_size, estimator.max_iter)


def _has_none(word: str, value: Any, solver: str) -> str:
    return (
        f"{word} is {value!r}, but the solver {solver!r} has none; expected None, or another solver"
    )
