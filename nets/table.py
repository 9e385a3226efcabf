"""Tables of numbers from CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from ..backend.checks import one_of
from .csv_file import CsvFile, Texts, as_number, is_missing
from .types import HostArray

_CLASSES = 20
"""Whole numbers of at most as many different values are taken for classes."""


@dataclass(frozen=True)
class Table:
    """Samples from a file, and what their columns are called.

    Attributes:
        x: (n, features), float32, a row a sample, in the order of the file.
        y: (n,): int64 class numbers 0..len(classes)-1, or float32 numbers of a regression.
        features: names of the columns of `x`.
        target: name of the column of `y`.
        classes: what the file calls class 0, 1, ...; empty for a regression.
        task: "classification" or "regression".
        name: what messages and reports call it.
    """

    x: HostArray
    y: HostArray
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...]
    task: str
    name: str

    def __repr__(self) -> str:
        task = f"{len(self.classes)} classes" if self.classes else "regression"
        return (
            f"Table({self.name!r}, {len(self.x)} samples of {len(self.features)} features, "
            f"{self.target!r}: {task})"
        )


def read_table(
    path: str | PathLike[str], target: str, task: str = "auto", delimiter: str = ","
) -> Table:
    """Read a CSV file with a header: the column `target` is what to predict, all others features.

    Args:
        path: the file, in UTF-8. Quoted values may hold delimiters and line breaks; blank lines
            are passed over.
        target: the name of a column.
        task: "classification", "regression" or "auto", which takes the target for classes where a
            value is no number, or where all are whole numbers, of at most 20 different values,
            each met twice or more on average; else it is a regression.
        delimiter: one character.

    Classes are numbered in the order of their names, or of their values where all are numbers.
    Nothing is left out, filled in, shuffled, split or normalized: `split` and `Normalizer` do.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `target` is no column, names of columns are missing or used twice, a row has
            more or fewer values than the header, a value is missing, no number or not finite in
            float32, there are no rows or features, or classification has one class only. Line and
            column are named.

    Example:
        >>> table = read_table("iris.csv", target="species")  # doctest: +SKIP
        >>> (x, y), (x_test, y_test) = split(table.x, table.y, (0.8, 0.2))  # doctest: +SKIP
    """
    one_of("auto", "classification", "regression")("task", task)
    file = CsvFile(path, delimiter)
    at = file.find([target], "target")[0]
    taken = [k for k in range(len(file.names)) if k != at]
    if not taken:
        raise ValueError(f"{path} has the one column {target!r}; expected features beside it")
    x, texts = file.read(taken, at)
    y, classes = _target(file, at, texts, task)
    return Table(
        x,
        y,
        features=tuple(file.names[k] for k in taken),
        target=target,
        classes=classes,
        task="classification" if classes else "regression",
        name=file.path.stem,
    )


def read_features(
    path: str | PathLike[str], features: Sequence[str], delimiter: str = ","
) -> HostArray:
    """The columns `features` of a CSV file in this order, (n, features) in float32.

    For predictions: the file may have other columns, in another order, with or without a target.

    Raises:
        FileNotFoundError, ValueError: as `read_table`; a feature is no column of the file.
    """
    file = CsvFile(path, delimiter)
    return file.read(file.find(features, "features"))[0]


def _target(
    file: CsvFile, column: int, texts: Texts, task: str
) -> tuple[HostArray, tuple[str, ...]]:
    """`y` and the names of its classes."""
    for line, text in texts:
        if is_missing(text):
            raise file.bad_value(line, column, text)
    numbers = {text: as_number(text) for _, text in texts}
    values = {value for value in numbers.values() if value is not None}
    numeric = None not in numbers.values()
    if task == "auto":
        few = len(values) <= min(_CLASSES, len(texts) / 2)
        whole = all(value.is_integer() for value in values)
        task = "regression" if numeric and not (whole and few) else "classification"
    if task == "regression":
        y = np.empty(len(texts), np.float32)
        with np.errstate(over="ignore"):
            for k, (line, text) in enumerate(texts):
                y[k] = np.nan if (value := numbers[text]) is None else value
                if not np.isfinite(y[k]):
                    raise file.bad_value(line, column, text)
        return y, ()
    names: dict[str, str] = {text: text for text in numbers}
    order = sorted(names)
    if numeric:  # 1 and 1.0 are one class, and 10 comes after 9
        names = {text: f"{value:.17g}" for text, value in numbers.items()}
        order = sorted({*names.values()}, key=float)
    if len(order) == 1:
        raise ValueError(
            f"column {file.names[column]!r} of {file.path} holds nothing but {order[0]!r}; "
            "expected two classes or more"
        )
    number = {name: k for k, name in enumerate(order)}
    return np.array([number[names[text]] for _, text in texts], np.int64), tuple(order)
