"""The CUDA C text of a rule on arrays without gaps."""

from __future__ import annotations

from ..compiling.c_text import PREAMBLE, operation
from ..compiling.cuda_packs import BOTH, READ, packed, packed_chunks
from ..compiling.python_text import array_names, scalar_names
from ..rule import Rule


def symbol(rule: Rule, dtype: str, chunks: bool = False) -> str:
    """What the text calls the kernel."""
    return f"onepass_{rule.name.replace('-', '_')}_{dtype}{'_chunks' * chunks}"


def source(rule: Rule, dtype: str, chunks: bool = False) -> str:
    """The kernel's whole text: (*arrays, size, *coefficients), or for chunks of many arrays
    (*places, sizes, *coefficients)."""
    made = packed_chunks if chunks else packed
    return made(symbol(rule, dtype, chunks), dtype, *parts(rule))


def parts(rule: Rule) -> tuple[dict[str, str], tuple[str, ...], str, str]:
    """What kernels of packs are made of: arrays, scalars, operation, preamble."""
    arrays = {name: READ if name == "g" else BOTH for name in array_names(rule)}
    return arrays, scalar_names(rule), operation(rule, "C"), PREAMBLE
