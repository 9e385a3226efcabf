"""What steps on encoded states ask the driver for, and what becomes of them beside the CPU's."""

from __future__ import annotations

import numpy as np
import pytest
from cases.state_formats import CASES, DIFFERENT, bits, call_arrays
from onepass import get_backend, kernels
from onepass.kernels import encoded_states
from onepass.kernels.state_formats import noise
from onepass.kernels.state_formats.base import Step
from onepass.kernels.state_formats.contract import checked
from onepass.kernels.state_formats.engines import OPERATION
from oracles.rules import RULES as ORACLES

from proving.layouts import LAYOUTS, formats
from proving.made_up_driver import counting

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]
SIZE = 20_011


class Host:
    """Where arrays are drawn, and looked at."""

    def asarray(self, array):
        return np.array(array)

    def to_numpy(self, array):
        return np.asarray(array)


class Gpu(Host):
    """The made-up one."""

    def to_numpy(self, array):
        return array.get()


def on_gpu(arrays):
    """The same on the GPU."""
    asarray = get_backend("cuda").asarray
    return {name: encoded_states.moved(array, asarray) for name, array in arrays.items()}


def steps_of(layouts, size=SIZE):
    """Steps on arrays of several layouts on the GPU."""
    found, keys = [], noise.keys_of(3, 1, len(layouts))
    for k, layout in enumerate(layouts):
        case = CASES[layout.rule.name]
        arrays = on_gpu(call_arrays(Host(), case, formats(layout), size + k))
        rest = arrays.pop("remainder", None)
        call = checked(layout.rule, [*arrays.values()], rest)
        assert call.layout == layout
        coefficients = tuple(0.5 for _ in layout.rule.scalars)
        found.append(Step(call, coefficients, keys[k]))
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_gpu_s_states_are_the_cpu_s(name):
    """Codes are the same but where a fused multiply-add moves a number over a threshold."""
    layout = LAYOUTS[name]
    case = CASES[layout.rule.name]
    function, options = getattr(kernels, case.function), case.at(2, 9)
    here = call_arrays(Host(), case, formats(layout), SIZE)
    there = on_gpu(here)
    for arrays, engine in ((here, "numba"), (there, "cupy")):
        rule = ORACLES[case.function]
        rule.call(function, arrays, options | {"engine": engine})
    ours, theirs = bits(Host(), here), bits(Gpu(), there)
    for state in case.states:
        for one, other in zip(ours[state], theirs[state], strict=True):
            assert (one != other).mean() <= DIFFERENT, state


def test_a_step_is_a_launch_a_call_without_a_copy_or_a_wait():
    """Whatever must be compiled is so before the first launch."""
    steps, kept = steps_of([*LAYOUTS.values()]), {}
    engine = OPERATION.get("cupy")
    engine.run(steps, kept)
    for _ in range(2):
        counting.reset()
        engine.run(steps, kept)
        found = counting.counts()
        assert found["launches"] == len(steps)
        assert (found["copies"], found["waits"], found["fills"]) == (0, 0, 0)


def test_launches_can_be_captured():
    """A graph takes the same steps as they do, with the same noise."""
    cupy = pytest.importorskip("cupy")
    steps = steps_of([LAYOUTS["adam_f32_f32_q8_q8"], LAYOUTS["adam_b16_b16_q8_q8"]])
    engine, stream = OPERATION.get("cupy"), cupy.cuda.Stream(non_blocking=True)
    engine.run(steps, {})
    before = [each.copy() for step in steps for each in step.call.arrays]
    with stream:
        stream.begin_capture()
        engine.run(steps, {})
        graph = stream.end_capture()
        now = [each for step in steps for each in step.call.arrays]
        assert all((a == b).all() for a, b in zip(now, before, strict=True))
        graph.launch()
        stream.synchronize()
    captured = [each.get() for each in now]
    for array, old in zip(now, before, strict=True):
        array[...] = old
    engine.run(steps, {})
    for array, found in zip(now, captured, strict=True):
        np.testing.assert_array_equal(array.get(), found)
