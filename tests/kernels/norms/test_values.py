"""Layer, RMS and group norm on every engine, held to one oracle: values and gradients."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cases.norms import (
    ACTIVATIONS,
    BFLOAT16,
    DTYPES,
    KINDS,
    OPERATIONS,
    SHAPES,
    Cpu,
    check,
    given,
    make,
    run,
)
from tolerances import DTYPES as NUMPYS
from tolerances import GRADIENT_RATIO


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SHAPES)
def test_follows_the_oracle(engine, name, dtype):
    operation, shape, cut = SHAPES[name]
    check(engine, make(operation, shape, dtype=dtype, **cut))


ONCE = {
    ("layer_norm", "relu", False), ("rms_norm", None, True), ("group_norm", "silu", False),
}  # fmt: skip
"""What else is compiled for dtypes beside float32 than the quick kinds: each kind by one norm."""


@pytest.mark.parametrize(
    ("operation", "activation", "residual", "dtype"),
    [
        pytest.param(operation, *kind.values, dtype, id=f"{operation}-{kind.id}-{dtype}",
                     marks=kind.marks)
        for kind in KINDS for operation in OPERATIONS for dtype in NUMPYS
        if dtype == "float32" or not kind.marks or (operation, *kind.values) in ONCE
    ],
)  # fmt: skip
def test_activations_and_residuals(engine, operation, activation, residual, dtype):
    options = {"dtype": dtype, "activation": activation, "residual": residual}
    check(engine, make(operation, **options))
    shape, cut = ((2, 6, 515), {"groups": 3}) if operation == "group_norm" else ((5, 1030), {})
    check(engine, make(operation, shape, **cut, **options))


@pytest.mark.slow
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", SHAPES)
def test_activations_and_residuals_in_any_shape(engine, name, activation, residual):
    operation, shape, cut = SHAPES[name]
    check(engine, make(operation, shape, activation=activation, residual=residual, **cut))


@pytest.mark.parametrize(
    ("activation", "residual"), [(None, False), pytest.param("gelu", True, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("vectors", ["", "gamma", "beta"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_gamma_or_beta(engine, operation, vectors, activation, residual):
    """What is None has no gradient."""
    check(engine, make(operation, vectors=vectors, activation=activation, residual=residual))


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "residual"), [k for k in KINDS if not k.marks])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_float16_beside_gamma_in_float32(engine, operation, activation, residual):
    """Whose gradients then are, too."""
    case = make(operation, dtype="float16", activation=activation, residual=residual)
    single = {"gamma": (case.gamma + case.gamma * np.float32(2**-13)).astype("float32")}
    if case.beta is not None:
        single["beta"] = case.beta.astype("float32") * np.float32(1 + 2**-13)
    check(engine, case._replace(**single))
    check(engine, case._replace(beta=single.get("beta")))


@pytest.mark.parametrize("dtype", [BFLOAT16])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_bfloat16_beside_gamma_in_float32(engine, operation, dtype):
    """Or beta alone; both may be bfloat16, too. After a residual and GELU, which stand for all."""
    case = make(operation, dtype=dtype, activation="gelu", residual=True)
    check(engine, case)
    check(engine, case._replace(gamma=case.gamma.astype("float32") * np.float32(1 + 2**-13)))
    if case.beta is not None:
        check(engine, case._replace(beta=case.beta.astype("float32") * np.float32(1 + 2**-13)))
    shape, cut = ((2, 6, 515), {"groups": 3}) if operation == "group_norm" else ((5, 1030), {})
    check(engine, make(operation, shape, dtype=dtype, activation="gelu", residual=True, **cut))


LENGTHS = [*range(1, 70), *(n + k for n in (128, 256, 1024, 2048, 4096) for k in (-1, 0, 1))]


@pytest.mark.slow
@pytest.mark.parametrize("activation", [None, "gelu"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_rows_of_every_length(engine, operation, activation):
    """About the lengths of vectors and blocks, and as many rows."""
    for n in LENGTHS:
        for shape in ((3, n), (n, 3)):
            cut = {"groups": 1} if operation == "group_norm" else {}
            if shape == (3, 1) and cut:
                continue
            check(engine, make(operation, shape, activation=activation, seed=n, **cut))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_many_short_rows(engine, operation, dtype):
    rows, cut = (131_073 if dtype == "float32" else 9_003), {}
    shape = rows, 5
    if operation == "group_norm":
        shape, cut = (rows // 3, 6, 2), {"groups": 3}
    check(engine, make(operation, shape, dtype=dtype, activation="gelu", residual=True, **cut))
    check(engine, make(operation, shape, dtype=dtype, **cut))


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 1e-3, 10.0])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_eps_is_added_to_the_mean_of_squares(engine, operation, eps):
    check(engine, make(operation, eps=eps))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_default_eps_of_rms_norm_is_that_of_the_dtype(engine, dtype):
    case = make("rms_norm", dtype=dtype, eps=None)
    small = case._replace(x=(case.x * 1e-2).astype(dtype))  # where it shows
    check(engine, small)
    del small.options["eps"]
    check(engine, small)


@pytest.mark.parametrize("operation", ["layer_norm", "group_norm"])
def test_the_default_eps_is_1e_5(engine, operation):
    case = make(operation)
    small = case._replace(x=(case.x * np.float32(3e-3)))
    del small.options["eps"]
    check(engine, small)


@pytest.mark.parametrize("operation", ["layer_norm", "rms_norm"])
def test_forms_of_normalized_shape(engine, operation):
    case = make(operation, (4, 3, 5), normalized_shape=(5,))
    wanted = run(engine, case)
    for form in (5, [5], None, np.int64(5), (np.int32(5),)):
        found = run(engine, case._replace(options=case.options | {"normalized_shape": form}))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "activation", "residual"),
    [
        *(
            (operation, *kind)
            for operation in OPERATIONS
            for kind in ((None, False), ("gelu", True))
        ),
        ("group_norm", "silu", False),
    ],
)
def test_gradients_by_two_sided_differences(engine, operation, activation, residual):
    """In float64, of x, the residual, gamma and beta."""
    shape, cut = ((2, 4, 3), {"groups": 2}) if operation == "group_norm" else ((3, 5), {})
    options = {"dtype": "float64", "activation": activation, "residual": residual}
    case = make(operation, shape, **options, **cut)
    _, dx, *sums = run(engine, case)
    forward = engine.kernel(f"{operation}_forward")

    def cost(case):
        return float((engine.to_numpy(forward(**given(engine, case))[0]) * case.dy).sum())

    gradients = dict(zip(("gamma", "beta"), sums, strict=False)) | {"x": dx, "residual": dx}
    for name, gradient in gradients.items():
        place = getattr(case, name)
        if place is None:
            continue
        approx, flat = np.empty(place.size), place.reshape(-1)
        for k in range(place.size):
            kept, costs = flat[k], []
            for step in (1e-5, -1e-5):
                flat[k] = kept + step
                costs.append(cost(case))
            flat[k] = kept
            approx[k] = (costs[0] - costs[1]) / 2e-5
        away = np.linalg.norm(approx - gradient.ravel())
        assert away / np.linalg.norm(approx) < 2 * GRADIENT_RATIO, name


@pytest.mark.parametrize("operation", OPERATIONS)
def test_saved_serves_more_than_once(engine, operation):
    case = make(operation, activation="gelu", residual=True)
    _, saved = engine.kernel(f"{operation}_forward")(**given(engine, case))
    backward, dy = engine.kernel(f"{operation}_backward"), engine.asarray(case.dy)
    first, second = ([engine.to_numpy(a) for a in backward(dy, saved)] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_instance_norm_is_group_norm_of_as_many_groups(engine):
    """Each channel's gamma stands before the whole of its group."""
    case = make("group_norm", (2, 3, 4, 5), groups=3)
    (y, *_) = run(engine, case)
    mean = case.x.mean(axis=(2, 3), keepdims=True, dtype="float64")
    want = (case.x - mean) / np.sqrt(case.x.var(axis=(2, 3), keepdims=True, dtype="float64") + 1e-2)
    want = want * case.gamma.reshape(3, 1, 1) + case.beta.reshape(3, 1, 1)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_saved_holds_the_sum_for_what_comes_after(engine, operation, dtype):
    """x + residual, rounded to x's dtype; x itself where there is no residual."""
    case, forward = (
        make(operation, dtype=dtype, activation="gelu"),
        engine.kernel(f"{operation}_forward"),
    )
    other = make(operation, dtype=dtype, seed=1).x
    arguments = given(engine, case._replace(residual=other))
    _, saved = forward(**arguments)
    np.testing.assert_array_equal(engine.to_numpy(saved.x), case.x + other)
    assert saved.x is not arguments["x"]
    arguments["residual"] = None
    arguments["activation"] = None
    assert forward(**arguments)[1].x is arguments["x"]


def pickled(protocol):
    return lambda saved: pickle.loads(pickle.dumps(saved, protocol))


COPIES = {
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    **{
        f"pickle {protocol}": pickled(protocol)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_copied_saved_gives_the_same_gradients(operation, way):
    case = make(operation, residual=True, activation="gelu")
    for name in ("array", "numba"):
        forward, backward = (
            Cpu(name).kernel(f"{operation}_{each}") for each in ("forward", "backward")
        )
        _, saved = forward(**given(Cpu(name), case))
        want = backward(case.dy, saved)
        for one, other in zip(backward(case.dy, COPIES[way](saved)), want, strict=True):
            np.testing.assert_array_equal(one, other)
