"""Why a run of captured steps ends before its time."""

from __future__ import annotations

NOT_FINITE, CARE = 1, 2
"""A loss is not finite; or a norm is better taken by `kernels.global_norm`."""
