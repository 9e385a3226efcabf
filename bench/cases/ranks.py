"""The network that several ranks train in section "ranks", and how much of it."""

from __future__ import annotations

from itertools import pairwise

from .sizes import RANKS_BATCH, RANKS_WIDTHS

WIDTHS = RANKS_WIDTHS
BATCH = RANKS_BATCH
PARAMETERS = sum(into * out + out for into, out in pairwise(WIDTHS))
LABEL = f"batch {BATCH}, {'-'.join(map(str, WIDTHS))}"
