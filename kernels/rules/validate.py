"""Checking hyperparameters without arrays, for whoever keeps them between steps."""

from __future__ import annotations

from typing import Any

from . import HYPERPARAMETERS


def validate(stem: str, **hyper: Any) -> dict[str, Any]:
    """Check hyperparameters as the step function `<stem>_step` would, and return them.

    Args:
        stem: "sgd", "momentum", "adagrad", "rmsprop", "adam" or "amsgrad".
        hyper: any of that function's keyword arguments except step and engine.

    Raises:
        ValueError, TypeError: as the step function; TypeError for a name that it doesn't take.

    Example:
        >>> validate("sgd", lr=0.1)
        {'lr': 0.1}
    """
    if stem not in HYPERPARAMETERS:
        raise ValueError(f"stem is {stem!r}; expected {', '.join(map(repr, HYPERPARAMETERS))}")
    checks = HYPERPARAMETERS[stem]
    for name in hyper:
        if name not in checks:
            raise TypeError(f"{stem}_step takes no {name!r}; it takes {', '.join(checks)}")
    return {name: checks[name](name, value) for name, value in hyper.items()}
