"""The measured tables of documents, from the last results of their sections of the benchmark.

    python tests/documents/measured_tables.py

writes them between each file's two markers. `test_measured_tables.py` holds the files to the
results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onepass.bench.report.record import Report, read_report
from onepass.bench.report.sheets.all_sheets import sheets
from onepass.bench.report.sheets.sheet import Sheet, without_empty_columns

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

ESTIMATORS = """Both at equal settings: one hidden layer of 100 with ReLU, batches of 200 (all rows
where there are fewer), Adam at 0.001, alpha 0.0001, float32, rows scaled beforehand, and nothing
that ends a training early. From the same weights both take the same steps, which is asserted
before anything is timed. **An epoch** is a whole `fit` over its epochs, the two taking turns,
medians; **one thread** is scikit-learn with matrix products on one core. **Same score** is 98 %
of the smaller of the two last scores on held-out rows, and the time is that of as many epochs.
**Peak memory** is what Python and NumPy hold at most during a `fit` of one epoch, beside the
rows, in a run of its own. Another seed is another start, order and held-out part (of MNIST, its
own)."""

RANKS = """Float32, Adam, medians of blocks that take turns; what is not timed sleeps meanwhile.
**Alone** is `fit` without `comm`, on all cores or on one thread; ranks have an equal share of the
cores. All must have the same parameters after some steps, before anything is timed. An **exchange**
is a reduce-scatter and an all-gather of so many parameters, a **meeting** the sum by which ranks
keep in step, an **update** Adam's step by itself. **Overlap** is a reduce-scatter and matrix
products of about its time: each by itself, one after the other, at once, and **polled**: at once,
with a call of MPI between two products. Bytes are counted, the most of any rank; **held** are
parameters, gradients, states, and the scratch in which MPI adds up. The **model** is that above:
alpha and beta are fitted to the meeting and the exchange of 1e6 of two ranks, so that these two
rows agree by themselves."""

STATE_FORMATS = """Float32 parameters and gradients, medians of blocks that take turns. **Quicker**:
how many times as quick a step is as in float32; **its limit**: as much for a loop that moves the
same bytes around one addition. Of the others: their time over ours in 8 bits; torch fused and
DeepSpeed have states in float32, bitsandbytes and torchao in 8 bits, rounded to the nearest."""


@dataclass(frozen=True)
class Table:
    """What a document says of a section: `about` it, then what was measured."""

    file: Path
    section: str
    about: str

    @property
    def command(self) -> str:
        return f"onepass bench --only {self.section}"

    def newest(self) -> Path | None:
        """The last result file of the section, by its name, which begins with the date."""
        return max(RESULTS.glob(f"*-{self.section}.json"), default=None)

    def measured(self, report: Report, name: str) -> str:
        """What stands between the markers."""
        found = [sheet for sheet in sheets(report) if sheet.section == self.section]
        tables = "\n\n".join("\n".join(_lines(without_empty_columns(sheet))) for sheet in found)
        where = f"[{name}](../../bench/results/{name})"
        return f"{self.about}\n\n{tables}\n\n{report.hardware[0]}; {where}, of `{self.command}`."

    def not_measured(self) -> str:
        """What stands there before there is a result."""
        return f"{self.about}\n\nNo result is kept yet; `{self.command}` measures one."

    def document(self, before: str) -> str:
        """The file's text, with what is measured now.

        Raises:
            ValueError: a marker is missing.
        """
        head, begin, rest = before.partition(BEGIN)
        _, end, tail = rest.partition(END)
        if not (begin and end):
            raise ValueError(
                f"{self.file} lacks {BEGIN!r} or {END!r} after it; expected both, a line each"
            )
        path = self.newest()
        text = self.not_measured() if path is None else self.measured(read_report(path), path.name)
        return f"{head}{BEGIN}\n{text}\n{END}{tail}"


TABLES = {
    table.section: table
    for table in (
        Table(ROOT / "nets" / "estimators" / "README.md", "estimators", ESTIMATORS),
        Table(ROOT / "nets" / "parallel" / "README.md", "ranks", RANKS),
        Table(ROOT / "kernels" / "state_formats" / "README.md", "state-formats", STATE_FORMATS),
    )
}


def _lines(sheet: Sheet) -> Iterator[str]:
    yield _line(column.strip().replace("\n", " ") for column in sheet.columns)
    yield _line("---" if k < sheet.words else "---:" for k in range(len(sheet.columns)))
    yield from map(_line, sheet.rows)


def _line(cells: Iterator[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for table in TABLES.values():
        table.file.write_text(
            table.document(table.file.read_text(encoding="utf-8")), encoding="utf-8"
        )
        print(f"wrote {table.file}")
