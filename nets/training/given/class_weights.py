"""Weights that make up for classes of different sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ....backend.checks.plain_array import check_plain
from ....backend.foreign import taken_in
from ...types import HostArray

ClassWeight: TypeAlias = str | Mapping[int, float] | Sequence[float] | HostArray | None
"""None, "balanced", {class: weight}, or a weight for each class in order."""


def class_weights(
    class_weight: ClassWeight, labels: HostArray, classes: int, dtype: Any = np.float64
) -> HostArray | None:
    """The weight of each class, (classes,); None where no class weighs more than another.

    Args:
        class_weight: None; "balanced": w[k] = n / (C n_k), with n_k rows of class k, and C classes
            that have any, as in scikit-learn; a dict of classes; or `classes` numbers. Classes that
            a dict leaves out, or that have no row to be balanced by, weigh 1.
        labels: class numbers of the n training rows, (n,).
        classes: how many classes the network tells apart.
        dtype: float32 or float64, of the weights.

    Raises:
        TypeError, ValueError: `class_weight` is none of these, names a class that isn't there, or
            holds a number that is negative, not finite, or too large for `dtype`.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight is {class_weight!r}; expected 'balanced'")
        present, counts = np.unique(labels, return_counts=True)
        weights = np.ones(classes)
        weights[present] = len(labels) / (len(present) * counts)
    else:
        weights = _by_class(class_weight, classes)
    with np.errstate(over="ignore", under="ignore"):
        found = weights.astype(dtype)
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError(
            f"class_weight is {class_weight!r}; expected finite numbers >= 0, as {found.dtype} "
            "holds them"
        )
    return found


def row_weights(weights: HostArray, labels: HostArray, name: str) -> HostArray:
    """The weight of each row, (n,), from those of the classes.

        J = mean over rows of w[k] loss, k the row's class

    Raises:
        ValueError: every row of `name` has the weight 0.
    """
    found = weights[labels]
    if not found.any():
        raise ValueError(
            f"class_weight gives every row of {name} the weight 0; expected a class that counts "
            f"(the weights are {weights.tolist()})"
        )
    return found


def _by_class(class_weight: Any, classes: int) -> HostArray:
    if isinstance(class_weight, Mapping):
        if strange := [key for key in class_weight if key not in range(classes)]:
            raise ValueError(
                f"class_weight names the class {strange[0]!r}; expected some of 0..{classes - 1}"
            )
        class_weight = [class_weight.get(k, 1.0) for k in range(classes)]
    check_plain(class_weight, "class_weight")
    try:
        (class_weight,) = taken_in(["class_weight"], [class_weight])
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
