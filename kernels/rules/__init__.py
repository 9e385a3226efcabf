"""The rules, one file each. To add one, write its file and add its line to both tables here."""

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

HYPERPARAMETERS = {
    module.__name__.rpartition(".")[2]: module.HYPERPARAMETERS
    for module in (sgd, momentum, adagrad, rmsprop, adam, amsgrad)
}
"""The check of each hyperparameter, by the stem of the public function."""
