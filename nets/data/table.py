"""Tables of numbers from CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from ...backend.checks.numbers import one_of
from ..types import HostArray
from .csv_file import CsvFile
from .target_column import read_target


@dataclass(frozen=True)
class Table:
    """Samples from a file, and what their columns are called.

    Attributes:
        x: (n, features), float64, a row a sample, in the order of the file.
        y: (n,): int64 class numbers 0..len(classes)-1, or float64 numbers of a regression.
        features: names of the columns of `x`.
        target: name of the column of `y`.
        classes: what the file calls class 0, 1, ..., as it stands there; () for a regression.
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
    path: str | PathLike[str],
    target: str,
    task: str = "auto",
    delimiter: str = ",",
    missing: str | Sequence[str] | None = None,
) -> Table:
    """Read a CSV file with a header: the column `target` is what to predict, all others features.

    Args:
        path: the file, in UTF-8. Quoted values may hold delimiters and line breaks; blank lines
            are passed over.
        target: the name of a column.
        task: "classification", "regression" or "auto", which takes the target for classes where a
            value is no number, or where all are whole numbers, of at most 20 different values,
            each met twice or more on average; else it is a regression.
        delimiter: one character; "tab" for a tabulator.
        missing: the texts that stand for a value which is not there, in any case, beside the empty
            one; a number, such as "-999", in all its forms. None: "?", "NA", "N/A", "#N/A", "<NA>",
            "NaN", "null" and "None"; but where the target holds names, those are names too, and
            only an empty one is missing. What is missing is refused, not filled in.

    True and false, in any case, are 1 and 0 in features and in the target of a regression.

    Classes are numbered in the order of their names, or of their values where all are numbers.
    They are called as in the file, without spaces around: 01000 remains so. 1 and 1.0 are one
    class, called as the first of its rows.

    Nothing is left out, filled in, shuffled, split or normalized: `split` and `Normalizer` do.
    Normalize in float64, as it is read; `fit` casts to what the network computes in.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `missing` is no text, nor several.
        ValueError: `target` is no column, names of columns are missing or used twice, a row has
            more or fewer values than the header, a value is missing, no number or not finite,
            there are no rows or features, or classification has one class only; or the target is
            of numbers with a decimal comma, dates and the like, and of too many for classes. Line
            and column are named.

    Example:
        >>> table = read_table("iris.csv", target="species")  # doctest: +SKIP
        >>> (x, y), (x_test, y_test) = split(table.x, table.y, (0.8, 0.2))  # doctest: +SKIP
    """
    one_of("auto", "classification", "regression")("task", task)
    file = CsvFile(path, delimiter, missing)
    at = file.find([target], "target")[0]
    taken = [k for k in range(len(file.names)) if k != at]
    if not taken:
        raise ValueError(f"{path} has the one column {target!r}; expected features beside it")
    x, texts = file.read(taken, at)
    y, classes = read_target(file, at, texts, task)
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
    path: str | PathLike[str],
    features: Sequence[str],
    delimiter: str = ",",
    missing: str | Sequence[str] | None = None,
) -> HostArray:
    """The columns `features` of a CSV file in this order, (n, features) in float64.

    For predictions: the file may have other columns, in another order, with or without a target.
    `delimiter` and `missing`, true and false are as `read_table` has them.

    Raises:
        FileNotFoundError, TypeError, ValueError: as `read_table`; a feature is no column of the
            file.
    """
    file = CsvFile(path, delimiter, missing)
    return file.read(file.find(features, "features"))[0]
