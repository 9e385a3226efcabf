"""The C text that CuPy compiles does what the rules say: it is run here, on the CPU, by g++."""

from __future__ import annotations

import hostcuda
import numpy as np
import pytest
from hostcuda import CASES, EXTRAS, cupy_engine_on_host, on_host
from onepass import kernels
from onepass.kernels.engines import cupy_gpu
from onepass.kernels.engines.ctext import operation
from onepass.kernels.rule import Rule
from onepass.kernels.rules import RULES
from oracles import RULES as ORACLES
from tolerances import DTYPES, GPU_FACTOR, LIMITS, assert_close, assert_walk, signed, wide

needs_compiler = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
BUILDS = ["exact", pytest.param("fma", marks=needs_fma)]


def options_of(name, extra):
    """Only what the rule takes: no optimizer but Adam's family has decoupled decay."""
    function, options = CASES[name]
    known = {key: EXTRAS[extra][key] for key in EXTRAS[extra] if key in ORACLES[function].options}
    return function, options | known


def walk(name, dtype, extra="all", build="exact", edit=str, steps=20):
    function, options = options_of(name, extra)
    with cupy_engine_on_host(build, edit) as ran:
        assert_walk(
            getattr(kernels, function),
            ORACLES[function],
            options,
            dtype,
            size=257,
            steps=steps,
            factor=1.0 if build == "exact" else GPU_FACTOR,
            asarray=on_host,
        )
    assert ran == [name] * steps


def one_step(name, extra, arrays, build=None, edit=str):
    """One step on copies of `arrays`: on the host build, or on the engine "array" without one."""
    function, options = options_of(name, extra)
    counted = {"step": 3} if "step" in ORACLES[function].options else {}
    step = getattr(kernels, function)
    copies = [on_host(array) for array in arrays.values()]
    if build is None:
        step(*copies, **options, **counted, engine="array")
    else:
        with cupy_engine_on_host(build, edit):
            step(*copies, **options, **counted)
    return dict(zip(arrays, map(np.asarray, copies), strict=True))


def random_arrays(name, dtype, size=4099):
    rng, rule = np.random.default_rng(7), ORACLES[CASES[name][0]]
    return {key: np.abs(signed(rng, size, 0.25, 4.0, dtype)) for key in rule.arrays} | {
        key: signed(rng, size, 0.25, 4.0, dtype) for key in ("param", "grad")
    }


def same_bits(actual, expected):
    """Every element has the same bits, so zeros the same sign; a NaN is a NaN."""
    for key in expected:
        a, b = actual[key], expected[key]
        bits = f"u{a.itemsize}"
        alike = (a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))
        assert alike.all(), f"{key}: {a[~alike][:3]} instead of {b[~alike][:3]}"


# --- the text that ships, under the public functions ----------------------------------------------
def test_every_rule_has_a_case():
    assert set(CASES) == set(RULES)


@pytest.mark.hostcuda
@pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)
class TestOnHost:
    @pytest.mark.parametrize("build", BUILDS)
    @pytest.mark.parametrize("extra", EXTRAS)
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("name", CASES)
    def test_text_follows_the_oracle_over_20_steps(self, name, dtype, extra, build):
        walk(name, dtype, extra, build)
