"""Engine "cupy": a RawKernel a rule on arrays without gaps, another on chunks of many such arrays,
an ElementwiseKernel on others."""

from __future__ import annotations

import numpy as np

from ...backend import Array
from ...backend.devices import best_gpu
from ...backend.failures import Explained
from ..compiling.c_text import PREAMBLE, operation, sources_missing
from ..compiling.dtypes import C_TYPES, GPU_COMPUTED, NAMES, compute_dtype
from ..compiling.gpu.cuda_chunks import Chunks
from ..compiling.gpu.cuda_launch import ElementwiseKernel, RawKernel, made_once
from ..compiling.gpu.cuda_packs import launch_chunks, launch_chunks_with, launch_packed
from ..compiling.gpu.cuda_squares import sum_of_chunks
from ..compiling.python_text import scalar_names
from ..groups import groups_of, of_group
from ..rule import Rule
from .all_or_none import GpuEngine
from .base import Kept
from .cuda_text import by_table, by_table_symbol, source, symbol
from .cupy_bundle import GRADS, bundle_of, on_gpu


class CupyEngine(GpuEngine):
    """Compiles with NVRTC at the first call; CuPy keeps the machine code on disk."""

    name = "cupy"

    def missing(self) -> tuple[str, str]:
        status = best_gpu()
        return (status.reason, status.remedy) if status.reason else sources_missing()

    def quick(self, rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> bool:
        """On arrays of one type, dtype, shape and device, without gaps, that share no memory."""
        first = arrays[0]
        kind, dtype, nbytes = type(first), first.dtype, first.nbytes
        shape, strides, memory = first.shape, first.strides, first.data
        if dtype not in GPU_COMPUTED or not nbytes or not first.flags.c_contiguous:
            return False
        device, places = memory.device_id, [memory.ptr]
        for array in arrays[1:]:
            if type(array) is not kind or array.dtype is not dtype or array.strides != strides:
                return False
            memory = array.data
            if memory.device_id != device or array.shape != shape:
                return False
            places.append(memory.ptr)
        places.sort()
        before = -nbytes
        for place in places:
            if place - before < nbytes:
                return False
            before = place
        with Explained(rule.name, first, self.name):
            _run(rule, arrays, coefficients)
        return True

    def quick_each(
        self,
        rule: Rule,
        columns: tuple[tuple[Array, ...], ...],
        coefficients: tuple[float, ...],
        kept: Kept,
    ) -> bool:
        """In a launch a dtype; all of them are compiled before the first."""
        first = columns[0][0]
        if len(columns[0]) == 1:
            (arrays,) = zip(*columns, strict=True)
            if kept.groups.size:
                coefficients = of_group((rule, coefficients), int(kept.groups[0]))[1]
            return self.quick(rule, arrays, coefficients)
        with first.device:
            with Explained(rule.name, first, self.name):
                bundle = bundle_of(columns, kept)
            if bundle is None:
                return False
            made = table_kernel if kept.groups.size else chunks_kernel
            calls = [(made(rule, NAMES[each.like.dtype]), each) for each in bundle.tables]
            for kernel, chunks in calls if len(calls) > 1 else ():  # all, before the first writes
                with Explained(rule.name, chunks.like, self.name):
                    kernel.compile()
            if kept.groups.size:
                with Explained(rule.name, first, self.name):
                    rows, table = np.int32(groups_of((rule, coefficients))), on_gpu(coefficients)
            for kernel, chunks in calls:
                with Explained(rule.name, chunks.like, self.name):
                    if kept.groups.size:
                        given = chunks.groups, rows, table, bundle.clock
                        launch_chunks_with(kernel, chunks, *given)
                    else:
                        launch_chunks(kernel, chunks, coefficients)
        return True

    def fits_each(self, columns: tuple[tuple[Array, ...], ...], kept: Kept) -> bool:
        first = columns[0][0]
        if len(columns[0]) == 1:
            return False
        with Explained("a list of arrays", first, self.name), first.device:
            return bundle_of(columns, kept) is not None

    def squares_each(self, columns: tuple[tuple[Array, ...], ...], kept: Kept) -> float | None:
        first = columns[0][0]
        if kept.bundle is None:
            return None
        with Explained("global_norm", first, self.name), first.device:
            return float(sum_of_chunks((each, GRADS) for each in kept.bundle.tables))

    def tables_each(
        self, columns: tuple[tuple[Array, ...], ...], kept: Kept
    ) -> list[Chunks] | None:
        """Of arrays without gaps, of float32 or float16, whose squares stay in float64's range."""
        first = columns[0][0]
        if any(array.dtype.char not in "ef" for array in columns[0]):
            return None
        if kept.in_tables is None:
            groups = kept.groups.tolist() or [0] * len(columns[0])
            kept.in_tables = Kept(kept.order.size, groups)
        with Explained("a step of a scaled loss", first, self.name), first.device:
            bundle = bundle_of(columns, kept.in_tables)
        return bundle.tables if bundle is not None and bundle.tables else None

    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        if contiguous:
            _run(rule, arrays, coefficients)
        else:
            param, grad, *state = arrays
            kernel = strided_kernel(rule, NAMES[param.dtype])
            kernel(param, grad, *coefficients, param, *state)

    def warmup(self, rule: Rule, dtype: str) -> None:
        super().warmup(rule, dtype)
        chunks_kernel(rule, dtype).compile()
        table_kernel(rule, dtype).compile()


def _run(rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> None:
    """On arrays without gaps."""
    launch_packed(raw_kernel(rule, NAMES[arrays[0].dtype]), arrays, coefficients)


@made_once
def raw_kernel(rule: Rule, dtype: str) -> RawKernel:
    """The kernel (*arrays, size, *coefficients) of a rule for arrays of one dtype without gaps."""
    return RawKernel(rule.name, dtype, source(rule, dtype), symbol(rule, dtype))


@made_once
def chunks_kernel(rule: Rule, dtype: str) -> RawKernel:
    """The same for many arrays: (*places, sizes, *coefficients)."""
    name, text = f"{rule.name}_chunks", source(rule, dtype, chunks=True)
    return RawKernel(name, dtype, text, symbol(rule, dtype, chunks=True))


@made_once
def table_kernel(rule: Rule, dtype: str) -> RawKernel:
    """The same whose coefficients are rows of a table: (*places, sizes, groups, rows, table,
    clock)."""
    name, text = f"{rule.name}_by_table", by_table(rule, dtype)
    return RawKernel(name, dtype, text, by_table_symbol(rule, dtype))


@made_once
def strided_kernel(rule: Rule, dtype: str) -> ElementwiseKernel:
    """The kernel (grad, *coefficients, param, *state) for arrays of one dtype, laid out anyhow."""
    return ElementwiseKernel(rule.name, parts(rule, dtype))


def parts(rule: Rule, dtype: str) -> dict[str, str]:
    """What an ElementwiseKernel is made of; plain text, so that it can be proven without a GPU.

    Written arrays are its output parameters, which CuPy hands to the body by reference: the body
    reads them too.
    """
    compute = compute_dtype(dtype)
    inputs = [f"{dtype} g", *(f"{compute} {name}" for name in scalar_names(rule))]
    return {
        "in_params": ", ".join(inputs),
        "out_params": ", ".join(f"{dtype} {name}" for name in ("p", *rule.state)),
        "operation": operation(rule, C_TYPES[compute]),
        "name": f"{symbol(rule, dtype)}_strided",
        "preamble": PREAMBLE,
    }
