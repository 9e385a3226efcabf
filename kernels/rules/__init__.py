"""The rules, one file each. To add one, write its file and add its line to both tables here."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from ..rule import Prepared
from . import adagrad, adam, amsgrad, momentum, rmsprop, sgd

RULES = {
    rule.name: rule
    for rule in (
        sgd.SGD,
        momentum.MOMENTUM,
        momentum.NESTEROV,
        adagrad.ADAGRAD,
        rmsprop.RMSPROP,
        rmsprop.RMSPROP_EPS_INSIDE,
        adam.ADAM,
        amsgrad.AMSGRAD,
    )
}
"""Every rule by name; a public function may choose between several (Nesterov, place of eps)."""

_MODULES: Mapping[str, Any] = {
    module.__name__.rpartition(".")[2]: module
    for module in (sgd, momentum, adagrad, rmsprop, adam, amsgrad)
}

HYPERPARAMETERS = {stem: module.HYPERPARAMETERS for stem, module in _MODULES.items()}
"""The check of each hyperparameter, by the stem of the public function."""

COUNTS_STEPS = frozenset({"adam", "amsgrad"})
"""The stems whose functions take the number of the step."""

_VALUES = {
    stem: itemgetter(*(["step"] if stem in COUNTS_STEPS else []), *checks)
    for stem, checks in HYPERPARAMETERS.items()
}


def prepare(stem: str, hyper: Mapping[str, Any]) -> Prepared:
    """What `<stem>_step` works out of its hyperparameters, all of which must be given.

    Raises:
        ValueError, TypeError: as the step function.
    """
    prepared: Prepared = _MODULES[stem].prepare(*_VALUES[stem](hyper))
    return prepared
