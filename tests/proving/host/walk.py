"""Steps of a rule by the engine "cupy" on the host, held to the oracle, which proves the text."""

from __future__ import annotations

from onepass import kernels
from oracles.rules import RULES as ORACLES
from tolerances import GPU_FACTOR, assert_walk

from proving import account as proof
from proving.host.elementwise import CASES, EXTRAS, cupy_engine_on_host, on_host
from proving.host.raw import RUNGS
from proving.host.threaded import ElementwiseKernel


def options_of(name, extra):
    """The case's options and those of EXTRAS that its function takes."""
    function, options = CASES[name]
    known = ORACLES[function].options
    return function, options | {key: v for key, v in EXTRAS[extra].items() if key in known}


def walk(name, dtype, extra="all", build="exact", edit=str, steps=20):
    """Hold the engine to the oracle, which proves the text that ships."""
    function, options = options_of(name, extra)
    factor = GPU_FACTOR if build in ("fma", "ftz") else 1.0
    with cupy_engine_on_host(build, edit, ElementwiseKernel) as ran:
        assert_walk(
            getattr(kernels, function),
            ORACLES[function],
            options,
            dtype,
            size=257,
            steps=steps,
            factor=factor,
            asarray=on_host,
        )
    assert ran == [name] * steps
    if edit is str:
        proof.note(RUNGS[build], "cupy", name, dtype)
