"""scikit-learn's checks of estimators, as tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest


def checks_of(estimators: Sequence[Any], **options: Any) -> pytest.MarkDecorator:
    """`parametrize_with_checks`, which writes each estimator out again for each of its checks."""
    from sklearn.utils.estimator_checks import parametrize_with_checks

    mark = parametrize_with_checks(estimators, **options).mark
    named = {**mark.kwargs, "ids": cache(mark.kwargs["ids"])}
    return pytest.mark.parametrize(*mark.args, **named)
