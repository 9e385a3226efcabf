"""The data sets that training is measured on, as far as they are there."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from ...nets import Dataset, load_digits, load_mnist


def mnist_folder(data: str | None) -> str | None:
    """The folder that `--data mnist:FOLDER` names; None where nothing is given.

    Raises:
        ValueError: it is anything else.
    """
    if data is None:
        return None
    kind, _, folder = data.partition(":")
    if kind != "mnist" or not folder:
        raise ValueError(f"--data is {data!r}; expected mnist:FOLDER")
    return folder


def data_sets(mnist: str | None) -> list[Dataset]:
    """Digits where scikit-learn is installed, and MNIST from the folder that is named.

    Raises:
        OSError, ValueError: the folder does not hold the four files.
    """
    digits = [load_digits()] if find_spec("sklearn") else []
    return digits if mnist is None else [*digits, load_mnist(mnist)]


def missing_data(mnist: str | None) -> dict[str, str]:
    """Data set -> why it is not measured on."""
    reasons = {}
    if find_spec("sklearn") is None:
        reasons["digits"] = 'scikit-learn is not installed: pip install "onepass[sklearn]"'
    if mnist is None:
        reasons["mnist"] = "no folder named: --data mnist:FOLDER"
    return reasons


def made_up(samples: int, held_out: int = 1_000) -> Dataset:
    """Ten noisy patterns, as wide as MNIST's digits and there everywhere; quickly learned."""
    draw, n = np.random.default_rng(0), samples + held_out
    patterns = draw.random((10, 784), dtype="float32")
    labels = draw.integers(0, 10, n)
    x = patterns[labels] + draw.standard_normal((n, 784), dtype="float32")
    name = f"{samples} samples"
    return Dataset(x[:samples], labels[:samples], x[samples:], labels[samples:], 10, name)
