"""How paths look in plots: readable in black and white, the same in every plot.

Every path has a colour of Okabe and Ito's palette or Tol's, a marker, a line style and a hatch.
Paths that never meet in one plot share a look: those of this library all wear the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple


class Look(NamedTuple):
    """How a path is drawn."""

    color: str
    marker: str
    line: Any
    hatch: str


OURS = Look("#D55E00", "o", "-", "")
"""Of this library's paths, drawn above the others."""

LIMIT = Look("#000000", "", "--", "----")
"""Of what no path can beat; its bars are white."""

LOOKS = {
    "must move": LIMIT,
    "numba": OURS,
    "cupy": OURS,
    "flat": OURS,
    "onepass": OURS,
    "captured": OURS,
    "plain": Look("#0072B2", "s", "-", "///"),
    "array": Look("#0072B2", "s", "-", "///"),
    "tuned": Look("#56B4E9", "^", (0, (5, 1.5)), "..."),
    "serial": Look("#E69F00", "v", "-.", "\\\\\\"),
    "numba-cuda": Look("#E69F00", "v", "-.", "\\\\\\"),
    "separate": Look("#E69F00", "v", "-.", "\\\\\\"),
    "apart": Look("#E69F00", "v", "-.", "\\\\\\"),
    "limit": LIMIT,
    "product": LIMIT,
    "loop": Look("#777777", "*", ":", "xxxx"),
    "torch": Look("#009E73", "D", ":", "++"),
    "torch fused": Look("#009E73", "D", ":", "++"),
    "torch foreach": Look("#CC79A7", "P", (0, (3, 1, 1, 1)), "xx"),
    "torch for-loop": Look("#F0E442", "X", (0, (1, 1)), "oo"),
    "deepspeed": Look("#777777", "h", (0, (4, 1, 1, 1, 1, 1)), "**"),
    "jax": Look("#332288", "<", (0, (2, 1)), "||"),
    "jax scan": Look("#332288", "<", (0, (2, 1)), "||"),
    "jax step": Look("#CC79A7", "P", (0, (3, 1, 1, 1)), "xx"),
    "torch compile": Look("#882255", ">", (0, (6, 1, 1, 1)), "--"),
    "float32": Look("#0072B2", "s", "-", "///"),
    "bfloat16": Look("#E69F00", "v", "-.", "\\\\\\"),
    "8bit": OURS,
    "limit float32": LIMIT,
    "limit bfloat16": Look("#555555", "", (0, (5, 2)), "----"),
    "limit 8bit": Look("#999999", "", (0, (2, 2)), "----"),
    "bitsandbytes": Look("#882255", ">", (0, (6, 1, 1, 1)), "--"),
    "torchao": Look("#CC79A7", "P", (0, (3, 1, 1, 1)), "xx"),
    "sklearn": Look("#777777", "h", (0, (4, 1, 1, 1, 1, 1)), "**"),
    "sklearn one thread": Look("#56B4E9", "^", (0, (5, 1.5)), "..."),
    "alone": Look("#332288", "<", (0, (2, 1)), "||"),
    "alone, one thread": Look("#777777", "*", ":", "xxxx"),
    "1 rank": Look("#56B4E9", "^", (0, (5, 1.5)), "..."),
    "2 ranks": OURS,
    "2 ranks, sharded": Look("#E69F00", "v", "-.", "\\\\\\"),
    "4 ranks": Look("#117733", "p", (0, (3, 1)), "OO"),
    "4 ranks, sharded": Look("#AA4499", "d", (0, (4, 2)), "oo"),
    "exchange": Look("#0072B2", "s", "-", "///"),
    "compute": Look("#882255", ">", (0, (6, 1, 1, 1)), "--"),
    "one after another": Look("#CC79A7", "P", (0, (3, 1, 1, 1)), "xx"),
    "at once": Look("#009E73", "D", ":", "++"),
    "polled": Look("#F0E442", "X", (0, (1, 1)), "oo"),
    "sklearn without batch norm": Look("#777777", "h", (0, (4, 1, 1, 1, 1, 1)), "**"),
}
"""By path, in the order in which legends and bars list them."""

_OTHER = Look("#999999", "d", (0, (1, 2)), "o")

SIZE_LOOKS = (("#56B4E9", ""), ("#E69F00", "///"), ("#0072B2", "xxx"))
"""Colour and hatch of a small, a middle and a large size."""

_STYLE: dict[Any, Any] = {  # the type of its keys differs from release to release
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "svg.fonttype": "path",
    "text.parse_math": False,
}


def look(path: str) -> Look:
    """The look of a path; those that are not in the list share one."""
    return LOOKS.get(path, _OTHER)


def order(paths: Iterable[str]) -> list[str]:
    """Each path once, in the order of the looks, those without one last."""
    known = list(LOOKS)
    return sorted(dict.fromkeys(paths), key=lambda p: known.index(p) if p in known else len(known))


def style() -> AbstractContextManager[None]:
    """The settings under which figures are made and saved.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib, which is not installed; pip install "onepass[plot]"'
        ) from error
    return rc_context(_STYLE)
