"""The measured tables of nets/estimators/README.md, from the last result of section "estimators".

    python tests/documents/estimator_table.py

writes them between the file's two markers. `test_estimator_table.py` holds the file to the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onepass.bench.report.record import Report, read_report
from onepass.bench.report.sheet import Sheet
from onepass.bench.report.sheets import sheets

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "nets" / "estimators" / "README.md"
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

COMMAND = "onepass bench --only estimators"
ABOUT = """Both at equal settings: one hidden layer of 100 with ReLU, batches of 200 (all rows
where there are fewer), Adam at 0.001, alpha 0.0001, float32, rows scaled beforehand, and nothing
that ends a training early. From the same weights both take the same steps, which is asserted
before anything is timed. **An epoch** is a whole `fit` over its epochs, the two taking turns,
medians; **one thread** is scikit-learn with matrix products on one core. **Same score** is 98 %
of the smaller of the two last scores on held-out rows, and the time is that of as many epochs.
**Peak memory** is what Python and NumPy hold at most during a `fit` of one epoch, beside the
rows, in a run of its own. Another seed is another start, order and held-out part (of MNIST, its
own)."""


def newest() -> Path | None:
    """The last result file that has the section, by its name, which begins with the date."""
    return max(RESULTS.glob("*-estimators.json"), default=None)


def measured(report: Report, name: str) -> str:
    """What stands between the markers."""
    found = [sheet for sheet in sheets(report) if sheet.section == "estimators"]
    tables = "\n\n".join("\n".join(_table(sheet)) for sheet in found)
    where = f"[{name}](../../bench/results/{name})"
    return f"{ABOUT}\n\n{tables}\n\n{report.hardware[0]}; {where}, of `{COMMAND}`."


def not_measured() -> str:
    """What stands there before there is a result."""
    return f"{ABOUT}\n\nNo result is kept yet; `{COMMAND}` measures one."


def document(before: str) -> str:
    """The file's text, with what is measured now.

    Raises:
        ValueError: a marker is missing.
    """
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{FILE} lacks {BEGIN!r} or {END!r} after it; expected both, a line each")
    path = newest()
    text = not_measured() if path is None else measured(read_report(path), path.name)
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def _table(sheet: Sheet) -> Iterator[str]:
    yield _line(column.strip().replace("\n", " ") for column in sheet.columns)
    yield _line("---" if k < sheet.words else "---:" for k in range(len(sheet.columns)))
    yield from map(_line, sheet.rows)


def _line(cells: Iterator[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    FILE.write_text(document(FILE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {FILE}")
