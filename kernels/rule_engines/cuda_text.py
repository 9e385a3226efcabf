"""The CUDA C text of a rule on arrays without gaps."""

from __future__ import annotations

from ..compiling.c_text import PREAMBLE, operation
from ..compiling.cuda_packs import BOTH, READ, packed
from ..compiling.python_text import array_names, scalar_names
from ..rule import Rule


def symbol(rule: Rule, dtype: str) -> str:
    """What the text calls the kernel."""
    return f"onepass_{rule.name.replace('-', '_')}_{dtype}"


def source(rule: Rule, dtype: str) -> str:
    """The kernel's whole text: (*arrays, size, *coefficients)."""
    arrays = {name: READ if name == "g" else BOTH for name in array_names(rule)}
    name = symbol(rule, dtype)
    return packed(name, dtype, arrays, scalar_names(rule), operation(rule, "C"), PREAMBLE)
