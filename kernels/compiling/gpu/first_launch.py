"""Which machine code this process has run, so that none is missing in the middle of a call.

CuPy and Numba compile a kernel at its first launch, for the kinds of its arrays, and that can fail.
So where a call launches several, the first time nothing that a user sees stays written until all
were compiled: a rule's engine keeps copies of what goes ahead, batch normalization averages in
copies, Numba's softmax launches its last kernel ahead. Launches of compiled code take no memory.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from ....backend import Array

_WIDE = 1 << 31  # bytes of memory from which CuPy indexes in 64 bits
_compiled: set[Hashable] = set()


def is_new(code: Hashable) -> bool:
    """Whether the machine code so described has not run yet."""
    return code not in _compiled


def remember(codes: Iterable[Hashable]) -> None:
    """That all of it was compiled."""
    _compiled.update(codes)


def index_widths(arrays: Iterable[Array]) -> tuple[bool, ...]:
    """Of which arrays CuPy takes the index for one of 64 bits, which is code of its own."""
    return tuple((a if a.base is None else a.base).nbytes > _WIDE for a in arrays)
