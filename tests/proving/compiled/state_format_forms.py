"""Every form in which kernels of encoded states are compiled: for blocks of a warp and of several,
and of a part of one; without weight decay, and with all that an optimizer adds to a rule."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from onepass.kernels.compiling.checksum import sources
from onepass.kernels.compiling.python_text import scalar_names
from onepass.kernels.rule import Rule
from onepass.kernels.state_formats.gpu import cuda_text, cupy_gpu
from onepass.kernels.state_formats.layout import FLOAT32, Layout

from proving.compiled import nvrtc
from proving.compiled.lowered import Lowered
from proving.layouts import LAYOUTS

ALL = "adam_f32_f32_q8_q8", "adam_f32_f32_q8_b16", "adam_b16_b16_q8_q8"
_WORDS = "onepass.kernels.state_formats.numba_ir"


def forms(name: str) -> dict[str, tuple[Layout, int]]:
    """A layout and elements of a block, by form."""
    layout = LAYOUTS[name]
    if not layout.in_blocks:
        return {"": (layout, 256), "no decay": (_with(layout, layout.rule.without_decay), 256)}
    found = {"256": (layout, 256), "2048": (layout, 2048)}
    if name in ALL:
        found |= {"64": (layout, 64)}
        found |= {"256, no decay": (_with(layout, layout.rule.without_decay), 256)}
    states = (*layout.states, FLOAT32)
    averaged = layout._replace(rule=layout.rule.clipped.averaged, states=states)
    return found | {"clipped and averaged, 2048": (averaged, 2048)}


def _with(layout: Layout, rule: Rule) -> Layout:
    return layout._replace(rule=rule)


def texts(name: str) -> dict[str, nvrtc.Text]:
    """What CuPy compiles, by form."""
    return {form: nvrtc.launched(cupy_gpu.raw_kernel, *made) for form, made in forms(name).items()}


class _OfWords(Lowered):
    """Made of intrinsics, whose names alone stand in a kernel."""

    def given(self) -> list[str]:
        return [*super().given(), sources(_WORDS)]


def lowered(name: str) -> dict[str, Lowered]:
    """What Numba compiles, by form."""
    from onepass.kernels.state_formats.gpu.numba_cuda_kernels import python_kernel

    return {
        form: _OfWords(partial(python_kernel, *made), _types(made[0]))
        for form, made in forms(name).items()
    }


def _types(layout: Layout) -> tuple[Any, ...]:
    """Of the arguments."""
    import numba

    arrays = [numba.from_dtype(np.dtype(each))[::1] for each in layout.arrays().values()]
    scalars = [numba.float32] * len(scalar_names(layout.rule))
    return *arrays, numba.int64, numba.uint32, numba.uint32, *scalars


def budget(engine: str, name: str, form: str) -> int:
    """The registers that a thread may take: 80 leave a scheduler 6 warps, each of which has eight
    elements of every array under way; 128 leave 4, for six arrays and more. Numba's threads have
    one element, or four of a block of 2048: 48 and 64 leave 10 and 8."""
    layout, block = forms(name)[form]
    if engine == "cupy":
        values = [each for each in layout.arrays() if each.endswith("_at")]
        return 80 if len(values) <= cuda_text.MOST else 128
    return 48 if block < 2048 else 80
