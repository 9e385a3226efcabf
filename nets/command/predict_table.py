"""What `onepass predict MODEL FILE.csv` does."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from os import PathLike

from ..data.table import read_features
from ..saving.atomic_write import target_of, write_atomically
from ..types import Device, HostArray
from .table_model import TableModel, load_table_model


def predict_file(
    model: str | PathLike[str],
    data: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    probabilities: bool = False,
    delimiter: str = ",",
    missing: str | Sequence[str] | None = None,
    device: Device = "auto",
) -> None:
    """Apply a saved model to the rows of a CSV file, and print its predictions as CSV.

    Columns are found by name, in any order; others are passed over. One line is written for each
    row, in the same order, below the name of the target: the name of a class, or a number.

    Args:
        model: a file that `onepass train --data FILE.csv --save` wrote.
        data: the rows; their target may be there or not.
        out: the file to write, in UTF-8; None prints, in the output's encoding.
        probabilities: add a column for each class.
        delimiter, missing: as `read_features` takes them; None is what the model was trained with.

    Raises:
        FileNotFoundError, OSError: a file is not there, or can't be written.
        ValueError: the model is none, a column is missing, a value is no number, a regression
            was asked for probabilities, or a name can't be printed in the output's encoding; the
            message says what was expected.
    """
    target = None if out is None else target_of(out)
    loaded = load_table_model(model, device)
    if probabilities and not loaded.classes:
        raise ValueError(f"{model} predicts {loaded.target!r}, a number; expected no --proba")
    x = read_features(
        data, loaded.features, delimiter, loaded.missing if missing is None else missing
    )
    text = _text(loaded, x, probabilities)
    if target is None:
        _check_encoding(text)
        sys.stdout.write(text)
        return
    write_atomically(target, text.encode())
    print(f"{len(x)} predictions of {loaded.target!r} written to {out}")


def _check_encoding(text: str) -> None:
    """Refuse to print data in an encoding that lacks one of its letters.

    Reports have such letters escaped (see __main__); names of classes are to be read back.
    """
    encoding = sys.stdout.encoding or "utf-8"
    if sys.stdout.errors not in ("strict", "surrogateescape", "backslashreplace"):
        return  # what PYTHONIOENCODING=ascii:replace asks for
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the predictions hold {text[error.start : error.end]!r}, which output in {encoding} "
            "can't; expected an encoding that has all letters. Write a file with --out, which is "
            "in UTF-8, or set PYTHONIOENCODING=utf-8"
        ) from error


def _text(model: TableModel, x: HostArray, probabilities: bool) -> str:
    """The predictions as a CSV file."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    shares = [f"p({name})" for name in model.classes] if probabilities else []
    writer.writerow([model.target, *shares])
    if not model.classes:
        writer.writerows([number] for number in model.numbers(x).tolist())
        return lines.getvalue()
    names = [model.classes[k] for k in model.labels(x)]
    rows = model.probabilities(x) if probabilities else [()] * len(names)
    for name, row in zip(names, rows, strict=True):
        writer.writerow([name, *map(str, row)])
    return lines.getvalue()
