"""What a kernel promises about its arrays: written in place, or refused before any write."""

from __future__ import annotations

import numpy as np
import onepass
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass import kernels
from oracles.rules import RULES, each
from tolerances import assert_step, signed

EVERY = each(*RULES)
ARGUMENTS = each(*((name, argument) for name, rule in RULES.items() for argument in rule.arrays))
WRITTEN = each(*((name, argument) for name, rule in RULES.items() for argument in rule.written))
PAIRS = each(
    *(
        (name, one, other)
        for name, rule in RULES.items()
        for one in rule.written
        for other in rule.arrays
        if one != other
    )
)


def call(engine, name, arrays, **options):
    return engine.kernel(name)(*arrays.values(), **engine.options(RULES[name], **options))


# --- what is refused, on every engine -------------------------------------------------------------
def torch_bfloat16(array):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    return torch.ones(5, dtype=torch.bfloat16)


NOT_ARRAYS = {
    "list": lambda a: [1.0] * 5,
    "float": lambda a: 1.0,
    "none": lambda a: None,
    "numpy scalar": lambda a: np.float32(1.0),
    "bfloat16 tensor": torch_bfloat16,
}
WRONG_DTYPES = ["int32", "uint8", "bool", "complex64", "object", "float64"]
WRONG_SHAPES = [(4,), (6,), (0,), (), (1,), (5, 1), (1, 5)]


@pytest.mark.parametrize("kind", NOT_ARRAYS)
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_not_an_array(engine, name, argument, kind):
    if kind == "bfloat16 tensor" and argument not in ("param", "grad"):
        pytest.skip("a state may be in bfloat16, PyTorch's too")
    arrays = engine.arrays(RULES[name])
    arrays[argument] = NOT_ARRAYS[kind](arrays[argument])
    with engine.refuses(TypeError, arrays, argument):
        call(engine, name, arrays)


@pytest.mark.parametrize("dtype", WRONG_DTYPES)
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_wrong_dtype(engine, name, argument, dtype):
    if dtype == "object" and engine.device == "cuda":
        pytest.skip("CuPy has no object arrays")
    arrays = engine.arrays(RULES[name])
    arrays[argument] = engine.asarray(np.ones(5, dtype))
    with engine.refuses(TypeError, arrays, argument, dtype):
        call(engine, name, arrays)


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex128"])
@pytest.mark.parametrize("name", EVERY)
def test_no_rule_takes_integers_or_complex_numbers_even_throughout(engine, name, dtype):
    arrays = engine.arrays(RULES[name], dtype=dtype)
    with engine.refuses(TypeError, arrays, "param", dtype):
        call(engine, name, arrays)


@pytest.mark.parametrize("shape", WRONG_SHAPES)
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_wrong_shape_is_never_broadcast(engine, name, argument, shape):
    arrays = engine.arrays(RULES[name])
    arrays[argument] = engine.asarray(np.ones(shape, "float32"))
    with engine.refuses(ValueError, arrays, argument, str(shape), "(5,)"):
        call(engine, name, arrays)


@pytest.mark.parametrize("shape", [5, (0,), (), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize(("name", "argument"), WRITTEN)
def test_read_only(engine, name, argument, shape):
    if engine.device == "cuda":
        pytest.skip("CuPy has no read-only arrays")
    arrays = engine.arrays(RULES[name], shape)
    arrays[argument].flags.writeable = False
    with engine.refuses(ValueError, arrays, argument):
        call(engine, name, arrays)


OVERLAPS = {
    "the same array": lambda b: (b[:8], b[:8]),
    "one element": lambda b: (b[:8], b[7:15]),
    "shifted by one": lambda b: (b[:8], b[1:9]),
    "reversed": lambda b: (b[:8], b[7::-1]),
    "strides that meet": lambda b: (b[0:16:2], b[0:24:3]),
}
MATRIX_OVERLAPS = {
    "the same array": lambda b: (b[:9].reshape(3, 3),) * 2,
    "transposed": lambda b: (b[:9].reshape(3, 3), b[:9].reshape(3, 3).T),
    "one element": lambda b: (b[:9].reshape(3, 3), b[8:17].reshape(3, 3)),
    "one element, transposed": lambda b: (b[:9].reshape(3, 3).T, b[8:17].reshape(3, 3).T),
    "one element of two orders": lambda b: (b[8:17].reshape(3, 3), b[:9].reshape(3, 3).T),
    "columns": lambda b: (b[:18].reshape(3, 6)[:, :3], b[:18].reshape(3, 6)[:, 2:5]),
}


@pytest.mark.parametrize("how", OVERLAPS)
@pytest.mark.parametrize(("name", "one", "other"), PAIRS)
def test_overlap_is_refused_naming_both(engine, name, one, other, how):
    arrays = engine.arrays(RULES[name], 8)
    arrays[one], arrays[other] = OVERLAPS[how](engine.asarray(np.ones(24, "float32")))
    with engine.refuses(ValueError, arrays, one, other):
        call(engine, name, arrays)


@pytest.mark.parametrize("how", MATRIX_OVERLAPS)
@pytest.mark.parametrize(("name", "one", "other"), PAIRS)
def test_matrices_that_overlap_are_refused_naming_both(engine, name, one, other, how):
    buffers = engine.arrays(RULES[name], 9)
    arrays = {key: buffer.reshape(3, 3) for key, buffer in buffers.items()}
    arrays[one], arrays[other] = MATRIX_OVERLAPS[how](engine.asarray(np.ones(24, "float32")))
    with engine.refuses(ValueError, arrays, one, other):
        call(engine, name, arrays)


@pytest.mark.parametrize(("name", "argument"), WRITTEN)
def test_a_written_array_whose_elements_share_memory(engine, name, argument):
    arrays = engine.arrays(RULES[name])
    module = np if engine.device == "cpu" else pytest.importorskip("cupy")
    arrays[argument] = module.lib.stride_tricks.as_strided(arrays[argument], (5,), (0,))
    with engine.refuses(ValueError, arrays, argument):
        call(engine, name, arrays)


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True)
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_mixed_backends(reference, name, argument):
    arrays = reference.arrays(RULES[name])
    arrays[argument] = np.ones(5, "float32")
    with reference.refuses(onepass.MixedBackendsError, arrays, argument, "on cpu", "on cuda:0"):
        getattr(kernels, name)(*arrays.values(), **reference.options(RULES[name]))


def test_error_types_can_be_caught_as_the_builtin_ones():
    assert issubclass(onepass.MixedBackendsError, TypeError)
    assert issubclass(onepass.EngineUnavailableError, RuntimeError)


BAD_CALLS = {
    "list": lambda a: a | {"grad": [1.0]},
    "dtype": lambda a: a | {"grad": a["grad"].astype("float64")},
    "integers": lambda a: {key: array.astype("int64") for key, array in a.items()},
    "shape": lambda a: a | {"grad": a["grad"][:3]},
    "overlap": lambda a: a | {"grad": a["param"]},
    "lr": lambda a: a | {"lr": -1.0},
    "lr type": lambda a: a | {"lr": "fast"},
    "weight_decay": lambda a: a | {"weight_decay": float("nan")},
}


@pytest.mark.parametrize("bad", BAD_CALLS)
@pytest.mark.parametrize("name", EVERY)
def test_every_engine_says_the_same(engine, name, bad):
    rule, errors = RULES[name], []
    for chosen in (engine.name, "array", "auto"):
        given_ = BAD_CALLS[bad](engine.arrays(rule))
        arrays = [given_.pop(key) for key in rule.arrays]
        with pytest.raises((TypeError, ValueError)) as caught:
            getattr(kernels, name)(*arrays, engine=chosen, **engine.options(rule, **given_))
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1] == errors[2]


# --- what works, in place -------------------------------------------------------------------------
# Each layout cuts a view of the wanted shape from a larger buffer; the rest must stay as it was.
LAYOUTS = {
    "C": lambda shape: (shape, lambda b: b),
    "Fortran": lambda shape: (shape[::-1], lambda b: b.T),
    "every other": lambda shape: ((*shape[:-1], 2 * shape[-1] + 1), lambda b: b[..., 1::2]),
    "inner columns": lambda shape: ((*shape[:-1], shape[-1] + 2), lambda b: b[..., 1:-1]),
    "reversed": lambda shape: (shape, lambda b: b[(slice(None, None, -1),) * b.ndim]),
    "first axis last": lambda shape: (
        (shape[-1], *shape[:-1]),
        lambda b: b.transpose(*range(1, b.ndim), 0),
    ),
}
SHAPES = [(), (0,), (1,), (7,), (1023,), (3, 0), (3, 7), (1, 1), (33, 31), (2, 3, 4)]


def cut(engine, values, layout):
    """A buffer on the device, a view of it that holds `values`, and which elements are no part."""
    shape, view = LAYOUTS[layout if values.ndim else "C"](values.shape)
    buffer, outside = np.full((3, *shape), 7.5, values.dtype), np.ones((3, *shape), bool)
    view(buffer[1, ...])[...], view(outside[1, ...])[...] = values, False
    buffer = engine.asarray(buffer)
    return buffer, view(buffer[1, ...]), outside


def check_layouts(engine, name, shape, dtype, layouts, seed=0):
    rule, rng = RULES[name], np.random.default_rng(seed)
    cuts = {}
    for argument, layout in zip(rule.arrays, layouts, strict=False):
        values = signed(rng, shape, 0.25, 2.0, dtype)
        values = values if argument in ("param", "grad", "m", "velocity") else np.abs(values)
        cuts[argument] = cut(engine, values, layout)
    arrays = {argument: view for argument, (_, view, _) in cuts.items()}
    before = {key: engine.to_numpy(buffer).tobytes() for key, (buffer, *_) in cuts.items()}
    try:
        assert_step(
            engine.kernel(name),
            rule,
            arrays,
            engine.options(rule, weight_decay=0.05),
            factor=engine.factor,
            to_numpy=engine.to_numpy,
        )
    except ValueError:
        if engine.name != "numba-cuda":  # which may refuse views, if it does so before any write
            raise
        for argument, (buffer, *_) in cuts.items():
            assert engine.to_numpy(buffer).tobytes() == before[argument], f"{argument} was written"
    for argument, (buffer, _, outside) in cuts.items():
        assert (engine.to_numpy(buffer)[outside] == 7.5).all(), f"{argument}: gaps were written"


@pytest.mark.slow
@given(data=st.data())
@pytest.mark.parametrize("name", EVERY)
def test_any_shape_dtype_and_layout_follows_the_oracle(engine, name, data):
    check_layouts(
        engine,
        name,
        data.draw(st.sampled_from(SHAPES), "shape"),
        data.draw(st.sampled_from(engine.dtypes), "dtype"),
        data.draw(st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 5), "layouts"),
        data.draw(st.integers(0, 2**32), "seed"),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 4)])
@pytest.mark.parametrize("name", EVERY)
def test_each_layout_on_each_engine(engine, name, shape, layout):
    for dtype in engine.dtypes:
        check_layouts(engine, name, shape, dtype, [layout] * 5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 7), (1, 5), (2, 3, 4)])
@pytest.mark.parametrize("name", EVERY)
def test_a_gradient_may_lie_in_another_order(engine, name, shape, layout):
    for others in ("C", "Fortran", "first axis last"):
        check_layouts(engine, name, shape, "float32", [others, layout, *[others] * 3])


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(300_007,), (601, 503)])
def test_layouts_at_a_size_that_threads_share(engine, layout, shape):
    check_layouts(engine, "adam_step", shape, "float32", [layout, "C", "C", layout])
    check_layouts(engine, "adam_step", shape, "float32", [layout] * 4)
    check_layouts(engine, "adam_step", shape, "float32", ["C", layout, "C", "C"])


@pytest.mark.parametrize("name", EVERY)
def test_interleaved_views_do_not_overlap(engine, name):
    rule = RULES[name]
    buffer = engine.asarray(np.linspace(0.5, 2.0, 7 * len(rule.arrays), dtype="float32"))
    views = {key: buffer[i :: len(rule.arrays)] for i, key in enumerate(rule.arrays)}
    if engine.name == "numba-cuda":
        pytest.skip("numba-cuda may refuse views; the layouts above hold it to that")
    assert_step(
        engine.kernel(name),
        rule,
        views,
        engine.options(rule),
        factor=engine.factor,
        to_numpy=engine.to_numpy,
    )


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 4, 6)])
@pytest.mark.parametrize("name", EVERY)
def test_read_only_broadcast_gradient(engine, name, shape):
    if engine.device == "cuda":
        pytest.skip("CuPy has no read-only arrays")
    arrays = engine.arrays(RULES[name], shape)
    arrays["grad"] = np.broadcast_to(np.float32([1, 2, 3, 4, 5, 6]), shape)
    assert not arrays["grad"].flags.writeable
    assert_step(engine.kernel(name), RULES[name], arrays, engine.options(RULES[name]))


def swapped(values):
    return values.astype(values.dtype.newbyteorder())


def unaligned(values):
    raw = np.zeros(values.nbytes + 1, np.uint8)[1:].view(values.dtype)
    raw[...] = values
    return raw


@pytest.mark.parametrize("odd", [swapped, unaligned])
@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_odd_memory_is_handled_or_refused_before_a_write(engine, name, argument, odd):
    if engine.device == "cuda":
        pytest.skip("CuPy has neither byte-swapped nor unaligned arrays")
    arrays = engine.arrays(RULES[name])
    arrays[argument] = odd(arrays[argument])
    assert not (arrays[argument].flags.aligned and arrays[argument].dtype.isnative)
    before = {key: array.tobytes() for key, array in arrays.items()}
    expected = RULES[name].oracle(*map(np.float64, arrays.values()), **engine.options(RULES[name]))
    refusal = ""
    try:
        call(engine, name, arrays)
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if refusal:
        assert argument in refusal
        assert {key: array.tobytes() for key, array in arrays.items()} == before
    else:
        for key, want in zip(RULES[name].written, expected, strict=True):
            np.testing.assert_allclose(arrays[key], want, rtol=1e-6)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
@pytest.mark.parametrize("name", EVERY)
def test_empty_arrays_are_a_no_op_but_still_checked(engine, name, shape):
    arrays = engine.arrays(RULES[name], shape)
    assert call(engine, name, arrays) is None
    arrays["grad"] = engine.asarray(np.ones(shape, "float64"))
    with engine.refuses(TypeError, arrays, "grad"):
        call(engine, name, arrays)
