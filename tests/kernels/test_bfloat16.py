"""bfloat16: how compiled loops and NumPy round to it, and what takes arrays of it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from onepass import kernels
from onepass.kernels.state_formats import bfloat16 as formulas

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes, which has bfloat16, is missing")


def numbers():
    """Of float32: of all exponents, about halves between two of bfloat16, inf and NaN."""
    upper = np.arange(0, 1 << 16, dtype=np.uint32)[:, None] << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return (upper | lower).reshape(-1).view(np.float32)


def by_loops(x):
    numba = pytest.importorskip("numba")
    from onepass.kernels.simd.half import store

    @numba.njit
    def stored(x, bits):
        for i in range(x.size):
            store(bits, i, x[i])

    bits = np.empty(x.size, np.int16)
    stored(x, bits)
    return bits.view(np.uint16)


@pytest.mark.parametrize("rounded", [formulas.nearest, by_loops])
def test_the_nearest_and_of_two_the_even_one(rounded):
    x = numbers()
    with np.errstate(all="ignore"):  # of NaN
        want = x.astype("bfloat16").view(np.uint16)
    found = rounded(x).astype(np.uint16)
    nan = np.isnan(x)
    np.testing.assert_array_equal(found[~nan], want[~nan])
    assert np.isnan(found[nan].view("bfloat16")).all()


def test_loops_read_every_number():
    numba = pytest.importorskip("numba")
    from onepass.kernels.simd.half import load

    @numba.njit
    def read(bits, x):
        for i in range(x.size):
            x[i] = load(bits, i)

    bits, found = np.arange(1 << 16, dtype=np.uint16), np.empty(1 << 16, np.float32)
    read(bits.view(np.int16), found)
    want = bits.view("bfloat16").astype("float32")
    np.testing.assert_array_equal(found.view(np.uint32), want.view(np.uint32))


X = np.ones((4, 6), "bfloat16")
OTHERS = {
    "activation_forward": lambda engine: kernels.activation_forward(X, kind="relu", engine=engine),
    "batch_norm_forward": lambda engine: kernels.batch_norm_forward(X, None, None, engine=engine),
    "dropout": lambda engine: kernels.dropout(X, 0.5, seed=0, draw=0, engine=engine),
    "softmax_cross_entropy": lambda engine: kernels.softmax_cross_entropy(
        X, np.zeros(4, int), engine=engine
    ),
    "sgd_step": lambda engine: kernels.sgd_step(X.copy(), X, lr=0.1, engine=engine),
}


@pytest.mark.parametrize("engine", ["auto", "array", "numba"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_operations_refuse_it(name, engine):
    with pytest.raises((TypeError, ValueError), match=r"bfloat16|remainder"):
        OTHERS[name](engine)


def test_nobody_imports_ml_dtypes_for_it():
    """Norms in other dtypes neither need nor import it."""
    code = (
        "import sys, numpy as np; from onepass import kernels; "
        "x = np.ones((4, 6), 'float16'); kernels.layer_norm_forward(x, engine='array'); "
        "sys.exit('ml_dtypes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
