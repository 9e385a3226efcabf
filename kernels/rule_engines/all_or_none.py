"""What the engines that compile for a GPU share: several launches happen all, or not at all.

A step of several arrays first launches, for each machine code that it takes and that this process
has not compiled yet, the smallest of the launches that take it. What these overwrite is kept until
all code is there, and put back if it can't be had.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ...backend import Array, device_of, get_backend
from ...backend.failures import Explained
from ..compiling.gpu.first_launch import index_widths, is_new, remember
from ..compiling.python_text import scalar_names
from ..rule import Rule
from .base import Engine


class GpuEngine(Engine):
    """Runs on CuPy arrays."""

    devices = ("cuda",)

    def run_each(
        self,
        rule: Rule,
        calls: Sequence[tuple[Array, ...]],
        coefficients: Sequence[tuple[float, ...]],
        contiguous: Sequence[bool],
    ) -> None:
        first: dict[Hashable, int] = {}  # new machine code -> the smallest call that takes it
        for k, arrays in enumerate(calls):
            code = (self.name, rule, *_kind(arrays, contiguous[k]))
            if is_new(code):
                smallest = first.setdefault(code, k)
                first[code] = k if arrays[0].size < calls[smallest][0].size else smallest
        ahead = list(first.values())
        with calls[0][0].device:
            runs = [contiguous[k] for k in ahead]
            numbers = [coefficients[k] for k in ahead]
            self._run_ahead(rule, [calls[k] for k in ahead], numbers, runs)
            remember(first)
            for k, arrays in enumerate(calls):
                if k not in ahead:
                    with Explained(rule.name, arrays[0], self.name):
                        self.run(rule, arrays, coefficients[k], contiguous[k])

    def _run_ahead(
        self,
        rule: Rule,
        calls: Sequence[tuple[Array, ...]],
        coefficients: Sequence[tuple[float, ...]],
        contiguous: Sequence[bool],
    ) -> None:
        """Run each of several calls that take different code, or none."""
        kept: list[tuple[Array, Array]] = []
        try:
            for k, arrays in enumerate(calls):
                with Explained(rule.name, arrays[0], self.name):
                    if k < len(calls) - 1:  # after the last one no code is missing
                        _keep(arrays, kept)
                    self.run(rule, arrays, coefficients[k], contiguous[k])
        except BaseException:
            for array, copy in kept:
                array[...] = copy
            raise

    def warmup(self, rule: Rule, dtype: str) -> None:
        xp = get_backend("cuda").xp
        arrays = tuple(xp.zeros(1, dtype) for _ in rule.arguments)
        self.run_each(rule, [arrays], [tuple(1.0 for _ in scalar_names(rule))], [True])


def _keep(arrays: tuple[Array, ...], kept: list[tuple[Array, Array]]) -> None:
    """Copies of what a launch writes, with a way back that is compiled."""
    for array in (arrays[0], *arrays[2:]):
        copy = array.copy()
        array[...] = copy  # its own values: between contiguous arrays CuPy compiles nothing
        kept.append((array, copy))


def _kind(arrays: tuple[Array, ...], contiguous: bool) -> tuple[Hashable, ...]:
    """What decides, beside the rule, which machine code a launch takes."""
    first = arrays[0]
    shapes = min(first.ndim, 1) if contiguous else tuple((a.shape, a.strides) for a in arrays)
    return device_of(first), first.dtype.name, shapes, index_widths(arrays)
