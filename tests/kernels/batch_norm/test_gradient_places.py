"""gamma_grad and beta_grad: where the gradients of gamma and beta go."""

from __future__ import annotations

import numpy as np
import pytest
from cases.batch_norm import SHAPE, make, needs, passes
from tolerances import DTYPES

PLACES = ("gamma_grad", "beta_grad")


def given(engine, dtype="float32", parameters=None, shape=SHAPE):
    case = make(shape, dtype=dtype, activation="relu", parameters=parameters)
    x, dy, gamma, beta, *_ = (engine.asarray(each) for each in case[:-1])
    _, saved = passes(engine)[0](x, gamma, beta, **case.options)
    return dy, saved


def frozen(engine, dy, saved):
    """A backward by running statistics of the same arrays."""
    mean, var = (engine.asarray(np.ones(dy.shape[1], str(saved.kept.dtype))) for _ in range(2))
    back = engine.kernel("batch_norm_inference_backward")
    return lambda **places: back(dy, saved.x, saved.gamma, saved.beta, mean, var, **places)


def both(engine, dy, saved):
    yield lambda **places: passes(engine)[1](dy, saved, **places)
    yield frozen(engine, dy, saved)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("parameters", [None, "float32"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_in_their_places_and_what_they_are_without(engine, dtype, parameters, gaps):
    needs(engine, dtype)
    dy, saved = given(engine, dtype, parameters)
    kind, channels = saved.gamma.dtype, SHAPE[1]
    for backward in both(engine, dy, saved):
        want = [engine.to_numpy(each) for each in backward()]
        room = engine.asarray(np.full((4, channels, 2), np.nan, kind))
        made = [room[k, :, 0] if gaps else room[k].reshape(-1)[1 : 1 + channels] for k in (1, 2)]
        got = backward(gamma_grad=made[0], beta_grad=made[1])
        assert got[1] is made[0]
        assert got[2] is made[1]
        for actual, expected in zip(got, want, strict=True):
            np.testing.assert_array_equal(engine.to_numpy(actual), expected)
        assert np.isnan(engine.to_numpy(room)).sum() == room.size - 2 * channels
        alone = backward(beta_grad=made[1])
        assert alone[2] is made[1]
        np.testing.assert_array_equal(engine.to_numpy(alone[1]), want[1])


def test_dx_may_replace_dy_beside_them(engine):
    dy, saved = given(engine)
    want = [engine.to_numpy(each) for each in passes(engine)[1](dy, saved)]
    places = {name: engine.asarray(np.zeros(SHAPE[1], "float32")) for name in PLACES}
    got = passes(engine)[1](dy, saved, out=dy, **places)
    for actual, expected in zip(got, want, strict=True):
        np.testing.assert_array_equal(engine.to_numpy(actual), expected)


def test_no_samples_have_gradients_of_0(engine):
    _, saved = given(engine)
    x = engine.asarray(np.zeros((0, *SHAPE[1:]), "float32"))
    saved.x = x
    places = {name: engine.asarray(np.full(SHAPE[1], np.nan, "float32")) for name in PLACES}
    got = frozen(engine, x, saved)(**places)
    assert got[1] is places["gamma_grad"]
    assert not any(engine.to_numpy(each).any() for each in got[1:])


def test_no_channels_have_places(engine):
    x, nothing = (engine.asarray(np.zeros(shape, "float32")) for shape in ((4, 0, 2), 0))
    _, saved = passes(engine)[0](x, nothing, nothing.copy())
    place = nothing.copy()
    got = passes(engine)[1](x, saved, gamma_grad=place, beta_grad=nothing.copy())
    assert got[1] is place


BAD = {
    "a list": (lambda e: [0.0] * 3, TypeError, ["is a list"]),
    "another dtype": (lambda e: e.asarray(np.ones(3)), TypeError, ["has dtype float64", "float32"]),
    "too long": (lambda e: e.asarray(np.ones(4, "float32")), ValueError, ["(4,)", "(3,)"]),
    "a column": (lambda e: e.asarray(np.ones((3, 1), "float32")), ValueError, ["(3, 1)", "(3,)"]),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("bad", BAD)
def test_a_place_that_can_not_take_its_gradient_is_refused(engine, bad, name):
    make_place, error, words = BAD[bad]
    dy, saved = given(engine)
    place = make_place(engine)
    for backward in both(engine, dy, saved):
        with engine.refuses(error, {"dy": dy, "x": saved.x, name: place}, name, *words):
            backward(**{name: place})


@pytest.mark.parametrize("name", PLACES)
def test_a_place_of_what_has_no_gradient_is_refused(engine, name):
    x = engine.asarray(np.random.default_rng(0).random(SHAPE, dtype="float32"))
    _, saved = passes(engine)[0](x, None, None)
    place = engine.asarray(np.ones(3, "float32"))
    for backward in both(engine, x, saved):
        with engine.refuses(ValueError, {name: place}, name, name.removesuffix("_grad"), "None"):
            backward(**{name: place})


@pytest.mark.parametrize("name", PLACES)
def test_a_place_over_another_array_is_refused(engine, name):
    dy, saved = given(engine)
    for other in (dy, saved.x, saved.gamma, saved.beta):
        place = other.reshape(-1)[:3]
        for backward in both(engine, dy, saved):
            with engine.refuses(ValueError, {"dy": dy, "x": saved.x}, name, "overlap"):
                backward(**{name: place})
    room = engine.asarray(np.ones(5, "float32"))
    for backward in both(engine, dy, saved):
        with engine.refuses(ValueError, {"room": room}, *PLACES, "overlap"):
            backward(gamma_grad=room[:3], beta_grad=room[1:4])


def test_a_place_that_is_read_only_is_refused():
    from conftest import Engine

    engine = Engine("numba", "cpu")
    dy, saved = given(engine)
    place = np.ones(3, "float32")
    place.flags.writeable = False
    for backward in both(engine, dy, saved):
        with engine.refuses(ValueError, {"place": place}, "gamma_grad", "read-only"):
            backward(gamma_grad=place)
