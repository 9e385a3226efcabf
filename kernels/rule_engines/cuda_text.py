"""The CUDA C text of a rule on arrays without gaps: on one of each kind, or on chunks of many."""

from __future__ import annotations

from collections.abc import Mapping

from ..compiling.c_text import PREAMBLE, operation
from ..compiling.gpu.cuda_packs import (
    BOTH,
    FEWER,
    READ,
    RESIDENT,
    many_registers,
    packed,
    packed_chunks,
)
from ..compiling.python_text import array_names, scalar_names
from ..rule import Rule
from .cuda_clock import FACTOR, STEP, STOP

# The row of a table of float64 for the step and the chunk's group, unless the step is not taken.
_ROW = """if (clock[STOP]) return;
    const double *row = table + ((clock[STEP] - 1) * rows + groups[blockIdx.x]) * COLUMNS;"""


def symbol(rule: Rule, dtype: str, chunks: bool = False) -> str:
    """What the text calls the kernel."""
    return f"onepass_{rule.name.replace('-', '_')}_{dtype}{'_chunks' * chunks}"


def source(rule: Rule, dtype: str, chunks: bool = False) -> str:
    """The kernel's whole text: (*arrays, size, *coefficients), or for chunks of many arrays
    (*places, sizes, *coefficients)."""
    made = packed_chunks if chunks else packed
    return made(symbol(rule, dtype, chunks), dtype, *parts(rule))


def by_table(rule: Rule, dtype: str) -> str:
    """The same for chunks, `by_table_symbol`(*places, sizes, groups, rows, table, clock): a step's
    rows of `table`, one for each group, are its coefficients. The first is the factor on gradients,
    and is multiplied by that of the clock."""
    arrays, scalars, operation, preamble = parts(rule)
    first, *others = scalars
    values = [f"{first} = C(row[0] * ((const double *)clock)[FACTOR])"]
    values += [f"{name} = C(row[{k}])" for k, name in enumerate(others, 1)]
    large = dtype == "float64" or many_registers(arrays, dtype)  # scalars take registers, too
    words = {"STEP": STEP, "STOP": STOP, "FACTOR": FACTOR, "COLUMNS": len(scalars)}
    return packed_chunks(
        by_table_symbol(rule, dtype), dtype, arrays, scalars, operation,
        preamble + defines(words),
        given="const int *groups, const int rows, const double *table, const long long *clock",
        begin=f"{_ROW}\n    const C {', '.join(values)};",
        resident=RESIDENT // 2 if large else FEWER,
    )  # fmt: skip


def by_table_symbol(rule: Rule, dtype: str) -> str:
    """What that text calls the kernel."""
    return f"{symbol(rule, dtype)}_by_table"


def defines(numbers: Mapping[str, object]) -> str:
    """Words in capitals that stand for numbers in the text that follows."""
    return "".join(f"#define {name} {number}\n" for name, number in numbers.items())


def parts(rule: Rule) -> tuple[dict[str, str], tuple[str, ...], str, str]:
    """What kernels of packs are made of: arrays, scalars, operation, preamble."""
    arrays = {name: READ if name == "g" else BOTH for name in array_names(rule)}
    return arrays, scalar_names(rule), operation(rule, "C"), PREAMBLE
