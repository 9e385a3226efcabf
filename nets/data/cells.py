"""The values of a CSV file: numbers, true and false, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

MISSING = ("?", "NA", "N/A", "#N/A", "<NA>", "NaN", "null", "None")
"""What stands for a value that is not there, beside nothing at all, where nobody says otherwise."""

_BOOLEANS = {"true": 1.0, "false": 0.0}


class Missing:
    """Which texts stand for a value that is not there: the empty one, and `texts`, in any case.

    A text that is a number, such as "-999", stands for all forms of it.

    Attributes:
        texts: as they were told, or None, for MISSING.
        numbers: those of them that are numbers.

    Raises:
        TypeError: `texts` is neither None nor a text nor several.
    """

    def __init__(self, texts: str | Sequence[str] | None = None) -> None:
        listed = MISSING if texts is None else (texts,) if isinstance(texts, str) else texts
        if not isinstance(listed, Sequence) or not all(isinstance(text, str) for text in listed):
            raise TypeError(
                f"missing is {texts!r}; expected texts that stand for a missing value, such as "
                "['NA', '-999']"
            )
        self.texts = None if texts is None else tuple(listed)
        self._words = {text.strip().lower() for text in listed} | {""}
        numbers = [as_number(text) for text in listed]
        self.numbers = [number for number in numbers if number is not None and not isnan(number)]

    def __contains__(self, text: str) -> bool:
        word = text.strip().lower()
        return word in self._words or as_number(word) in self.numbers


def as_number(text: str) -> float | None:
    """The number that `text` is, if it is one."""
    try:
        return None if "_" in text else float(text)  # Python takes 1_000 for a number
    except ValueError:
        return None


def as_value(text: str) -> float | None:
    """The number that `text` is, or 1 for true and 0 for false, in any case."""
    number = as_number(text)
    return _BOOLEANS.get(text.strip().lower()) if number is None else number
