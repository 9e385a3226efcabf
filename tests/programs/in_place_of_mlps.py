"""A plugin of pytest: NetClassifier and NetRegressor as scikit-learn's MLPClassifier, MLPRegressor.

    python -m pytest -p programs.in_place_of_mlps --pyargs sklearn.neural_network.tests.test_mlp

Each takes exactly the arguments of the class that it stands in for, by its defaults, and samples as
they are. nets/estimators/test_scikit_learns_tests.py runs it.
"""

from __future__ import annotations

from inspect import Parameter, Signature, signature
from typing import Any

import sklearn.neural_network as theirs
from onepass.nets import NetClassifier, NetRegressor
from onepass.nets.optimizers.frame.optimizer import Optimizer

OF_ADAM = ("beta_1", "beta_2", "epsilon")
"""Theirs have values by default, whatever the solver; ours are None: the solver's own, or none."""


def standing_in(ours: type, theirs: type) -> type:
    """A class by the name and with the arguments of `theirs` that does what `ours` does."""
    arguments = [
        each.replace(default=None) if each.name in OF_ADAM else each
        for each in signature(theirs).parameters.values()
    ]
    itself = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)

    def init(self: Any, *given: Any, **named: Any) -> None:
        bound = init.__signature__.bind(self, *given, **named)
        bound.apply_defaults()
        self.__dict__.update({name: bound.arguments[name] for name in taken})

    init.__signature__ = Signature([itself, *arguments])
    taken = [each.name for each in arguments]
    others = {
        name: each.default for name, each in signature(ours).parameters.items() if name not in taken
    }
    others |= {"normalize": False, "device": "cpu"}
    body = {**others, "__init__": init, "__module__": __name__}
    return type(theirs.__name__, (ours,), body)


MLPClassifier = standing_in(NetClassifier, theirs.MLPClassifier)
MLPRegressor = standing_in(NetRegressor, theirs.MLPRegressor)
theirs.MLPClassifier, theirs.MLPRegressor = MLPClassifier, MLPRegressor

# Two of their tests read the rate where their optimizers, which are private, have it.
Optimizer.learning_rate = property(lambda self: self.lr)
