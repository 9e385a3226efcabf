"""A report as tables on a terminal, within 80 columns; page.py shows the same sheets in HTML.

steps, float32, cpu

                           of     over  over best
 rule   size    time   GB/s   limit    array       peer
---------------------------------------------------------
 adam   1e6   5.7 ms    4.9     90%     10 x     2.00 x
"""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .record import Report
from .sheets.all_sheets import sheets
from .sheets.sheet import Sheet
from .words import headline


def print_report(report: Report, console: Console) -> None:
    """Print the headline and the sheets of `report`, without the details.

    Words of the report are printed as they are: "[bold]" in a label is no markup.
    """
    console.print(Text(headline(report), "bold"))
    for sheet in sheets(report):
        if not sheet.detail:
            console.print(Text("\n" + sheet.title, "bold"))
            console.print(_table(sheet))


def _table(sheet: Sheet) -> Table:
    """Columns of words fold where they are too long; numbers are never cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for k, column in enumerate(sheet.columns):
        if k < sheet.words:
            table.add_column(Text(column), overflow="fold")
        else:
            table.add_column(Text(column), justify="right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table
