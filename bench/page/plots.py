"""The list of every plot of a report, drawn with matplotlib; looks.py says how paths look.

plot_steps.py         one step against size, its gain, its peers, its bytes
plot_break_even.py    from where on ours is faster
plot_growth.py        how cost grows
plot_bars.py          every other section, a bar a path
plot_training.py      loss and accuracy against seconds
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from ..report.record import Report
from .looks import style
from .plot import Plot
from .plot_bars import bar_plots
from .plot_break_even import break_even_plots
from .plot_growth import growth_plots
from .plot_steps import step_plots
from .plot_training import training_plots

PARTS = (step_plots, break_even_plots, growth_plots, bar_plots, training_plots)
"""What makes plots of a report, in the order in which pages show them."""


def plots(report: Report) -> list[Plot]:
    """Every plot that the report has data for.

    Raises:
        ImportError: matplotlib is missing.
    """
    found: dict[str, Plot] = {}
    with style():
        for part in PARTS:
            for plot in part(report):
                name = _file_name(plot.name, found)
                found[name] = replace(plot, name=name)
    return list(found.values())


def _file_name(words: str, taken: Collection[str]) -> str:
    """Letters, digits and hyphens; a number follows where the name is taken."""
    name = stem = re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-")
    number = len(taken)
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name
