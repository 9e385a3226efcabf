"""The CUDA C text of a captured step's own kernels, as plain text."""

from __future__ import annotations

from ..compiling.dtypes import C_TYPES
from ..gradient_norm import LEAST
from ..program.stops import CARE, NOT_FINITE
from ..rule_engines.cuda_clock import DRAWS, FACTOR, ORDER, STEP, STOP
from ..rule_engines.cuda_text import defines

TAKE, DECIDE = "graph_take", "graph_decide"

# A block a row: row k of `room` is row order[step * rows + k] of `source`.
_TAKE = """
extern "C" __global__ void graph_take(
    const char *source, char *room, const long long nbytes, const long long *clock
) {
    const long long *order = (const long long *)clock[ORDER];
    const long long row = order[clock[STEP] * gridDim.x + blockIdx.x];
    const char *from = source + row * nbytes;
    char *to = room + blockIdx.x * nbytes;
    const bool aligned = ((size_t)source | (size_t)room | (size_t)nbytes) % sizeof(Wide) == 0;
    const long long wide = aligned ? nbytes / sizeof(Wide) : 0;
    const int first = threadIdx.x, all = blockDim.x;
    for (long long k = first; k < wide; k += all) ((Wide *)to)[k] = ((const Wide *)from)[k];
    for (long long k = wide * sizeof(Wide) + first; k < nbytes; k += all) to[k] = from[k];
}
"""

# One thread. Loss and metric of the step go where the run's are; then it is decided whether the
# step is taken, and what its gradients are multiplied by.
_DECIDE = """
extern "C" __global__ void graph_decide(
    const double *loss, const METRIC *metric, const double *squares, const double most,
    const double *table, double *losses, double *metrics, long long *clock
) {
    if (clock[STOP]) return;
    const long long step = clock[STEP];
    losses[step] = *loss;
    metrics[step] = (double)*metric;
    double factor = 1;
    if (!(fabs(*loss) < INFINITE)) clock[STOP] = NOT_FINITE;
    else if (squares) {
        const double norm = fabs(table[step * COLUMNS]) * sqrt(*squares);
        if (*squares != 0 && !(*squares >= LEAST && *squares < INFINITE)) clock[STOP] = CARE;
        if (norm > most) factor = most / norm;
    }
    if (clock[STOP]) return;
    ((double *)clock)[FACTOR] = factor;
    clock[STEP] = step + 1;
    ++clock[DRAWS];
}
"""

_NUMBERS = {
    "STEP": STEP, "STOP": STOP, "DRAWS": DRAWS, "ORDER": ORDER, "FACTOR": FACTOR,
    "NOT_FINITE": NOT_FINITE, "CARE": CARE, "LEAST": LEAST,
    "INFINITE": "(1.0 / 0.0)",
}  # fmt: skip


def take() -> str:
    """graph_take(source, room, bytes of a row, clock)."""
    return f"{defines(_NUMBERS)}typedef int4 Wide;\n{_TAKE}"


def decide(metric: str, columns: int) -> str:
    """graph_decide for a metric of a dtype and a table of so many columns."""
    numbers = _NUMBERS | {"COLUMNS": columns, "METRIC": C_TYPES[metric]}
    return f"{defines(numbers)}{_DECIDE}"
