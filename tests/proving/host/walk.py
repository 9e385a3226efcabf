"""Steps of a rule by the engine "cupy" on the host, held to the oracle, which proves the text."""

from __future__ import annotations

import numpy as np
from oracles.rules import RULES as ORACLES
from tolerances import assert_walk

from proving.host.device import Device, unchanged
from proving.host.elementwise import CASES, EXTRAS, on_host

ALIGNED, PACK = "at sixteen bytes", 16


def options_of(name, extra):
    """The case's options and those of EXTRAS that its function takes."""
    function, options = CASES[name]
    known = ORACLES[function].options
    return function, options | {key: v for key, v in EXTRAS[extra].items() if key in known}


def at_sixteen_bytes(array, off=0):
    """A copy that begins so many elements behind a place that a pack may begin at."""
    room = on_host(np.zeros(array.size + 2 * PACK, array.dtype))
    start = -room.ctypes.data % PACK // array.itemsize + off
    copy = room[start : start + array.size]
    copy[...] = array
    return copy


LAYOUTS = {
    ALIGNED: at_sixteen_bytes,
    "beside them": lambda array: at_sixteen_bytes(array, 1),
    "with gaps": lambda array: on_host(np.repeat(array, 2))[::2],
}


def walk(
    name, dtype, extra="all", build="exact", edit=unchanged, steps=20, layout=ALIGNED, size=257,
    **grid,
):  # fmt: skip
    """Hold the engine to the oracle, which proves the text that ships."""
    function, options = options_of(name, extra)
    device = Device(build, edit=edit, **grid)
    how = {"size": size, "steps": steps, "factor": device.factor, "asarray": LAYOUTS[layout]}
    rule = ORACLES[function]
    device.prove(lambda _: assert_walk(device.kernel(function), rule, options, dtype, **how))
    assert device.launched == [(name, dtype)] * steps
    assert len(device.calls) == (0 if layout == "with gaps" else steps)
