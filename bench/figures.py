"""The figures that this library promises, measured and written as JSON.

    python -m onepass.bench.figures                       # all of them, about 4 minutes
    python -m onepass.bench.figures results.json rules    # or batch-norm: one part, and a file

Every row is a ratio of medians of interleaved runs in one process, with what it must reach.
Correctness is asserted before anything is timed.
"""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..backend import describe_devices
from .allocator import keep_freed_memory
from .info import versions
from .norm_figures import norm_figures
from .rule_figures import rule_figures

PARTS = {"rules": rule_figures, "batch-norm": norm_figures}


def main(path: str | None = None, *parts: str) -> int:
    """Measure, print a table, write the JSON file if a path is given; 1 if a figure is missed."""
    for part in parts:
        if part not in PARTS:
            print(f"there is no part {part!r}; expected {' or '.join(PARTS)}", file=sys.stderr)
            return 2
    keep_freed_memory()
    console = Console()
    table = Table()
    for column in ("figure", "value", "must be", "reached"):
        table.add_column(column)
    rows = []
    measured = (row for part in parts or PARTS for row in PARTS[part]())
    for row in measured:
        rows.append(row)
        sign, need = ("<=", row["at_most"]) if "at_most" in row else (">=", row["at_least"])
        wanted = "" if need is None else f"{sign} {need}"
        reached = "" if need is None else "yes" if row["reached"] else "NO"
        console.print(f"{row['figure']}: {row['value']:.2f} {wanted} {reached}", highlight=False)
        table.add_row(row["figure"], f"{row['value']:.2f}", wanted, reached)
    console.print(table)
    if path:
        report = {
            "date": datetime.date.today().isoformat(),
            "versions": versions(),
            "hardware": [str(status) for status in describe_devices()],
            "rows": rows,
        }
        Path(path).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["reached"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
