"""What scikit-learn's words for a solver mean here: an optimizer and its learning rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.checks.numbers import decay_rate, flag, non_negative, positive
from ..network.sequential import Sequential
from ..optimizers.by_name import OPTIMIZERS, optimizer_type, placed
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.schedules.by_name import WHOLE, schedule_by_name
from ..training.callbacks.callback import callbacks_of
from ..training.run import LrSchedule

RATES = ("constant", "invscaling", "adaptive")
"""The words for `learning_rate` that scikit-learn has; `Convergence` does what they say."""

ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}
"""scikit-learn's names of activations -> those of `multilayer`; the others are the same."""

_SGD = 1e-3  # the rate of "sgd" where none is given, as scikit-learn has it


_OF_STEPS = {
    "beta_1": None, "beta_2": None, "epsilon": None, "weight_decay": None, "clip_norm": None,
    "groups": None, "no_decay": None, "engine": "auto",
}  # fmt: skip
"""Arguments that L-BFGS has no use for, and what they are where nothing is asked for."""


def check_solver(estimator: Any) -> None:
    """ValueError where the solver is none, or is "lbfgs" and something is asked of its steps."""
    name = estimator.solver
    kinds = ["lbfgs", *(known.lower() for known in OPTIMIZERS if known != "Momentum")]
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(f"solver is {name!r}; expected {', '.join(map(repr, kinds))}")
    if name != "lbfgs":
        return
    asked = {word: getattr(estimator, word) for word in _OF_STEPS}
    strange = [word for word, value in asked.items() if value != _OF_STEPS[word]]
    if strange:
        raise ValueError(_has_none(strange[0], asked[strange[0]], name))
    if callbacks_of(estimator.callbacks):
        raise ValueError(_has_none("callbacks", estimator.callbacks, name))


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
    wished = placed(own, _rate(estimator, "beta_1"), _rate(estimator, "beta_2"))
    if (epsilon := estimator.epsilon) is not None:
        wished["eps"] = non_negative("epsilon", epsilon)
    if (decay := estimator.weight_decay) is not None:
        wished["weight_decay"] = non_negative("weight_decay", decay)
    for word, value in wished.items():
        if value is not None and word not in own:
            raise ValueError(
                _has_none("epsilon" * (word == "eps") or word, value, estimator.solver)
            )
    given |= {word: value for word, value in wished.items() if value is not None}
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


def _rate(estimator: Any, word: str) -> float | None:
    value = getattr(estimator, word)
    return None if value is None else decay_rate(word, value)


def _has_none(word: str, value: Any, solver: str) -> str:
    return (
        f"{word} is {value!r}, but the solver {solver!r} has none; expected None, or another solver"
    )
