"""The sheets of what depends on the size: exponents of cost, and from where on it pays.

How both are computed is in exponents.py and ratios.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..exponents import growths
from ..ratios import PEERS, break_evens
from ..record import Report
from ..words import break_even_words
from .sheet import Sheet, once


def exponents(report: Report) -> Iterator[Sheet]:
    """k in time ~ size^k: this library's paths in a row, and every path with its local slopes.

    The short sheet leaves other libraries' paths out; the detailed one has a row for each path.
    """
    curves = growths(report)
    for here in dict.fromkeys((one.section, one.dtype, one.device) for one in curves):
        found = [one for one in curves if (one.section, one.dtype, one.device) == here]
        paths = dict.fromkeys(one.path for one in found if not one.path.startswith(PEERS))
        table: dict[str, dict[str, str]] = {}
        rows = []
        for one in found:
            slope = f"{one.upper:.2f}"
            table.setdefault(one.operation, {})[one.path] = slope
            local = " ".join(f"{part:.2f}" for part in one.local)
            rows.append((one.operation, one.path, local, slope))
        title = f"Exponents k of time ~ size^k, upper half of the sizes: {', '.join(here)}"
        short = [(name, *(row.get(path, "") for path in paths)) for name, row in table.items()]
        yield Sheet("exponents", title, ("operation", *paths), short)
        columns = ("operation", "path", "k from size to size", "k, upper half")
        title = f"Exponents of every path: {', '.join(here)}"
        yield Sheet("exponents", title, columns, once(rows), words=3, detail=True)


def break_even_points(report: Report) -> Sheet:
    """The size from which each operation is faster than array expressions."""
    rows = [
        (
            f"{found.section}, {found.operation}",
            f"{found.dtype} {found.device}",
            break_even_words(found),
        )
        for found in break_evens(report)
    ]
    columns = ("break-even", "where", "faster than array")
    return Sheet("break-even", "From where on it pays", columns, rows, words=3)
