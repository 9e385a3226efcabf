"""Engine "numba": one loop over memory on the CPU, in SIMD instructions, threaded where it pays.

- Small arrays: the compiled loop is called directly (about 1 us), on the caller's core; it also
  checks what Python would take longer to check.
- From 6 MB on, a crew of threads shares the loop (crew.py); from 1 MB on, if helpers are awake.
- Any other layout, and float16: NumPy's iterator hands the loop cache-sized contiguous pieces,
  converted where needed, and writes them back: still one pass over memory, no whole copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backend import Array, EngineUnavailableError
from ..rule import Rule
from . import source
from .base import Engine, compute_dtype
from .crew import REFUSED, get_crew
from .numba_loops import FIRST_SCALAR, TYPES, guarded_loop, loop, posted_loop, shared_loop
from .usable import numba_missing, numba_usable

if TYPE_CHECKING:  # compiled when it is first needed: by a step over several arrays
    from .bundle import Bundle

HELPED = 1 << 20  # bytes of all arrays together from which helpers share a loop if they are awake
SHARED = 6 << 20  # and from which they are woken for it
PIECE = 8192  # elements of a piece of a strided array
_PLAIN_ARRAYS = {np.ndarray}


class NumbaEngine(Engine):
    """Compiles each rule when it is first used, and keeps the machine code on disk."""

    name = "numba"
    devices = ("cpu",)

    def __init__(self) -> None:
        get_crew()  # a wrong ONEPASS_NUM_THREADS is told now, not at the first large step

    def missing(self) -> tuple[str, str]:
        return numba_missing()

    def quick(self, rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> bool:
        first = arrays[0]
        dtype = first.dtype
        if (
            {*map(type, arrays)} != _PLAIN_ARRAYS
            or first.ndim != 1
            or dtype not in TYPES
            or any(array.dtype is not dtype for array in arrays)  # Numba takes swapped bytes too
        ):
            return False
        try:
            if first.nbytes * len(arrays) < HELPED:
                return guarded_loop(rule, dtype)(*arrays, *coefficients)
            return _posted(rule, arrays, coefficients)
        except (TypeError, EngineUnavailableError):  # other types than compiled for, or no compiler
            return False

    def bundle(self, columns: Sequence[Sequence[Array]]) -> Bundle | None:
        if not numba_usable():
            return None
        from .bundle import bundle_of

        return bundle_of(columns)

    def run_bundle(self, rule: Rule, bundle: Bundle, coefficients: tuple[float, ...]) -> None:
        from .bundle import walk

        job = bundle.job(shared_loop(rule, bundle.dtype.name).address, coefficients)
        if bundle.nbytes >= SHARED:
            get_crew().run(walk.address, bundle.size, job, bundle)
        else:
            get_crew().alone(walk.address, bundle.size, job)

    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        first = arrays[0]
        if not contiguous or first.dtype.char == "e":
            _run_pieces(loop(rule), arrays, coefficients)
        elif first.nbytes * len(arrays) >= SHARED:
            _run_shared(rule, arrays, coefficients)
        elif first.ndim == 1:
            loop(rule)(*arrays, *coefficients)
        else:
            loop(rule)(*[array.reshape(-1) for array in arrays], *coefficients)

    def warmup(self, rule: Rule, dtype: str) -> None:
        compute = compute_dtype(dtype)
        arrays = tuple(np.zeros(1, dtype=compute) for _ in source.array_names(rule))
        loop(rule)(*arrays, *(1.0 for _ in source.scalar_names(rule)))
        if compute == dtype:
            guarded_loop(rule, np.dtype(dtype))
            posted_loop(rule, np.dtype(dtype))
            self.bundle([[array] for array in arrays])
            get_crew()


def job_of(arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> np.ndarray:
    """The argument of a shared loop: addresses of the arrays, then the coefficients' bits."""
    job = np.empty(FIRST_SCALAR + len(coefficients), dtype=np.int64)
    job[: len(arrays)] = [array.ctypes.data for array in arrays]
    job.view(np.float64)[FIRST_SCALAR:] = coefficients
    return job


def _posted(rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> bool:
    """Run the loop by the crew, or alone if no helper is there; False if it was refused."""
    first, crew = arrays[0], get_crew()
    compiled, function = posted_loop(rule, first.dtype)
    state = crew.post(
        lambda *given: compiled(*arrays, *coefficients, *given, function),
        first.size,
        FIRST_SCALAR + len(coefficients),
        arrays,
        wake=first.nbytes * len(arrays) >= SHARED,
    )
    if state is None:
        ran: bool = guarded_loop(rule, first.dtype)(*arrays, *coefficients)
        crew.ended()
        return ran
    return state != REFUSED


def _run_shared(rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> None:
    function = shared_loop(rule, arrays[0].dtype.name).address
    get_crew().run(function, arrays[0].size, job_of(arrays, coefficients), arrays)


def _run_pieces(compiled: Any, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> None:
    contiguous = ["contig", "aligned", "nbo"]
    written, read = ["readwrite", *contiguous], ["readonly", *contiguous]
    iterate: Any = np.nditer
    pieces = iterate(
        list(arrays),
        flags=["external_loop", "buffered", "grow_inner"],
        op_flags=[written, read, *[written] * (len(arrays) - 2)],
        op_dtypes=[np.dtype(compute_dtype(arrays[0].dtype.name))] * len(arrays),
        casting="same_kind",
        buffersize=PIECE,
    )
    with pieces:
        for piece in pieces:
            compiled(*piece, *coefficients)
