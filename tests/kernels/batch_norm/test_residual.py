"""Batch normalization with a residual: values and gradients on every engine, arrays, refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from cases.batch_norm import (
    LAYOUTS,
    SHAPE,
    arrays,
    assert_batch_norm,
    assert_summed,
    check,
    given_options,
    in_memory_order,
    infer,
    make,
    needs,
    passes,
    refused,
    train,
)
from cases.batch_norm_ranks import assert_ranks
from cases.batch_norm_threads import SHARED, digest
from hypothesis import given
from hypothesis import strategies as st
from onepass import MixedBackendsError, kernels
from oracles import batch_norm as batchnorm
from tolerances import DTYPES

ACTIVATIONS = pytest.mark.parametrize("activation", [None, "relu"])


# --- values and gradients -------------------------------------------------------------------------
@ACTIVATIONS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_follows_the_oracle(engine, layout, dtype, activation):
    shape, axis, order = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, activation=activation, order=order, residual=True)
    check(engine, case)
    infer(engine, case)


@pytest.mark.parametrize("without", [("gamma",), ("beta",), ("gamma", "beta")])
def test_without_gamma_or_beta(engine, without):
    case = make((6, 5, 7), activation="relu", seed=1, residual=True)
    bare = case._replace(**dict.fromkeys(without))
    bare.dy[np.abs(batchnorm.forward(bare.x, bare.gamma, bare.beta, **bare.options).z) < 1e-3] = 0
    check(engine, bare)


@pytest.mark.slow  # compiled for float16
@pytest.mark.parametrize("parameters", ["float32", "float16"])
def test_parameters_of_another_dtype(engine, parameters):
    case = make((9, 4, 5), dtype="float16", parameters=parameters, activation="relu", residual=True)
    check(engine, case)
    infer(engine, case)


IMAGES = [((3, 8, 28, 28), 1), ((2, 6, 14, 14), 1), ((64, 40, 7, 7), 1), ((3, 16, 16, 24), -1)]


@pytest.mark.parametrize(("shape", "axis"), IMAGES)
def test_images(engine, shape, axis):
    check(engine, make(shape, axis, activation="relu", residual=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@ACTIVATIONS
@pytest.mark.parametrize("layout", ["N C", "N C H W"])
def test_torch_agrees(engine, layout, activation, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    shape, axis, _ = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, activation=activation, seed=2, residual=True)
    leaves = [case.x, case.gamma, case.beta, case.options["residual"]]
    x, gamma, beta, residual = (torch.from_numpy(a.copy()).requires_grad_() for a in leaves)
    z = torch.nn.functional.batch_norm(
        x, None, None, gamma, beta, True, eps=case.options["eps"]
    ).add(residual)  # fmt: skip
    want = torch.relu(z) if activation else z
    want.backward(torch.from_numpy(case.dy))
    got = train(engine, case.x, case.gamma, case.beta, dy=case.dy, **case.options)
    terms = batchnorm.terms(case.x, case.dy, case.gamma, case.beta, **case.options)
    expected = [want.detach(), *(each.grad for each in (x, gamma, beta))]
    scales = terms.y, terms.dx, terms.dgamma, terms.dbeta
    for k, scale in enumerate(scales):
        factor = 2.0 * engine.factor  # both sides round
        assert_summed(got[k], expected[k].numpy(), scale, dtype, factor, f"result {k}")
    np.testing.assert_array_equal(got[4], residual.grad.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_passes_where_y_is_greater_than_0_as_it_was_rounded(engine, dtype):
    """And where it is NaN, as it does without a residual."""
    needs(engine, dtype)
    case = make((40, 3), dtype=dtype, activation="relu", residual=True)
    case.options["residual"][:5, 0] = np.nan, np.inf, -np.inf, 0, -100
    forward, backward = passes(engine)
    given_ = (engine.asarray(each) for each in (case.x, case.gamma, case.beta))
    y, saved = forward(*given_, **given_options(case, engine.asarray))
    dy = np.ones(case.x.shape, dtype)
    *_, dz = (engine.to_numpy(each) for each in backward(engine.asarray(dy), saved))
    y = engine.to_numpy(y)
    assert np.isnan(y[0, 0])
    assert (y[2, 0], y[4, 0]) == (0, 0)
    np.testing.assert_array_equal(dz, np.where(y <= 0, 0, 1))


def test_inf_and_nan_of_a_residual_stay_in_their_place(engine):
    case = make((9, 3, 5), activation="relu", residual=True)
    clean, *_ = train(engine, case.x, case.gamma, case.beta, **case.options)
    case.options["residual"][2, 1, 3] = np.nan
    dirty, *_ = train(engine, case.x, case.gamma, case.beta, **case.options)
    assert np.isnan(dirty[2, 1, 3])
    dirty[2, 1, 3] = clean[2, 1, 3]
    np.testing.assert_array_equal(dirty, clean)


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(lambda rest: (6, *rest)),
    seed=st.integers(0, 1000),
    activation=st.sampled_from([None, "relu"]),
    name=st.sampled_from(["array", "numba"]),
)
def test_properties(shape, seed, activation, name):
    """Of zeros nothing changes; its gradient adds up to that of beta; it is added once."""
    case = make(shape, activation=activation, seed=seed, residual=True)
    options = case.options | {"engine": name}
    residual, affine = options.pop("residual"), (case.gamma, case.beta)
    plain, saved = kernels.batch_norm_forward(case.x, *affine, **options)
    zeros = np.zeros_like(residual)
    y, beside = kernels.batch_norm_forward(case.x, *affine, residual=zeros, **options)
    np.testing.assert_array_equal(y, plain)
    want = kernels.batch_norm_backward(case.dy, saved, engine=name)
    got = kernels.batch_norm_backward(case.dy, beside, engine=name)
    assert (len(want), len(got)) == (3, 4)
    gated = case.dy if activation is None else np.where(plain <= 0, 0, case.dy)
    np.testing.assert_array_equal(got[3], gated)
    for one, other in zip(got[:3], want, strict=True):  # what was stopped is the same but at kinks
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    others = tuple(k for k in range(len(shape)) if k != 1)
    np.testing.assert_allclose(got[3].sum(axis=others, dtype="float64"), got[2], atol=1e-4)
    if activation is None:
        y, _ = kernels.batch_norm_forward(case.x, *affine, residual=residual, **options)
        np.testing.assert_allclose(y, plain + residual, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 5), (2, 3, 0)])
def test_inference_of_no_values(engine, shape):
    x, ones = engine.asarray(np.zeros(shape, "float32")), engine.asarray(np.ones(3, "float32"))
    y = engine.kernel("batch_norm_inference")(x, ones, ones, ones, ones, residual=x)
    assert (y.shape, str(y.dtype)) == (shape, "float32")


def test_no_channels(engine):
    x, nothing = (engine.asarray(np.zeros(shape, "float32")) for shape in ((4, 0, 2), 0))
    _, saved = passes(engine)[0](x, nothing, nothing, residual=x, activation="relu")
    results = passes(engine)[1](x, saved)
    assert [each.shape for each in results] == [x.shape, (0,), (0,), x.shape]


# --- threads and ranks ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    [
        "many channels",
        "few channels, large slabs",
        "rows",
        pytest.param("float16, channels last", marks=pytest.mark.slow),
    ],
)
def test_every_number_of_threads_gives_the_same_bits(set_threads, name):
    shape, axis, dtype = SHARED[name]
    case, digests = make(shape, axis, dtype=dtype, activation="relu", residual=True), set()
    for threads in (1, 3):
        set_threads(threads)
        y, saved = kernels.batch_norm_forward(case.x, case.gamma, case.beta, **case.options)
        digests.add(digest([y, saved.kept, *kernels.batch_norm_backward(case.dy, saved)]))
    assert len(digests) == 1
    assert_batch_norm(kernels.batch_norm_forward, kernels.batch_norm_backward, case)


@ACTIVATIONS
@pytest.mark.parametrize("layout", ["N C", "N C H W", "N H W C"])
def test_ranks_follow_the_oracle_of_the_whole_batch(engine, layout, activation):
    shape, axis, _ = LAYOUTS[layout]
    case = make(shape, axis, activation=activation, residual=True)
    assert_ranks(engine, case, (shape[0] - 1, 0, 1))


# --- arrays ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", ["N C", "N C H W", "N H W C", "N C H W over N H W C"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_may_be_overwritten(engine, dtype, layout):
    needs(engine, dtype)
    shape, axis, order = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, activation="relu", order=order, residual=True)
    forward, backward = passes(engine)
    inference = engine.kernel("batch_norm_inference")
    rest = [engine.asarray(a) for a in case[2:4]]
    running = [engine.asarray(a) for a in case[4:6]]

    def fresh():
        return engine.asarray(case.x), given_options(case, engine.asarray)

    def same(got, want):
        np.testing.assert_array_equal(engine.to_numpy(got), want)

    x, options = fresh()
    y, saved = forward(x, *rest, **options)
    grads = [engine.to_numpy(each) for each in backward(engine.asarray(case.dy), saved)]
    plain = engine.to_numpy(inference(x, *rest, *running, **options))
    want = engine.to_numpy(y)

    for name in ("residual", "x"):
        x, options = fresh()
        over = x if name == "x" else options["residual"]
        assert inference(x, *rest, *running, out=over, **options) is over
        same(over, plain)
        x, options = fresh()
        over = x if name == "x" else options["residual"]
        y, saved = forward(x, *rest, out=over, **options)
        assert y is over
        same(over, want)
        dy = engine.asarray(case.dy)
        if name == "x":
            with engine.refuses(ValueError, {"dy": dy}, "saved.x"):
                backward(dy, saved)
            continue
        for place in (None, "dy", "new"):
            for out in (None, "dy", "new"):
                if place == out == "dy":
                    continue
                dy = engine.asarray(case.dy)
                makes = {None: None, "dy": dy, "new": engine.asarray(np.full_like(case.x, 7.5))}
                other = makes | {"new": engine.asarray(np.full_like(case.x, 7.5))}
                got = backward(dy, saved, out=makes[out], residual_grad=other[place])
                assert out is None or got[0] is makes[out]
                assert place is None or got[3] is other[place]
                for actual, expected in zip(got, grads, strict=True):
                    same(actual, expected)
        dy = engine.asarray(case.dy)
        got = backward(dy, saved, out=saved.x, residual_grad=dy)
        assert got[0] is saved.x
        for actual, expected in zip(got, grads, strict=True):
            same(actual, expected)


def test_without_an_activation_dy_itself_is_the_gradient(engine):
    case = make(SHAPE, residual=True)
    x, dy = engine.asarray(case.x), engine.asarray(case.dy)
    _, saved = passes(engine)[0](x, None, None, **given_options(case, engine.asarray))
    assert saved.y is None
    assert passes(engine)[1](dy, saved)[3] is dy
    assert passes(engine)[1](dy, saved, residual_grad=dy)[3] is dy
    place = engine.asarray(np.full_like(case.dy, 7.5))
    assert passes(engine)[1](dy, saved, residual_grad=place)[3] is place
    np.testing.assert_array_equal(engine.to_numpy(place), case.dy)
    with engine.refuses(ValueError, {"dy": dy}, "out is dy", "residual's gradient"):
        passes(engine)[1](dy, saved, out=dy)


GAPS = {
    "gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "turned": lambda a: in_memory_order(a, (2, 0, 1)),
    "reversed": lambda a: a[::-1].copy()[::-1],
}


@pytest.mark.parametrize("name", ["x", "residual", "out", "dy", "residual_grad", "dx"])
@pytest.mark.parametrize("memory", GAPS)
def test_one_array_of_other_memory(engine, memory, name):
    case = make((4, 6, 5), activation="relu", residual=True)
    names = ("x", "residual", "out", "dy", "residual_grad", "dx")
    values = case.x, case.options["residual"], case.x * 0, case.dy, case.x * 0, case.x * 0
    host = dict(zip(names, values, strict=True))
    given_ = {key: engine.asarray(value) for key, value in host.items()}
    wide = GAPS[memory](host[name])
    if engine.device == "cuda":
        module = pytest.importorskip("cupy")
        room = module.zeros(2 * wide.size + 8, wide.dtype)
        steps = wide.strides
        start = sum((n - 1) * -step for n, step in zip(wide.shape, steps, strict=True) if step < 0)
        given_[name] = module.ndarray(wide.shape, wide.dtype, room.data + start, steps)
        given_[name][...] = module.asarray(host[name])
    else:
        given_[name] = wide
    options = case.options | {"residual": given_["residual"]}
    affine = [engine.asarray(each) for each in (case.gamma, case.beta)]
    batch = batchnorm.forward(case.x, case.gamma, case.beta, **case.options)
    grads = batchnorm.backward(case.dy, case.x, case.gamma, case.beta, **case.options)
    _, saved = passes(engine)[0](given_["x"], *affine, out=given_["out"], **options)
    places = {"out": given_["dx"], "residual_grad": given_["residual_grad"]}
    passes(engine)[1](given_["dy"], saved, **places)
    dz = batchnorm.residual_gradient(case.dy, batch.z, "relu")
    for key, want in (("out", batch.y), ("dx", grads.dx), ("residual_grad", dz)):
        np.testing.assert_allclose(engine.to_numpy(given_[key]), want, rtol=1e-5, atol=2e-5)
    for key in ("x", "residual", "dy"):
        np.testing.assert_array_equal(engine.to_numpy(given_[key]), host[key])


@pytest.mark.parametrize("name", ["array", "numba", "auto"])
def test_arrays_of_another_library(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    case = make(SHAPE, activation="relu", residual=True)
    given_ = [torch.from_numpy(each.copy()) for each in case[:6]]
    residual = torch.from_numpy(case.options["residual"].copy())
    options = case.options | {"residual": residual, "engine": name}
    want = batchnorm.forward(case.x, case.gamma, case.beta, **case.options)
    y, saved = kernels.batch_norm_forward(given_[0], *given_[2:], out=residual, **options)
    np.testing.assert_allclose(residual.numpy(), want.y, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(y, residual.numpy())
    results = kernels.batch_norm_backward(given_[1], saved, residual_grad=given_[1], engine=name)
    dz = batchnorm.residual_gradient(case.dy, want.z, "relu")
    np.testing.assert_array_equal(given_[1].numpy(), dz.astype("float32"))
    np.testing.assert_array_equal(results[3], given_[1].numpy())


def test_saved_may_be_pickled_and_must_stay_as_it_was(engine):
    if engine.device == "cuda":
        pytest.skip("CuPy arrays are not pickled here")
    case = make(SHAPE, activation="relu", residual=True)
    _, saved = passes(engine)[0](case.x, case.gamma, case.beta, **case.options)
    want = passes(engine)[1](case.dy, saved)
    got = passes(engine)[1](case.dy, pickle.loads(pickle.dumps(saved)))
    for actual, expected in zip(got, want, strict=True):
        np.testing.assert_array_equal(actual, expected)
    saved.y = saved.y[:2]
    with pytest.raises(ValueError, match="saved was changed since the forward"):
        passes(engine)[1](case.dy, saved)


# --- refusals -------------------------------------------------------------------------------------
BAD = {
    "a list": (lambda e: [1.0], TypeError, ["{} is a list"]),
    "another dtype": (lambda e: e.asarray(np.ones(SHAPE)), TypeError, ["{}", "float64", "float32"]),
    "integers": (lambda e: e.asarray(np.ones(SHAPE, "int32")), TypeError, ["{} has dtype int32"]),
    "another shape": (
        lambda e: e.asarray(np.ones((4, 5, 3), "float32")), ValueError, ["{}", "(4, 5, 3)", "(4, 3"]
    ),
    "one that would be broadcast": (
        lambda e: e.asarray(np.ones((1, 3, 5), "float32")), ValueError, ["{}", "(1, 3, 5)", "(4, 3"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_residual_or_a_place_that_does_not_fit_is_refused(engine, bad):
    value, error, words = BAD[bad]
    for function in ("forward", "inference"):
        given_ = arrays(engine, residual=value(engine))
        refused(engine, function, given_, error, *(each.format("residual") for each in words))
        del given_["out"]  # the quick way
        refused(engine, function, given_, error, *(each.format("residual") for each in words))
    case = make(SHAPE, activation="relu", residual=True)
    x, dy = engine.asarray(case.x), engine.asarray(case.dy)
    _, saved = passes(engine)[0](x, None, None, **given_options(case, engine.asarray))
    with engine.refuses(
        error, {"x": x, "dy": dy}, *(each.format("residual_grad") for each in words)
    ):
        passes(engine)[1](dy, saved, residual_grad=value(engine))


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True)
def test_a_residual_of_another_device_is_refused(reference):
    residual = np.ones(SHAPE, "float32")
    for function in ("forward", "inference"):
        given_ = arrays(reference, residual=residual)
        refused(reference, function, given_, MixedBackendsError, "residual", "cpu", "cuda")


def test_overlapping_arrays_are_refused(engine):
    case = make(SHAPE, activation="relu", residual=True)
    room = engine.asarray(np.ones(2 * case.x.size, "float32"))
    one, other = (room[k : k + case.x.size].reshape(SHAPE) for k in (0, 1))
    for function in ("forward", "inference"):
        refused(engine, function, arrays(engine, residual=one, out=other), ValueError,
                "residual", "overlap")  # fmt: skip
        for vector in ("running_mean", "running_var"):
            given_ = arrays(engine, residual=one, **{vector: room[1:4]})
            if function == "forward":
                refused(engine, function, given_, ValueError, "residual", vector)
                del given_["out"]
                refused(engine, function, given_, ValueError, "residual", vector)
    x, dy = engine.asarray(case.x), engine.asarray(case.dy)
    gamma, beta = engine.asarray(case.gamma), engine.asarray(case.beta)
    options = given_options(case, engine.asarray)
    y, saved = passes(engine)[0](x, gamma, beta, **options)
    backward, given_ = passes(engine)[1], {"x": x, "dy": dy, "y": y}
    with engine.refuses(ValueError, given_, "residual_grad", "overlap"):
        backward(dy, saved, out=one, residual_grad=other)
    with engine.refuses(ValueError, given_, "residual_grad", "out"):
        backward(dy, saved, out=dy, residual_grad=dy)
    for name in ("out", "residual_grad"):
        with engine.refuses(ValueError, given_, name, "saved.y"):
            backward(dy, saved, **{name: y})
    with engine.refuses(ValueError, given_, "residual_grad", "saved.x"):
        backward(dy, saved, residual_grad=x)
    with engine.refuses(ValueError, given_, "gamma_grad", "saved.y"):
        backward(dy, saved, gamma_grad=y.reshape(-1)[:3])
    assert len(backward(dy, saved)) == 4, "a refused call has used saved up"


def test_a_place_without_a_residual_is_refused(engine):
    x = engine.asarray(make(SHAPE).x)
    _, saved = passes(engine)[0](x, None, None)
    place = engine.asarray(np.ones(SHAPE, "float32"))
    with engine.refuses(ValueError, {"place": place}, "residual_grad", "no residual"):
        passes(engine)[1](place, saved, residual_grad=place)
    assert len(passes(engine)[1](place, saved)) == 3


def test_a_place_that_is_read_only_is_refused():
    case = make(SHAPE, activation="relu", residual=True)
    _, saved = kernels.batch_norm_forward(case.x, None, None, **case.options)
    place = np.ones(SHAPE, "float32")
    place.flags.writeable = False
    with pytest.raises(ValueError, match="residual_grad is read-only"):
        kernels.batch_norm_backward(case.dy, saved, residual_grad=place)
