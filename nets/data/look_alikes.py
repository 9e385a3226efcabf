"""Texts that are no numbers but look like some in another writing, dates among them."""

from __future__ import annotations

import re

_LOOKS = (
    (
        r"[+-]?\d{1,3},\d{3}",
        "a number with a decimal comma, or with a comma between thousands",
        "write {0} or {1}, whichever is meant (pandas.read_csv takes decimal=',' or thousands=',', "
        "to_csv writes what is expected here)",
    ),
    (
        r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?",
        "a number with a decimal comma",
        "write {0} (pandas.read_csv reads such a file with decimal=',', to_csv writes what is "
        "expected here)",
    ),
    (
        r"[+-]?\d{1,3}(([,\s'\u2019_]\d{3})+(\.\d*)?|(\.\d{3}){2,})|[+-]?\d+(_\d+)+",
        "a number with a separator between thousands",
        "write {1} (pandas.read_csv reads such a file with thousands={2!r}, to_csv writes what is "
        "expected here)",
    ),
    (
        r"[+-]?[\d.,]*\d\s?%",
        "a percentage",
        "write the number alone, in every row alike",
    ),
    (
        r"[+-]?\s?[$€£¥]\s?[+-]?[\d.,]*\d|[+-]?[\d.,]*\d\s?[$€£¥]",
        "an amount of money",
        "write the number alone, in every row alike",
    ),
    (
        r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d\d)"
        r"|\d{1,2}[- ]?[A-Za-z]{3}[- ]?(\d{4}|\d\d))([T ]+\d{1,2}:\d\d.*)?|\d{1,2}:\d\d(:\d\d.*)?",
        "a date or a time",
        "make a number of it, such as the days since a fixed date: "
        "(pandas.to_datetime(column) - pandas.Timestamp('2000-01-01')) / pandas.Timedelta(days=1)",
    ),
)
"""Pattern, what it looks like, remedy: {0} is the text with a decimal point for its comma, {1}
without separators, {2} the first separator."""


def look_of(text: str) -> tuple[str, str] | None:
    """What a text that is no number looks like nevertheless, and the remedy; None if nothing."""
    text = text.strip()
    for pattern, look, remedy in _LOOKS:
        if re.fullmatch(pattern, text):
            separators = re.findall(r"[,\s'\u2019_]", text) or ["."]
            point, bare = text.replace(".", "").replace(",", "."), text
            for separator in separators:
                bare = bare.replace(separator, "")
            return look, remedy.format(point, bare, separators[0])
    return None
