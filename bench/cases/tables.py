"""The tables that estimators are measured on: scaled, split, in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ...nets import load_mnist
from ...nets.types import HostArray
from .docstrings import PACKAGES, docstrings

HELD_OUT = 0.25
"""Of the rows, another part for each seed; MNIST has its own."""

COLUMNS = 20_000
"""Words of the texts: the most frequent ones."""


SPARSE = "text, sparse"
"""The name of the table of texts."""


class Table(NamedTuple):
    """Rows to train on and rows to judge by; x is dense or CSR."""

    x_train: Any
    y_train: HostArray
    x_test: Any
    y_test: HostArray


@dataclass(frozen=True)
class TableCase:
    """A table, and how long it is trained on.

    Attributes:
        name: for people.
        rows: to train on.
        made: from a seed, which decides what is held out.
        epochs: of a training.
        seeds: of the trainings by which it is judged.
        numbers: whether targets are numbers, not classes.
    """

    name: str
    rows: int
    made: Callable[[int], Table]
    epochs: int
    seeds: int
    numbers: bool = False

    @property
    def score(self) -> str:
        """What `score` of an estimator gives."""
        return "R2" if self.numbers else "accuracy"


def shipped(name: str, rows: int, epochs: int, seeds: int) -> TableCase:
    """One of scikit-learn's own: "digits", "breast cancer", "wine", "diabetes" or "friedman1"."""

    def load() -> tuple[Any, HostArray]:
        from sklearn import datasets

        if name == "friedman1":
            x, y = datasets.make_friedman1(2_000, noise=1.0, random_state=0)
        else:
            x, y = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
        return x, y

    return _case(name, rows, load, epochs, seeds, name in ("diabetes", "friedman1"))


def synthetic(rows: int, columns: int, epochs: int, seeds: int) -> TableCase:
    """Five classes, in blobs around the corners of a cube of 20 dimensions, noise beside them."""

    @cache
    def load() -> tuple[Any, HostArray]:
        from sklearn.datasets import make_classification

        x, y = make_classification(
            rows, columns, n_informative=min(20, columns // 2), n_classes=5, random_state=0
        )
        return x, y

    return _case(f"synthetic {rows} x {columns}", rows, load, epochs, seeds)


def texts(rows: int, epochs: int, seeds: int, packages: tuple[str, ...] = PACKAGES) -> TableCase:
    """Docstrings as sparse TF-IDF, to be told which module they are from."""

    @cache
    def load() -> tuple[Any, HostArray]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        found, modules = docstrings(packages)
        if len(found) < rows:
            raise ValueError(
                f"{', '.join(packages)} have {len(found)} docstrings; expected {rows} at least: "
                "use fewer rows"
            )
        x = TfidfVectorizer(max_features=COLUMNS, dtype=np.float32).fit_transform(found)
        return x, np.asarray(modules)

    return _case(SPARSE, rows, load, epochs, seeds)


def mnist(folder: str, epochs: int, seeds: int) -> TableCase:
    """The images as they come, in 0..1, with the part that is meant for tests held out."""
    data = load_mnist(folder)
    table = Table(data.x_train, data.y_train, data.x_test, data.y_test)
    return TableCase("mnist", len(data.x_train), lambda seed: table, epochs, seeds)


def _case(
    name: str,
    rows: int,
    load: Callable[[], tuple[Any, HostArray]],
    epochs: int,
    seeds: int,
    numbers: bool = False,
) -> TableCase:
    """`rows` are taken of all that `load` gives, from everywhere in it."""
    held = -int(-rows * HELD_OUT // 1)

    def made(seed: int) -> Table:
        from sklearn.model_selection import train_test_split

        x, y = load()
        some = np.linspace(0, len(y) - 1, rows).astype(int)
        x_train, x_test, y_train, y_test = train_test_split(
            x[some],
            y[some],
            test_size=held,
            random_state=seed,
            stratify=None if numbers else y[some],
        )
        return _scaled(x_train, x_test, y_train, y_test, numbers)

    return TableCase(name, rows - held, made, epochs, seeds, numbers)


def _scaled(
    x_train: Any, x_test: Any, y_train: HostArray, y_test: HostArray, numbers: bool
) -> Table:
    """Mean 0 and deviation 1 as learnt from the training part, of numbers to be told, too."""
    from sklearn.preprocessing import StandardScaler

    if not hasattr(x_train, "tocsr"):  # zeros of sparse ones stay zeros
        scale = StandardScaler().fit(x_train)
        x_train, x_test = (scale.transform(x).astype(np.float32) for x in (x_train, x_test))
    if numbers:
        mean, deviation = y_train.mean(), y_train.std()
        y_train, y_test = (((y - mean) / deviation).astype(np.float32) for y in (y_train, y_test))
    return Table(x_train, y_train, x_test, y_test)
