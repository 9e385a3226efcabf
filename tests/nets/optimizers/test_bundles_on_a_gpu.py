"""Many separate CuPy arrays in a launch a dtype: the same numbers as one array at a time, and what
is not of the plainest kind goes the long way or is refused as ever."""

from __future__ import annotations

import copy
import pickle
import weakref

import numpy as np
import pytest
from cases import lists
from cases.six_gradients import KINDS
from onepass import MixedBackendsError
from onepass.kernels.engine_table import Kept, find_engine
from onepass.kernels.launch import check_all, launch_all
from onepass.kernels.rule_engines.cupy_bundle import all_apart
from onepass.nets import SGD, Adam
from oracles.rules import RULES
from tolerances import DTYPES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.parametrize("engine", [("cupy", "cuda")], indirect=True, ids="-".join),
]
SHAPES = [(7,), (), (3, 0), (5, 3), (1,), (2, 3, 4), (1023,), (33, 31), (9000,)]


@pytest.fixture
def cupy(engine):
    return pytest.importorskip("cupy")


def drawn(cupy, shapes=SHAPES, dtype="float32", seed=0):
    """Arrays of which some begin where no pack may."""
    rng = np.random.default_rng(seed)
    arrays = []
    for k, shape in enumerate(shapes):
        values = rng.standard_normal(shape).astype(dtype)
        room = cupy.empty(values.size + 1, dtype)
        array = room[k % 2 :][: values.size].reshape(shape)
        array[...] = cupy.asarray(values)
        arrays.append(array)
    return arrays


def kept_of(optimizer):
    """What is known of the arrays of a step in which all have gradients."""
    return optimizer._storage._kept[frozenset()]


def bits(arrays):
    return [array.get().tobytes() for array in arrays]


def fit(columns):
    """Whether steps on these arrays would go in one launch a dtype."""
    columns, asked = tuple(map(tuple, columns)), []
    check_all(columns, "cupy", Kept(sum(map(len, columns))), asked.append)
    return not asked


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_each_array_is_stepped_as_the_oracle_does(engine, cupy, name, dtype):
    rule = RULES[name]
    options = {"lr": 0.1, "weight_decay": 0.05, "maximize": True, "grad_scale": 0.7}
    calls = lists.draw(rule, dtype)
    calls = [{key: engine.asarray(a) for key, a in call.items()} for call in calls]
    kept = Kept(len(calls) * len(rule.arrays))
    find_engine(engine.name, calls[0]["param"], True)  # as an optimizer does, when it is made

    def run(prepared, columns):
        launch_all(prepared, columns, engine.name, kept, lambda given: None)
        assert kept.bundle is not None

    lists.check(run, name, rule, options, calls, engine.factor, engine.to_numpy)


@pytest.mark.parametrize("dtype", [*DTYPES, "mixed"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_steps_equal_those_of_one_array_at_a_time_bit_for_bit(cupy, kind, dtype):
    def arrays(seed):
        if dtype != "mixed":
            return drawn(cupy, dtype=dtype, seed=seed)
        return [a for each in DTYPES for a in drawn(cupy, SHAPES[2:5], each, seed)]

    params = arrays(0)
    alone = [param.copy() for param in params]
    together, each = kind(params), [kind([param]) for param in alone]
    gradients = arrays(1)
    for step in range(6):
        if step in (3, 5):  # others; in between the same objects
            gradients = arrays(step)
        else:
            for gradient in gradients:
                gradient *= gradient.dtype.type(0.5)
        together.step(gradients)
        assert kept_of(together).bundle is not None
        for optimizer, gradient in zip(each, gradients, strict=True):
            optimizer.step([gradient])
        assert bits(params) == bits(alone)
    for name in kind.states:
        states = [optimizer._state[name][0] for optimizer in each]
        assert bits(together._state[name]) == bits(states)


ODD = {
    "gaps": lambda a: a.repeat(2, axis=-1)[..., ::2],
    "another order": lambda a: a.T.copy().T,
}


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("odd", ODD)
def test_arrays_that_are_not_plain_are_stepped_one_by_one(cupy, odd, where):
    shapes = [(3, 4), (5, 2), (4, 4)]
    columns = drawn(cupy, shapes), drawn(cupy, shapes, seed=1)
    columns[where][1] = ODD[odd](columns[where][1])
    params, grads = columns
    expected = [param - grad for param, grad in zip(params, grads, strict=True)]
    assert not fit(columns)
    SGD(params, lr=1.0).step(grads)
    for param, want in zip(params, expected, strict=True):
        np.testing.assert_allclose(param.get(), want.get(), rtol=1e-6)


def test_bundles_know_what_is_written_and_what_is_read(cupy):
    shared = cupy.ones(12, "float32")
    a, b, c, d = shared[:3], shared[3:6], shared[6:9], shared[9:]
    SGD([a, b])  # which finds the engine
    assert fit([[a, b], [c, d]]), "neighbours are apart"
    assert fit([[a, b], [c, c]]), "one gradient may serve two"
    assert not fit([[a, b], [c, shared[5:8]]])
    assert not fit([[a, b], [d, d], [c, c]]), "states are written"
    assert not fit([[a, shared[2:5]], [c, d]])
    assert fit([[a[:0], shared[:0], b], [a[:0], a[:0], c]]), "nothing shares nothing"


def naive(addresses, nbytes):
    """`all_apart`, pair by pair."""
    spans = [
        (start, start + n, argument != 1)
        for row, n in zip(addresses, nbytes, strict=True)
        for argument, start in enumerate(row)
        if n
    ]
    return not any(
        (one[2] or other[2]) and one[0] < other[1] and other[0] < one[1]
        for k, one in enumerate(spans)
        for other in spans[:k]
    )


def test_overlaps_are_those_that_pairs_have(engine):
    rng, found = np.random.default_rng(0), []
    for _ in range(3000):
        calls, arguments = rng.integers(1, 5), rng.integers(2, 5)
        addresses = rng.integers(0, 60, (calls, arguments))
        nbytes, order = rng.integers(0, 5, calls), rng.permutation(calls * arguments)
        found.append(naive(addresses.tolist(), nbytes.tolist()))
        assert all_apart(addresses, nbytes, order) == found[-1]
        assert sorted(order) == list(range(calls * arguments))
    assert 300 < sum(found) < 2700


REFUSED = {
    "an overlap": (ValueError, r"params\['1'\] and grads\['2'\] overlap",
                   lambda cupy, p, g: {**g, "2": p["1"][:4]}),
    "a shape": (ValueError, r"grads\['2'\] has shape \(2, 2\)",
                lambda cupy, p, g: {**g, "2": g["2"].reshape(2, 2)}),
    "a dtype": (TypeError, r"grads\['0'\] has dtype float64",
                lambda cupy, p, g: {**g, "0": g["0"].astype("float64")}),
    "the CPU": (MixedBackendsError, "cpu",
                lambda cupy, p, g: {**g, "0": g["0"].get()}),
}  # fmt: skip


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("clip_norm", [None, 1e6])
@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_told_and_nothing_was_written(cupy, what, clip_norm, prepared):
    error, words, edit = REFUSED[what]
    shapes = [(6,), (5,), (4,)]
    params, grads = (
        dict(zip("012", drawn(cupy, shapes, seed=seed), strict=True)) for seed in range(2)
    )
    optimizer = Adam(params, clip_norm=clip_norm)
    if prepared:
        optimizer.step(grads)
        optimizer.step(grads)
    before, steps = bits(params.values()), optimizer.steps
    with pytest.raises(error, match=words):
        optimizer.step(edit(cupy, params, grads))
    assert (bits(params.values()), optimizer.steps) == (before, steps)
    optimizer.step(grads)
    assert bits(params.values()) != before


def test_gradients_that_are_made_anew_are_not_kept_alive(cupy):
    params = drawn(cupy)
    optimizer = SGD(params)
    for seed in (1, 2):
        grads = drawn(cupy, seed=seed)
        optimizer.step(grads)
    gone = weakref.ref(grads[0])
    del grads
    assert gone() is None


def test_a_gradient_where_an_old_one_lay_may_have_another_shape(cupy):
    """Addresses alone say nothing."""
    params = [cupy.zeros((2, 3)), cupy.zeros(3)]
    room = cupy.ones(9)
    optimizer = SGD(params, lr=1.0)
    optimizer.step([room[:6].reshape(2, 3), room[6:]])
    with pytest.raises(ValueError, match=r"grads\[0\] has shape \(3, 2\)"):
        optimizer.step([room[:6].reshape(3, 2), room[6:]])
    assert (params[0].get() == -1).all()


def test_new_states_are_those_that_are_stepped(cupy):
    params, grads = drawn(cupy), drawn(cupy, seed=1)
    optimizer = Adam(params)
    optimizer.step(grads)
    kept, values = optimizer.state_dict(), [param.copy() for param in params]
    optimizer.step(grads)
    expected = bits(params), bits(optimizer._state["m"])
    optimizer.load_state_dict(kept)
    for param, value in zip(params, values, strict=True):
        param[...] = value
    optimizer.step(grads)
    assert (bits(params), bits(optimizer._state["m"])) == expected


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda kept: pickle.loads(pickle.dumps(kept))])
def test_a_copy_of_an_optimizer_steps_arrays_of_its_own(cupy, copied):
    params, grads = drawn(cupy), drawn(cupy, seed=1)
    optimizer = Adam(params)
    optimizer.step(grads)
    other, before = copied(optimizer), bits(params)
    other.step(grads)
    assert bits(params) == before != bits(other.params)
    optimizer.step(grads)
    assert bits(params) == bits(other.params)


def test_another_stream_has_a_table_of_its_own(cupy):
    params, grads = drawn(cupy), drawn(cupy, seed=1)
    expected = [param - 3 * grad for param, grad in zip(params, grads, strict=True)]
    optimizer = SGD(params, lr=1.0)
    tables = []
    for stream in (cupy.cuda.Stream.null, cupy.cuda.Stream(non_blocking=True)):
        stream.synchronize()
        with stream:
            optimizer.step(grads)
        stream.synchronize()
        tables.append(kept_of(optimizer).bundle.tables[0].places[0].data.ptr)
    optimizer.step(grads)
    tables.append(kept_of(optimizer).bundle.tables[0].places[0].data.ptr)
    assert tables[0] != tables[1] != tables[2]
    for param, want in zip(params, expected, strict=True):
        np.testing.assert_allclose(param.get(), want.get(), rtol=1e-5, atol=1e-5)


def test_arrays_of_another_device_than_the_current_one(cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    with cupy.cuda.Device(1):
        params, grads = drawn(cupy), drawn(cupy, seed=1)
        expected = [(param - grad).get() for param, grad in zip(params, grads, strict=True)]
    optimizer = SGD(params, lr=1.0, clip_norm=1e9)
    optimizer.step(grads)
    assert cupy.cuda.Device().id == 0
    assert {t.places[0].device.id for t in kept_of(optimizer).bundle.tables} == {1}
    for param, want in zip(params, expected, strict=True):
        np.testing.assert_allclose(param.get(), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed", *DTYPES])
def test_clipping_is_by_the_norm_of_all(cupy, dtype):
    dtypes = [each for each in DTYPES if dtype in (each, "mixed")]
    grads = [a for each in dtypes for a in drawn(cupy, dtype=each, seed=1)]
    params = [cupy.zeros_like(grad) for grad in grads]
    norm = np.sqrt(sum(float((a.get().astype("float64") ** 2).sum()) for a in grads))
    optimizer = SGD(params, lr=1.0, clip_norm=norm / 4)
    for _ in range(2):
        optimizer.step(grads)
    for param, grad in zip(params, grads, strict=True):
        want = -grad.get().astype("float64") / 2
        np.testing.assert_allclose(param.get(), want, rtol=2e-3 if param.dtype == "e" else 1e-6)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_norm_that_is_not_finite_leaves_all_as_it_was(cupy, bad):
    params, grads = drawn(cupy), drawn(cupy, seed=1)
    optimizer = Adam(params, clip_norm=1.0)
    optimizer.step(grads)
    before = bits(params)
    grads[-1][-1] = bad
    with pytest.raises(FloatingPointError, match="the norm of the gradients is"):
        optimizer.step(grads)
    assert bits(params) == before
    assert optimizer.steps == 1


def test_gradients_beyond_the_range_of_their_squares_are_clipped(cupy):
    params = [cupy.zeros(2), cupy.zeros(1)]
    optimizer = SGD(params, lr=1.0, clip_norm=1.0)
    optimizer.step([cupy.asarray([3e200, -4e200]), cupy.zeros(1)])
    np.testing.assert_allclose(params[0].get(), [-0.6, 0.8], rtol=1e-14)
