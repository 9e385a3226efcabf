"""The passes of norms whose kernels are proven: each norm, with and without a residual, activation
and vectors; any other is made of the same statements."""

from __future__ import annotations

from typing import Any

from cases.norms import Case, make
from onepass.kernels.norms import norm
from onepass.kernels.norms.norm import backward_rows, forward_rows
from onepass.kernels.rows.skeleton import Rows

JOIN = "rows_join"
"""The kernel that adds up sums of columns, of all operations over rows."""

PASSES: dict[str, dict[str, Any]] = {
    "layer norm": {"operation": "layer_norm"},
    "layer norm, residual, GELU": {
        "operation": "layer_norm",
        "residual": True,
        "activation": "gelu",
    },
    "RMS norm, SiLU": {"operation": "rms_norm", "activation": "silu", "vectors": ""},
    "group norm, ReLU": {"operation": "group_norm", "activation": "relu"},
}
"""What `cases.norms.make` takes beside a shape."""


def rows_of(name: str) -> tuple[Rows, Rows]:
    """What a pass computes forward and backward."""
    how = PASSES[name]
    of, activation = getattr(norm, how["operation"].upper()), how.get("activation")
    forward = forward_rows(of, how.get("residual", False), activation)
    return forward, backward_rows(of, activation, how.get("vectors", "gamma beta") != "")


ROWS = {rows.name: rows for name in PASSES for rows in rows_of(name)}
"""By the names of their kernels."""


def case_of(name: str, shape: tuple[int, ...], dtype: str, **more: Any) -> Case:
    """Arguments of a pass; `shape` is (N, values), or of group norm (N, C, ...)."""
    return make(shape=shape, dtype=dtype, **PASSES[name], **more)
