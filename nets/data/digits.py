"""The small digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from .dataset import Dataset
from .split import stratified_split


def load_digits(test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """The 1,797 handwritten digits of 8 x 8 pixels; nothing is downloaded.

    Args:
        test_fraction: share of each class that is held out.
        seed: of the split.

    Returns:
        A Dataset of 64 features, pixel / 16, so in 0..1.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: `test_fraction` is not between 0 and 1.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (its test part).
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            'load_digits needs scikit-learn, which holds the images: pip install "onepass[sklearn]"'
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    x = (pixels / 16).astype(np.float32)
    y = labels.astype(np.int64)
    train, test = stratified_split(y, test_fraction, seed)
    return Dataset(x[train], y[train], x[test], y[test], classes=10, name="digits")
