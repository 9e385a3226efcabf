"""CSV files of numbers: every error names line and column."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np

from .paths import expanded
from .types import HostArray

Texts = list[tuple[int, str]]
"""The values of a column as they stand in the file, each with the number of its line."""

_LONGEST = (1 << 31) - 1
"""Characters of a value: a column of texts may be passed over. The csv module stops at 131,072."""

_MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}


class CsvFile:
    """A CSV file in UTF-8 with a header, whose `names` of columns are read at once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty or not in UTF-8, a column has no name or that of another, or
            `delimiter` is not one character.
    """

    def __init__(self, path: str | PathLike[str], delimiter: str) -> None:
        self.path, self.delimiter = expanded(path), delimiter
        if not self.path.is_file():
            raise FileNotFoundError(f"{path} is not a file; expected a CSV file with a header")
        if not isinstance(delimiter, str) or len(delimiter) != 1:
            raise ValueError(f"delimiter is {delimiter!r}; expected one character, such as ';'")
        header: tuple[int, list[str]] = next(self._lines(), (0, []))
        self.names = [name.strip() for name in header[1]]
        if not self.names:
            raise ValueError(f"{path} is empty; expected a CSV file with a header")
        for k, name in enumerate(self.names):
            if not name:
                raise ValueError(
                    f"column {k + 1} of {path} has no name; expected one in the first line (pandas "
                    "leaves its index out with to_csv(path, index=False))"
                )
            if name in self.names[:k]:
                raise ValueError(f"{path} has two columns {name!r}; expected different names")

    def find(self, columns: Sequence[str], argument: str) -> list[int]:
        """The numbers of these columns; ValueError, naming `argument`, where one is not there."""
        if absent := [name for name in columns if name not in self.names]:
            remedy = ""
            if len(self.names) == 1 and self.delimiter == ",":
                remedy = ". Is the delimiter another one? Say so, such as delimiter=';'"
            elif not any(as_number(name) is None for name in self.names):
                remedy = ". The first line holds numbers; put the names of the columns above it"
            raise ValueError(
                f"{argument} {', '.join(map(repr, absent))}: no such column in {self.path}; "
                f"expected some of {', '.join(map(repr, self.names))}{remedy}"
            )
        return [self.names.index(name) for name in columns]

    def read(self, columns: list[int], texts_of: int | None = None) -> tuple[HostArray, Texts]:
        """These columns as float32, (n, columns), and column `texts_of` as it stands.

        Raises:
            ValueError: there are no rows; one has more or fewer values than the header; a value is
                missing, no number or not finite in float32.
        """
        lines, found, texts = [], [], []
        rows = self._lines()
        next(rows)
        for line, row in rows:
            if len(row) != len(self.names):
                raise ValueError(
                    f"{self.path}, line {line} has {len(row)} values; expected {len(self.names)}, "
                    "one for each column of the header"
                )
            values = [row[k] for k in columns]
            try:
                numbers = np.array([float(text) for text in values])
                plain = "_" not in "".join(values)  # Python takes 1_000 for a number
            except ValueError:
                plain = False
            if not plain:
                k = next(k for k in columns if as_number(row[k]) is None)
                raise self.bad_value(
                    line, k, row[k], "; turn names into columns of 0 and 1 (one-hot), as "
                    "pandas.get_dummies does"
                )  # fmt: skip
            lines.append(line)
            found.append(numbers)
            if texts_of is not None:
                texts.append((line, row[texts_of].strip()))
        if not found:
            raise ValueError(f"{self.path} has no rows below the header; expected at least one")
        with np.errstate(over="ignore"):
            x = np.stack(found).astype(np.float32)
        for k, column in np.argwhere(~np.isfinite(x))[:1]:
            raise self.bad_value(lines[k], columns[column], str(found[k][column]))
        return x, texts

    def bad_value(self, line: int, column: int, text: str, remedy: str = "") -> ValueError:
        """The error for a value that is missing, no number, or not finite."""
        if is_missing(text):
            what, expected = "is missing", "a value; fill it in or leave the row out"
        elif as_number(text) is None:
            what, expected = f"holds {text[:40]!r}", f"a number{remedy}"
        else:
            what, expected = f"holds {text}", "a number that is finite in float32"
        return ValueError(
            f"{self.path}, line {line}: column {self.names[column]!r} {what}; expected {expected}"
        )

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Every row that is not blank, with the number of the line it starts in."""
        line, limit = 1, csv.field_size_limit(_LONGEST)
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self.delimiter, strict=True)
                for row in reader:
                    if row:
                        yield line, row
                    line = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is not in UTF-8 ({error}); save it so") from error
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {line}: {error}; expected a CSV file") from error
        finally:
            csv.field_size_limit(limit)


def is_missing(text: str) -> bool:
    """Whether `text` stands for a value that is not there."""
    return text.strip().lower() in _MISSING


def as_number(text: str) -> float | None:
    """The number that `text` is, if it is one."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
