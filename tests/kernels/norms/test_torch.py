"""Layer, RMS and group norm beside PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from cases.norms import BFLOAT16, KINDS, OPERATIONS, Cpu, make, run
from oracles import norms as oracle
from tolerances import LIMITS, assert_close

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)

FACTOR = 2.0  # both sides round
SHAPES = {
    "layer_norm": [((33, 37), {}), ((4, 5, 6), {"normalized_shape": (5, 6)}), ((2, 4096), {})],
    "rms_norm": [((33, 37), {}), ((4, 5, 6), {"normalized_shape": (5, 6)}), ((2, 4096), {})],
    "group_norm": [((9, 12), {"groups": 3}), ((3, 8, 7, 5), {"groups": 8}),
                   ((3, 8, 7, 5), {"groups": 2}), ((2, 4, 3, 2, 5), {"groups": 1})],
}  # fmt: skip
CUTS = [(operation, *each) for operation in OPERATIONS for each in SHAPES[operation]]


def tensor(a):
    """A copy; NumPy's bfloat16 is none that PyTorch takes."""
    if a.dtype.name != "bfloat16":
        return torch.tensor(a)
    return torch.tensor(a.view(np.int16)).view(torch.bfloat16)


def array(a):
    return a.view(torch.int16).numpy().view("bfloat16") if a.dtype == torch.bfloat16 else a.numpy()


def theirs(case):
    """y, dx, dgamma, dbeta and the residual's gradient."""
    given = [None if a is None else tensor(a).requires_grad_() for a in case.arrays.values()]
    x, gamma, beta, residual = given
    total = x if residual is None else x + residual
    functional, eps = torch.nn.functional, case.options["eps"]
    if case.operation == "group_norm":
        z = functional.group_norm(total, case.options["groups"], gamma, beta, eps)
    else:
        last = case.options.get("normalized_shape", case.x.shape[-1:])
        if case.operation == "rms_norm":
            z = functional.rms_norm(total, last, gamma, eps)
        else:
            z = functional.layer_norm(total, last, gamma, beta, eps)
    kind = case.options["activation"]
    y = z if kind is None else getattr(functional, kind)(z)
    y.backward(tensor(case.dy))
    return [array(y.detach()), *(None if a is None else array(a.grad) for a in given)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("activation", "residual"), KINDS)
@pytest.mark.parametrize(("operation", "shape", "cut"), CUTS)
def test_values_and_gradients(operation, shape, cut, activation, residual, dtype):
    case = make(operation, shape, dtype=dtype, activation=activation, residual=residual, **cut)
    wanted = theirs(case)
    sizes = oracle.terms(operation, case.dy, **case.arrays, **case.options)
    limit = LIMITS[dtype][0] * FACTOR * max(1.0, case.norm.values**0.5 / 8)
    found = run(Cpu("auto"), case)
    for one, want, size in zip(found, wanted, sizes, strict=False):
        if one is not None:
            assert_close(one, want, dtype, scale=size, limit=limit)
    if residual:
        np.testing.assert_array_equal(wanted[1], wanted[4])  # theirs is dx, too


@pytest.mark.parametrize("dtype", [BFLOAT16])
@pytest.mark.parametrize(("operation", "shape", "cut"), CUTS)
def test_bfloat16(operation, shape, cut, dtype):
    """Without an activation or residual, before which PyTorch rounds once more."""
    case = make(operation, shape, dtype=dtype, **cut)
    sizes = oracle.terms(operation, case.dy, **case.arrays, **case.options)
    for one, want, size in zip(run(Cpu("auto"), case), theirs(case), sizes, strict=False):
        if one is not None:
            assert_close(one, want, dtype, scale=size, limit=LIMITS[dtype][0] * FACTOR)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_default_eps_of_rms_norm_is_theirs(dtype):
    x = (np.random.default_rng(0).standard_normal((5, 9)) * 1e-4).astype(dtype)
    case = make("rms_norm", x.shape, dtype=dtype, vectors="", eps=None)._replace(x=x)
    found, want = run(Cpu("auto"), case)[0], theirs(case)[0]
    assert_close(found, want, dtype, limit=LIMITS[dtype][0] * FACTOR)
