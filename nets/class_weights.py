"""Weights that make up for classes of different sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .types import HostArray

ClassWeight: TypeAlias = str | Mapping[int, float] | Sequence[float] | HostArray | None
"""None, "balanced", {class: weight}, or a weight for each class in order."""


def row_weights(class_weight: ClassWeight, labels: HostArray, classes: int) -> HostArray | None:
    """The weight of each row, (n,) float64; None where no class weighs more than another.

        J = mean over rows of w[k] loss, k the row's class

    Args:
        class_weight: None; "balanced": w[k] = n / (C n_k), with n_k rows of class k, and C classes
            that have any, as in scikit-learn; a dict of classes, where those left out weigh 1; or
            `classes` numbers.
        labels: class numbers of the n training rows, (n,).
        classes: how many classes the network tells apart.

    Raises:
        TypeError, ValueError: `class_weight` is none of these, names a class that isn't there,
            holds a number that is negative or not finite, or leaves every row the weight 0.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight is {class_weight!r}; expected 'balanced'")
        present, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return (len(labels) / (len(present) * counts))[place]
    weights = _by_class(class_weight, classes)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"class_weight is {class_weight!r}; expected finite numbers >= 0")
    found = weights[labels]
    if not found.any():
        raise ValueError(
            f"class_weight is {class_weight!r}, which gives every row of data the weight 0; "
            "expected a class that counts"
        )
    return found


def _by_class(class_weight: Any, classes: int) -> HostArray:
    if isinstance(class_weight, Mapping):
        if strange := [key for key in class_weight if key not in range(classes)]:
            raise ValueError(
                f"class_weight names the class {strange[0]!r}; expected some of 0..{classes - 1}"
            )
        return np.array([class_weight.get(k, 1.0) for k in range(classes)], np.float64)
    try:
        weights = np.asarray(class_weight, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"class_weight is {class_weight!r}; expected None, 'balanced', a dict such as "
            "{0: 1.0, 1: 5.0}, or a number for each class"
        ) from error
    if weights.shape != (classes,):
        raise ValueError(
            f"class_weight has shape {weights.shape}; expected ({classes},), one for each class"
        )
    return weights
