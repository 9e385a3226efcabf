"""The CUDA C text of a captured step's own kernels, as plain text."""

from __future__ import annotations

from ..compiling.cuda_packs import RESIDENT, packed
from ..compiling.dtypes import C_TYPES
from ..gradient_norm import LEAST
from ..program.stops import CARE, NOT_FINITE
from ..rule import Rule
from ..rule_engines.cuda_text import parts
from ..rule_engines.cuda_text import symbol as rule_symbol

STEP, STOP, DRAWS, ORDER, FACTOR = range(5)
"""Words of the clock: the step within a run, from 0; why it ends, or 0; what is added to dropout's
draws; the address of the samples' numbers; the factor on gradients, a float64."""
CLOCK = 5
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

# The step's row of a table of float64, unless the step is not taken.
_ROW = """if (clock[STOP]) return;
    const double *row = table + (clock[STEP] - 1) * COLUMNS;"""

_NUMBERS = {
    "STEP": STEP, "STOP": STOP, "DRAWS": DRAWS, "ORDER": ORDER, "FACTOR": FACTOR,
    "NOT_FINITE": NOT_FINITE, "CARE": CARE, "LEAST": LEAST,
    "INFINITE": "(1.0 / 0.0)",
}  # fmt: skip


def take() -> str:
    """graph_take(source, room, bytes of a row, clock)."""
    return f"{_defines(_NUMBERS)}typedef int4 Wide;\n{_TAKE}"


def decide(metric: str, columns: int) -> str:
    """graph_decide for a metric of a dtype and a table of so many columns."""
    numbers = _NUMBERS | {"COLUMNS": columns, "METRIC": C_TYPES[metric]}
    return f"{_defines(numbers)}{_DECIDE}"


def step(rule: Rule, dtype: str) -> str:
    """`symbol`(*arrays, size, table, clock): a rule whose first coefficient is the factor on
    gradients, and is multiplied by that of the clock."""
    arrays, scalars, operation, preamble = parts(rule)
    first, *others = scalars
    values = [f"{first} = C(row[0] * ((const double *)clock)[FACTOR])"]
    values += [f"{name} = C(row[{k}])" for k, name in enumerate(others, 1)]
    defines = _defines(_NUMBERS | {"COLUMNS": len(scalars)})
    return packed(
        symbol(rule, dtype), dtype, arrays, scalars, operation, f"{preamble}{defines}",
        given="const double *table, const long long *clock",
        resident=RESIDENT // 2 if dtype == "float64" else RESIDENT,  # scalars take registers
        begin=f"{_ROW}\n    const C {', '.join(values)};",
    )  # fmt: skip


def symbol(rule: Rule, dtype: str) -> str:
    """What the text calls the kernel."""
    return f"{rule_symbol(rule, dtype)}_by_table"


def _defines(numbers: dict[str, object]) -> str:
    return "".join(f"#define {name} {number}\n" for name, number in numbers.items())
