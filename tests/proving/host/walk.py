"""Steps of a rule by the engine "cupy" on the host, held to the oracle, which proves the text."""

from __future__ import annotations

from oracles.rules import RULES as ORACLES
from tolerances import assert_walk

from proving.host.device import Device, unchanged
from proving.host.elementwise import CASES, EXTRAS, on_host


def options_of(name, extra):
    """The case's options and those of EXTRAS that its function takes."""
    function, options = CASES[name]
    known = ORACLES[function].options
    return function, options | {key: v for key, v in EXTRAS[extra].items() if key in known}


def walk(name, dtype, extra="all", build="exact", edit=unchanged, steps=20):
    """Hold the engine to the oracle, which proves the text that ships."""
    function, options = options_of(name, extra)
    device = Device(build, edit=edit)
    how = {"size": 257, "steps": steps, "factor": device.factor, "asarray": on_host}
    rule = ORACLES[function]
    device.prove(lambda _: assert_walk(device.kernel(function), rule, options, dtype, **how))
    assert device.launched == [(name, dtype)] * steps
