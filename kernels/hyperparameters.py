"""Checking hyperparameters without arrays, for whoever keeps them between steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend.checks.numbers import Check
from .activation.arguments import OPTIONS as ACTIVATION
from .batch_norm.arguments import OPTIONS as BATCH_NORM
from .inverted_dropout.arguments import OPTIONS as DROPOUT
from .norms.arguments import OPTIONS as NORMS
from .rules import HYPERPARAMETERS

_CHECKS: Mapping[str, Mapping[str, Check]] = {
    **HYPERPARAMETERS,
    "activation": ACTIVATION,
    "batch_norm": BATCH_NORM,
    "dropout": DROPOUT,
    **NORMS,
}


def validate(stem: str, **hyper: Any) -> dict[str, Any]:
    """Check hyperparameters as the function would that takes them, and return them.

    Args:
        stem: "sgd", "momentum", "adagrad", "rmsprop", "adam", "amsgrad", "nadam", "radam",
            "adamax", "adadelta" or "lion", of `<stem>_step`; "activation", "batch_norm",
            "dropout", "layer_norm", "rms_norm" or "group_norm".
        hyper: any of a step function's keyword arguments except arrays, step and engine; kind, also
            called activation, slope, alpha, beta and threshold; momentum, eps, activation and
            running_var_ddof; keep_prob; normalized_shape or groups, eps and activation of a norm.

    Raises:
        ValueError, TypeError: as that function; TypeError for a name that it doesn't take.

    Example:
        >>> validate("sgd", lr=0.1)
        {'lr': 0.1}
    """
    if stem not in _CHECKS:
        raise ValueError(f"stem is {stem!r}; expected {', '.join(map(repr, _CHECKS))}")
    checks, called = _CHECKS[stem], f"{stem}_step" if stem in HYPERPARAMETERS else stem
    for name in hyper:
        if name not in checks:
            raise TypeError(f"{called} takes no {name!r}; it takes {', '.join(checks)}")
    return {name: checks[name](name, value) for name, value in hyper.items()}
