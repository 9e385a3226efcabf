"""Layer, RMS and group norm of arrays in any layout: given, written, empty, of another order."""

from __future__ import annotations

import numpy as np
import pytest
from cases import norms
from cases.norms import BFLOAT16, DTYPES, OPERATIONS, Cpu, assert_right, check, given, make, run
from hypothesis import given as drawn
from hypothesis import strategies as st
from onepass import kernels
from tolerances import DTYPES as NUMPYS

pytestmark = pytest.mark.slow  # each layout and variant compiles

VIEWS = {
    "F": np.asfortranarray,
    "every other value": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed rows": lambda a: a[::-1].copy()[::-1],
    "reversed values": lambda a: a[..., ::-1].copy()[..., ::-1],
    "a column of a wider array": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "padded rows": lambda a: np.concatenate([a, a], axis=-1)[..., : a.shape[-1]],
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "odd addresses": lambda a: np.frombuffer(b"0" + a.tobytes(), a.dtype, offset=1).reshape(
        a.shape
    ),
    "axes turned": lambda a: np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 1 else a,
}
CPU = ("auto", "array", "numba")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("view", VIEWS)
def test_any_layout(view, name, operation, residual):
    """Of x, the residual, gamma, beta and dy alike; of each of them alone."""
    case = make(operation, residual=residual, activation="gelu" if residual else None)
    check(Cpu(name, VIEWS[view]), case)
    for changed in ("x", "dy", "gamma", "residual"):
        if (array := getattr(case, changed)) is not None:
            check(Cpu(name, lambda a: a), case._replace(**{changed: VIEWS[view](array)}))


@pytest.mark.parametrize("view", ["F", "axes turned", "every other value"])
@pytest.mark.parametrize("name", CPU)
def test_any_layout_of_several_axes(name, view):
    for operation in ("layer_norm", "rms_norm"):
        check(Cpu(name, VIEWS[view]), make(operation, (3, 4, 5), normalized_shape=(4, 5)))
    check(Cpu(name, VIEWS[view]), make("group_norm", (3, 6, 4, 5), groups=2))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", CPU)
def test_the_other_byte_order(name, operation):
    swapped = Cpu(name, lambda a: a.astype(a.dtype.newbyteorder()))
    check(swapped, make(operation, residual=True, activation="gelu"))


@pytest.mark.parametrize("dtype", [BFLOAT16])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", CPU)
def test_layouts_of_bfloat16(name, operation, dtype):
    """Which NumPy copies by functions of ml_dtypes, from the other byte order too."""
    case = make(operation, dtype=dtype, residual=True, activation="gelu")
    for view in ("F", "every other value", "odd addresses"):
        check(Cpu(name, VIEWS[view]), case)
    check(Cpu(name, lambda a: a.byteswap().view(a.dtype.newbyteorder())), case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_results_in_given_arrays(engine, operation, dtype):
    case = make(operation, dtype=dtype, residual=True, activation="gelu")
    y, dx = (engine.asarray(np.full(case.x.shape, 7, dtype)) for _ in range(2))
    found, saved = engine.kernel(f"{operation}_forward")(**given(engine, case), out=y)
    assert found is y
    found, *sums = engine.kernel(f"{operation}_backward")(engine.asarray(case.dy), saved, out=dx)
    assert found is dx
    assert_right(case, [engine.to_numpy(a) for a in (y, dx, *sums)], engine.factor)


@pytest.mark.parametrize(
    ("residual", "dtype"),
    [
        (False, "float32"),
        (True, "float32"),
        pytest.param(False, *BFLOAT16.values, marks=BFLOAT16.marks),
    ],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_results_in_the_place_of_what_is_given(engine, operation, residual, dtype):
    """y in that of x, dx in that of dy."""
    activation = "gelu" if residual else None
    case = make(operation, residual=residual, activation=activation, dtype=dtype)
    arguments = given(engine, case)
    y, _ = engine.kernel(f"{operation}_forward")(**arguments, out=arguments["x"])
    assert y is arguments["x"]
    assert_right(case, [engine.to_numpy(y)], engine.factor)
    _, saved = engine.kernel(f"{operation}_forward")(**given(engine, case))
    dy = engine.asarray(case.dy)
    dx, *sums = engine.kernel(f"{operation}_backward")(dy, saved, out=dy)
    assert dx is dy
    results = [engine.to_numpy(each) for each in (y, dx, *sums)]
    assert_right(case, results, engine.factor)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_y_in_the_place_of_what_was_added(engine, operation):
    """Of x or of the residual: backward has the sum, and is right after it."""
    case = make(operation, residual=True, activation="gelu")
    for place in ("x", "residual"):
        arguments = given(engine, case)
        y, saved = engine.kernel(f"{operation}_forward")(**arguments, out=arguments[place])
        assert y is arguments[place]
        back = engine.kernel(f"{operation}_backward")(engine.asarray(case.dy), saved)
        assert_right(case, [engine.to_numpy(each) for each in (y, *back)], engine.factor)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_after_y_in_the_place_of_x_there_is_no_backward(engine, operation):
    case = make(operation)
    arguments = given(engine, case)
    y, saved = engine.kernel(f"{operation}_forward")(**arguments, out=arguments["x"])
    dy = engine.asarray(case.dy)
    with engine.refuses(ValueError, {"y": y, "dy": dy}, "saved"):
        engine.kernel(f"{operation}_backward")(dy, saved)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_dx_in_the_place_of_saved_x_uses_saved_up(engine, operation, residual):
    case = make(operation, residual=residual, activation="gelu" if residual else None)
    y, saved = engine.kernel(f"{operation}_forward")(**given(engine, case))
    backward, dy = engine.kernel(f"{operation}_backward"), engine.asarray(case.dy)
    place = saved.x
    dx, *sums = backward(dy, saved, out=place)
    assert dx is place
    assert_right(case, [engine.to_numpy(each) for each in (y, dx, *sums)], engine.factor)
    with engine.refuses(ValueError, {"dx": dx, "dy": dy}, "saved"):
        backward(dy, saved)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", CPU)
def test_results_with_gaps(name, operation):
    case = make(operation, residual=True, activation="gelu")
    wide = np.full((2, *case.x.shape[:-1], 2 * case.x.shape[-1]), 7, "float32")
    y, dx = wide[0, ..., ::2], wide[1, ..., ::2]
    cpu = Cpu(name)
    found, saved = cpu.kernel(f"{operation}_forward")(**given(cpu, case), out=y)
    assert found is y
    found, *sums = cpu.kernel(f"{operation}_backward")(case.dy, saved, out=dx)
    assert found is dx
    assert_right(case, [y, dx, *sums])
    assert (wide[..., 1::2] == 7).all(), "the gaps were written"
    for turned in (np.empty_like(case.x, order="F"), np.empty_like(case.x)[::-1]):
        cpu.kernel(f"{operation}_forward")(**given(cpu, case), out=turned)
        assert_right(case, [turned])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_another_view_of_x_counts_as_x(operation):
    case = make(operation)
    want, _ = Cpu("auto").kernel(f"{operation}_forward")(**given(Cpu("auto"), case))
    arguments = given(Cpu("auto"), case)
    x = arguments["x"]
    Cpu("auto").kernel(f"{operation}_forward")(**arguments, out=x[:])
    np.testing.assert_array_equal(x, want)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_x_may_be_its_own_residual(engine, operation):
    """Both are read only; the sum is 2 x."""
    case = make(operation, activation="gelu")
    arguments = given(engine, case)
    arguments["residual"] = arguments["x"]
    y, saved = engine.kernel(f"{operation}_forward")(**arguments)
    back = engine.kernel(f"{operation}_backward")(engine.asarray(case.dy), saved)
    results = [engine.to_numpy(each) for each in (y, *back)]
    assert_right(case._replace(residual=case.x), results, engine.factor)


EMPTY = {
    "layer_norm": [((0, 5), {}), ((0,), {}), ((5, 0), {}), ((2, 0, 4), {"normalized_shape": 4}),
                   ((0, 3, 4), {"normalized_shape": (3, 4)})],
    "group_norm": [((0, 4), {"groups": 2}), ((0, 4, 3, 3), {"groups": 4})],
}  # fmt: skip
EMPTY["rms_norm"] = EMPTY["layer_norm"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_empty_arrays(engine, operation, residual, dtype):
    """They stay empty; no rows leave the gradients of gamma and beta at 0."""
    for shape, cut in EMPTY[operation]:
        x, width = np.ones(shape, dtype), cut.get("normalized_shape", shape[-1])
        width = shape[1] if operation == "group_norm" else width
        arguments = {"gamma": engine.asarray(np.ones(width, dtype)), **cut}
        if operation != "rms_norm":
            arguments["beta"] = engine.asarray(np.ones(width, dtype))
        if residual:
            arguments |= {"residual": engine.asarray(x), "activation": "gelu"}
        y, saved = engine.kernel(f"{operation}_forward")(engine.asarray(x), **arguments)
        dx, *sums = engine.kernel(f"{operation}_backward")(engine.asarray(x), saved)
        for each in (y, dx):
            assert each.shape == shape
            assert each.dtype == dtype
        for each in sums:
            assert each.shape == arguments["gamma"].shape
            assert (engine.to_numpy(each) == 0).all()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_memory_that_a_file_holds_is_taken(operation, tmp_path):
    case = make(operation)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=case.x.shape)
    mapped[...] = case.x
    for name in CPU:
        check(Cpu(name, lambda a: mapped if a is case.x else np.array(a)), case)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_results_are_numpys_arrays_where_others_are_given(operation):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    case = make(operation, residual=True, activation="gelu")
    wanted = run(Cpu("auto"), case)
    found = run(Cpu("auto", lambda a: torch.from_numpy(a.copy())), case)
    for one, other in zip(found, wanted, strict=True):
        assert type(one) is np.ndarray
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_results_of_engines_are_in_x_s_dtype_and_shape(engine):
    for operation in OPERATIONS:
        for dtype in NUMPYS:
            case = make(operation, dtype=dtype)
            for found, like in zip(run(engine, case), (case.x, case.x, case.gamma), strict=False):
                assert (found.dtype, found.shape) == (like.dtype, like.shape)


SIDES = st.integers(0, 12)


@pytest.mark.slow
@drawn(
    shape=st.lists(SIDES, min_size=1, max_size=4).map(tuple),
    axes=st.integers(1, 4),
    operation=st.sampled_from(["layer_norm", "rms_norm"]),
    dtype=st.sampled_from(NUMPYS),
    activation=st.sampled_from([None, "relu", "silu", "gelu"]),
    residual=st.booleans(),
    vectors=st.sampled_from(["", "gamma", "beta", "gamma beta"]),
    view=st.sampled_from([None, "F", "reversed rows", "padded rows"]),
    name=st.sampled_from(CPU),
    seed=st.integers(0, 99),
)
def test_any_shape(shape, axes, operation, dtype, activation, residual, vectors, view, name, seed):
    case = make(
        operation, shape, dtype=dtype, activation=activation, residual=residual, vectors=vectors,
        seed=seed, normalized_shape=shape[-axes:],
    )  # fmt: skip
    check(Cpu(name, VIEWS.get(view, np.array)), case)


@pytest.mark.slow
@drawn(
    channels=st.integers(1, 5),
    groups=st.integers(1, 5),
    samples=st.integers(0, 6),
    inner=st.lists(st.integers(1, 8), max_size=3),
    dtype=st.sampled_from(NUMPYS),
    activation=st.sampled_from([None, "relu", "silu", "gelu"]),
    residual=st.booleans(),
    vectors=st.sampled_from(["", "gamma", "beta", "gamma beta"]),
    view=st.sampled_from([None, "F", "reversed rows", "padded rows", "axes turned"]),
    name=st.sampled_from(CPU),
    seed=st.integers(0, 99),
)
def test_any_groups(
    channels, groups, samples, inner, dtype, activation, residual, vectors, view, name, seed
):
    shape = (samples, channels * groups, *inner)
    if channels * int(np.prod(inner)) < 2:
        shape = (*shape, 2)
    case = make(
        "group_norm", shape, dtype=dtype, activation=activation, residual=residual,
        vectors=vectors, seed=seed, groups=groups,
    )  # fmt: skip
    check(Cpu(name, VIEWS.get(view, np.array)), case)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_plain_calls_take_positions(operation):
    """gamma and beta may be given by position."""
    shape, cut = norms.PLAIN[operation]
    case = make(operation, shape, **cut)
    vectors = [each for each in (case.gamma, case.beta) if each is not None]
    y, saved = getattr(kernels, f"{operation}_forward")(case.x, *vectors, **case.options)
    assert_right(case, [y, *getattr(kernels, f"{operation}_backward")(case.dy, saved)])
