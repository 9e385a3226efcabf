"""The rules, one file each. To add one, write its file and add its line to both tables here."""

from collections.abc import Callable, Mapping
from typing import Any

from ..rule import Prepared
from . import (
    adadelta,
    adagrad,
    adam,
    adamax,
    amsgrad,
    lion,
    momentum,
    nadam,
    radam,
    rmsprop,
    sgd,
)

RULES = {
    rule.name: rule
    for rule in (
        sgd.SGD,
        momentum.MOMENTUM,
        momentum.NESTEROV,
        adagrad.ADAGRAD,
        rmsprop.RMSPROP,
        rmsprop.RMSPROP_MOMENTUM,
        rmsprop.RMSPROP_CENTERED,
        rmsprop.RMSPROP_CENTERED_MOMENTUM,
        adam.ADAM,
        amsgrad.AMSGRAD,
        nadam.NADAM,
        radam.RADAM,
        adamax.ADAMAX,
        adadelta.ADADELTA,
        lion.LION,
    )
}
"""Every rule by name; a public function may choose between several (Nesterov, centered)."""

_MODULES: Mapping[str, Any] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        sgd,
        momentum,
        adagrad,
        rmsprop,
        adam,
        amsgrad,
        nadam,
        radam,
        adamax,
        adadelta,
        lion,
    )
}

HYPERPARAMETERS = {stem: module.HYPERPARAMETERS for stem, module in _MODULES.items()}
"""The check of each hyperparameter, by the stem of the public function."""

_PREPARE = {stem: module.prepare for stem, module in _MODULES.items()}

COUNTS_STEPS = frozenset({"momentum", "adagrad", "adam", "amsgrad", "nadam", "radam", "adamax"})
"""The stems whose functions take the number of the step."""


def in_order(stem: str, hyper: Mapping[str, Any]) -> tuple[Any, ...]:
    """What `prepare` takes of `hyper`: all but the factor on gradients, which comes last."""
    return tuple(hyper[name] for name in HYPERPARAMETERS[stem] if name != "grad_scale")


def prepare(stem: str, step: int, values: tuple[Any, ...], grad_scale: float) -> Prepared:
    """What `<stem>_step` works out of the number of the step and its hyperparameters.

    Raises:
        ValueError, TypeError: as the step function.
    """
    make: Callable[..., Prepared] = _PREPARE[stem]
    if stem in COUNTS_STEPS:
        return make(step, *values, grad_scale)
    return make(*values, grad_scale)
