"""The column that is to be predicted: classes, or the numbers of a regression."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from math import isfinite

import numpy as np

from ..types import HostArray
from .cells import as_number, as_value
from .csv_file import CsvFile, Texts
from .look_alikes import look_of

_CLASSES = 20
"""Whole numbers of at most as many different values are taken for classes."""

Values = Mapping[str, float | None]
"""Each text of the column, in the order of the file, and the number that it is, if any."""


def read_target(
    file: CsvFile, column: int, texts: Texts, task: str
) -> tuple[HostArray, tuple[str, ...]]:
    """`y`, (n,), and what the file calls class 0, 1, ..., as `read_table` tells.

    int64 class numbers, or float64 numbers and no names.

    Raises:
        ValueError: a value is missing or, of a regression, no finite number; there is one class.
    """
    values = {text: as_number(text) for _, text in texts}
    missing = {text for text in values if text in file.missing}
    told = [text for text in values if text not in missing]
    names = [text for text in told if values[text] is None]
    if task != "regression" and file.missing.texts is None and (names or not told):
        missing &= {""}  # among names, "NA" is one
    for line, text in texts:
        if text in missing:
            remedy = ""
            if text and task != "regression":
                remedy = ". If a class is called so, say what else is missing, or missing=''"
            raise ValueError(f"{file.bad_value(line, column, text)}{remedy}")
    if task == "auto":
        task = _task_of(values, len(texts))
        if task == "classification" and names and not _are_few(values, len(texts)):
            _refuse_numbers_in_other_writing(file, column, texts, names)
    return (_numbers if task == "regression" else _classes)(file, column, texts, values)


def _task_of(values: Values, rows: int) -> str:
    whole = [value is None or value.is_integer() for value in values.values()]
    named = None in values.values()
    return "classification" if named or (all(whole) and _are_few(values, rows)) else "regression"


def _are_few(values: Collection[str], rows: int) -> bool:
    return len({_identity(text) for text in values}) <= min(_CLASSES, rows / 2)


def _refuse_numbers_in_other_writing(
    file: CsvFile, column: int, texts: Texts, names: list[str]
) -> None:
    """Refuse to take a column of numbers for classes because some have a decimal comma, say."""
    if all(map(look_of, names)):
        line = next(line for line, text in texts if text == names[0])
        raise ValueError(
            f"{file.bad_value(line, column, names[0])}. If these are the names of classes, say so: "
            "task='classification'"
        )


def _numbers(
    file: CsvFile, column: int, texts: Texts, values: Values
) -> tuple[HostArray, tuple[str, ...]]:
    numbers = {text: as_value(text) for text in values}
    for line, text in texts:
        if (value := numbers[text]) is None or not isfinite(value):
            raise file.bad_value(line, column, text)
    return np.array([numbers[text] for _, text in texts], np.float64), ()


def _classes(
    file: CsvFile, column: int, texts: Texts, values: Values
) -> tuple[HostArray, tuple[str, ...]]:
    numeric = all(value is not None and isfinite(value) for value in values.values())
    identity = {text: _identity(text) if numeric else text for text in values}
    first: dict[object, str] = {}
    for text in values:
        first.setdefault(identity[text], text)
    order = sorted(first.values(), key=_magnitude if numeric else None)
    if len(order) == 1:
        raise ValueError(
            f"column {file.names[column]!r} of {file.path} holds nothing but {order[0]!r}; "
            "expected two classes or more"
        )
    number = {identity[text]: k for k, text in enumerate(order)}
    return np.array([number[identity[text]] for _, text in texts], np.int64), tuple(order)


def _identity(text: str) -> object:
    """What makes two numbers one class: 1 and 1.0 are; 01, a code, and 1e0 are others."""
    whole = re.fullmatch(r"([+-]?(?:0|[1-9][0-9]{0,307}))(?:\.0*)?", text)
    return int(whole[1]) if whole else text


def _magnitude(text: str) -> tuple[float, int, str]:
    """Sorts finite numbers by their value, whole ones of any size too."""
    return float(text), int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else 0, text
