"""The global norm, where squares leave the range of float64 too."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from onepass import get_backend
from onepass.kernels import global_norm
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.nets import SGD

EPS = np.finfo(float).eps


def exact(*arrays):
    """The root of the sum of squares in whole numbers, rounded once."""
    values = np.concatenate([np.ravel(array).astype(float) for array in arrays])
    parts, exponents = np.frexp(values)  # whole numbers of 53 bits, and powers of two
    least = int(exponents.min(initial=0))
    numbers = zip((parts * 2.0**53).astype(int).tolist(), exponents.tolist(), strict=True)
    total = sum((number << exponent - least) ** 2 for number, exponent in numbers)
    return float(math.isqrt(total << 128) * Fraction(2) ** (least - 53 - 64))


@pytest.mark.parametrize(
    "size", [1e-320, 1e-300, 1e-170, 1e-150, 1e-135, 1.0, 1e150, 1e154, 1e200, 1e300, 1e307]
)
@pytest.mark.parametrize("kind", ["one", "several", "strided", "generator"])
def test_float64_of_any_size_is_the_root_of_the_sum_of_squares(reference, size, kind):
    draw = np.random.default_rng(0).standard_normal((6, 5)) * size
    arrays = {"several": [draw[0], draw[1:, :2].copy(), np.zeros(3)], "strided": [draw[:, ::2]]}
    given = arrays.get(kind, [draw])
    moved = [get_backend(reference.device).asarray(array) for array in given]
    found = global_norm(iter(moved) if kind == "generator" else moved)
    assert found == pytest.approx(exact(*given), rel=8 * EPS, abs=1e-323)


def test_a_norm_at_the_edge_of_overflow_is_told_from_infinity():
    assert global_norm([np.full(2, 1.2e308)]) == pytest.approx(1.2e308 * math.sqrt(2), rel=4 * EPS)
    assert global_norm([np.full(4, 1.2e308)]) == math.inf
    assert global_norm([np.array([1.3e154]), np.array([1.3e154])]) == pytest.approx(
        1.3e154 * math.sqrt(2), rel=4 * EPS
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_nothing_and_zeros_are_0_and_what_is_not_finite_stays_so(dtype):
    assert global_norm([]) == global_norm([np.zeros(0, dtype)]) == 0
    assert global_norm([np.zeros((2, 3), dtype), np.zeros(0, dtype)]) == 0
    one = np.ones(3, dtype)
    for bad in (math.inf, -math.inf):
        one[1] = bad
        assert global_norm([np.ones(2, dtype), one]) == math.inf
    one[2] = math.nan
    assert math.isnan(global_norm([one]))


def test_clipping_brings_huge_gradients_down():
    params = np.zeros(2)
    optimizer = SGD([params], lr=1.0, clip_norm=1.0)
    optimizer.step([np.array([3e200, -4e200])])
    np.testing.assert_allclose(params, [-0.6, 0.8], rtol=8 * EPS)


# --- on a GPU -------------------------------------------------------------------------------------
LAYOUTS = {
    "contiguous": lambda a: a,
    "unaligned": lambda a: a.reshape(-1)[1:],
    "another order": lambda a: a.T,
    "gaps": lambda a: a[:, ::2],
    "backwards": lambda a: a[::-1],
    "nothing": lambda a: a[:0],
    "one number": lambda a: a[0, 0],
}


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True, ids="-".join)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_arrays_of_a_gpu_of_any_kind(reference, dtype, layout):
    draw = (np.random.default_rng(0).standard_normal((67, 301)) * 100).astype(dtype)
    arrays = [draw, draw[:9] / 2, draw[:1, :1]]
    given = [LAYOUTS[layout](reference.asarray(array)) for array in arrays]
    values = [reference.to_numpy(array) for array in given]
    for some in (1, 3):
        found = global_norm(given[:some])
        assert found == pytest.approx(exact(*values[:some]), rel=8 * EPS)
        assert found == global_norm(given[:some]), "from run to run"


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True, ids="-".join)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_is_not_finite_on_a_gpu_stays_so(reference, dtype, bad):
    one = np.ones(5000, dtype)
    one[4097] = bad
    expected = str(abs(bad))
    for given in ([one], [np.ones(2, dtype), one]):
        assert str(global_norm(map(reference.asarray, given))) == expected


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True, ids="-".join)
def test_arrays_of_both_kinds_of_memory_have_one_norm(reference):
    mixed = [np.full(4, 2.0), reference.asarray(np.full(9, 3.0)), np.full(1, 1.0, "float32")]
    assert global_norm(mixed) == pytest.approx(math.sqrt(16 + 81 + 1), rel=4 * EPS)


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True, ids="-".join)
@pytest.mark.parametrize("count", [1, 3])
def test_an_optimizer_of_array_expressions_has_the_norm_by_them_too(reference, monkeypatch, count):
    launched = []
    monkeypatch.setattr(cuda_launch, "observers", [lambda *given: launched.append(given[1])])
    for engine in ("array", "cupy"):
        params, grads = (
            [reference.asarray(np.full(5, k)) for _ in range(count)] for k in (1.0, 2.0)
        )
        SGD(params, lr=1.0, clip_norm=1.0, engine=engine).step(grads)
        assert {name.partition("_")[0] for name in launched} == (
            set() if engine == "array" else {"squares", "sgd"}
        )
        for param in params:
            np.testing.assert_allclose(param.get(), 1 - 1 / math.sqrt(5 * count), rtol=1e-14)
