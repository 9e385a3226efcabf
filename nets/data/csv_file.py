"""CSV files of numbers: every error names line and column."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike

import numpy as np

from ..paths import expanded
from ..types import HostArray
from .cells import Missing, as_number, as_value
from .look_alikes import look_of

Texts = list[tuple[int, str]]
"""The values of a column as they stand in the file, each with the number of its line."""

_LONGEST = (1 << 31) - 1
"""Characters of a value: a column of texts may be passed over. The csv module stops at 131,072."""

_TAB = {"tab", r"\t"}
"""How a shell is told of a tabulator."""

_ONE_HOT = "; turn names into columns of 0 and 1 (one-hot), as pandas.get_dummies does"


class CsvFile:
    """A CSV file in UTF-8 with a header, whose `names` of columns are read at once.

    `missing` knows which texts stand for a value that is not there.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `missing` is not what `Missing` takes.
        ValueError: it is empty or not in UTF-8, a column has no name or that of another, or
            `delimiter` is not one character (nor "tab").
    """

    def __init__(
        self,
        path: str | PathLike[str],
        delimiter: str,
        missing: str | Sequence[str] | None = None,
    ) -> None:
        self.path, self.missing = expanded(path), Missing(missing)
        self.delimiter = "\t" if str(delimiter).lower() in _TAB else delimiter
        if not self.path.is_file():
            raise FileNotFoundError(f"{path} is not a file; expected a CSV file with a header")
        if not isinstance(delimiter, str) or len(self.delimiter) != 1 or delimiter in '"\r\n\0':
            raise ValueError(
                f"delimiter is {delimiter!r}; expected one character, such as ';', or 'tab'"
            )
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
            if other := self._other_delimiter():
                remedy = f". Is the delimiter another one? Say so, such as delimiter={other!r}"
            elif not any(as_number(name) is None for name in self.names):
                remedy = ". The first line holds numbers; put the names of the columns above it"
            raise ValueError(
                f"{argument} {', '.join(map(repr, absent))}: no such column in {self.path}; "
                f"expected some of {', '.join(map(repr, self.names))}{remedy}"
            )
        return [self.names.index(name) for name in columns]

    def read(self, columns: list[int], texts_of: int | None = None) -> tuple[HostArray, Texts]:
        """These columns as float64, (n, columns), and column `texts_of` as it stands.

        Raises:
            ValueError: there are no rows; one has more or fewer values than the header; a value is
                missing, no number, neither true nor false, or not finite.
        """
        lines, found, texts = array("q"), array("d"), []
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
                found.extend(_numbers(values))
            except ValueError:
                k = next(k for k in columns if as_value(row[k]) is None)
                raise self.bad_value(line, k, row[k], _ONE_HOT) from None
            lines.append(line)
            if texts_of is not None:
                texts.append((line, row[texts_of].strip()))
        if not lines:
            raise ValueError(f"{self.path} has no rows below the header; expected at least one")
        x = np.array(found).reshape(len(lines), len(columns))
        refused = ~np.isfinite(x)
        if self.missing.numbers:
            refused |= np.isin(x, self.missing.numbers)
        for k, column in np.argwhere(refused)[:1]:
            at = columns[column]
            text = next(row[at] for line, row in self._lines() if line == lines[k])
            raise self.bad_value(lines[k], at, text)
        return x, texts

    def bad_value(self, line: int, column: int, text: str, remedy: str = "") -> ValueError:
        """The error for a value that is missing, no number, or not finite.

        `remedy` ends it for a text that has nothing of a number.
        """
        text = text.strip()
        what, expected = f"holds {text[:40]!r}", f"a number{remedy}"
        if text in self.missing:
            what = f"{what}, which stands for a missing value" if text else "is missing"
            expected = "a value; fill it in or leave the row out"
        elif as_number(text) is not None:
            what, expected = f"holds {text[:40]}", "a number that is finite in float64"
        elif look := look_of(text):
            what, expected = f"{what}, which looks like {look[0]}", f"a number; {look[1]}"
        return ValueError(
            f"{self.path}, line {line}: column {self.names[column]!r} {what}; expected {expected}"
        )

    def _other_delimiter(self) -> str:
        """The delimiter that the header seems to have instead, or nothing."""
        header = self.delimiter.join(self.names)
        likely = max("\t;|,", key=header.count)
        if header.count(likely) > header.count(self.delimiter):
            return "tab" if likely == "\t" else likely
        return " " if len(self.names) == 1 and " " in header else ""

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Every row that is not blank, with the number of the line it starts in."""
        line, limit = 1, csv.field_size_limit(_LONGEST)
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(self._text(file), delimiter=self.delimiter, strict=True)
                for row in reader:
                    if row:
                        yield line, row
                    line = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.path} is not in UTF-8 ({error}); save it so (Excel calls it 'CSV UTF-8')"
            ) from error
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {line}: {error}; expected a CSV file") from error
        finally:
            csv.field_size_limit(limit)

    def _text(self, file: Iterable[str]) -> Iterator[str]:
        """The lines of the file; ValueError where one holds a NUL.

        A first line such as "sep=;", by which Excel is told the delimiter, is passed over.
        """
        for number, text in enumerate(file, 1):
            if "\0" in text:
                raise ValueError(
                    f"{self.path}, line {number} holds a NUL character: the file is binary, "
                    "damaged or in UTF-16; expected a CSV file, saved in UTF-8"
                )
            yield "\n" if number == 1 and re.fullmatch(r"sep=.\s*", text) else text


def _numbers(values: list[str]) -> list[float]:
    """The numbers that all these texts are; ValueError if one is none."""
    try:
        if "_" not in "".join(values):
            return [float(text) for text in values]
    except ValueError:  # the quick way is for numbers alone
        pass
    found = [number for text in values if (number := as_value(text)) is not None]
    if len(found) < len(values):
        raise ValueError
    return found
