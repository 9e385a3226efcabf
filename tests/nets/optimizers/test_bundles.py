"""Many separate arrays in one go: the same numbers as one buffer, or as one array at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from cases.six_gradients import KINDS
from onepass.kernels.crew.crew import get_crew
from onepass.kernels.engine_table import Kept
from onepass.kernels.launch import check_all
from onepass.kernels.rule_engines import numba_bundle as bundling
from onepass.kernels.rule_engines import numba_fields as fields
from onepass.kernels.rule_engines.numba_loops import shared_loop
from onepass.kernels.rules import sgd
from onepass.nets import SGD, Adam, Momentum, Parameters, RMSprop

SHAPES = [(7,), (), (3, 0), (5, 3), (1,), (0,), (2, 3, 4), (1023,), (33, 31)]
VARIANTS = {
    **{name: (kind, {}) for name, kind in KINDS.items()},
    "decay": (Adam, {"weight_decay": 0.1, "maximize": True}),
    "nesterov": (Momentum, {"nesterov": True, "form": "averaged"}),
    "eps inside": (RMSprop, {"eps_inside_sqrt": True}),
}


def drawn(shapes=SHAPES, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def fit(columns, engine="auto"):
    """Whether steps on these arrays would go in one."""
    columns = tuple(map(tuple, columns))
    kept = Kept(sum(map(len, columns)))
    asked = []
    check_all(columns, engine, kept, asked.append)
    fits = not asked
    assert sorted(kept.order) == list(range(kept.order.size))
    return fits


def in_one_buffer(arrays):
    shapes = {str(k): array.shape for k, array in enumerate(arrays)}
    parameters = Parameters(shapes, dtype=arrays[0].dtype, device="cpu")
    for view, array in zip(parameters.values(), arrays, strict=True):
        view[...] = array
    return parameters


@pytest.mark.parametrize("grad_scale", [1.0, 0.25])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_separate_arrays_equal_one_buffer_bit_for_bit(variant, dtype, grad_scale):
    kind, hyper = VARIANTS[variant]
    params = drawn(dtype=dtype)
    flat = in_one_buffer(params)
    separate, together = kind(params, **hyper), kind(flat, **hyper)
    for step in range(3):
        grads = drawn(dtype=dtype, seed=step + 1)
        assert fit([params, grads])
        separate.step(grads, grad_scale=grad_scale)
        for own, grad in zip(flat.grads.values(), grads, strict=True):
            own[...] = grad
        together.step(grad_scale=grad_scale)
    for k, param in enumerate(params):
        assert param.tobytes() == flat[str(k)].tobytes(), SHAPES[k]
    states = separate.state_dict()["state"], together.state_dict()["state"]
    for name in kind.states:
        for k in range(len(params)):
            assert states[0][name][k].tobytes() == states[1][name][str(k)].tobytes()


@pytest.mark.parametrize("sizes", [[400_000, 5, 700_000, 1], [3500] * 600, [0, 2_000_000, 0]])
def test_what_the_crew_shares_is_the_same(sizes):
    params, grads = drawn([(n,) for n in sizes]), drawn([(n,) for n in sizes], seed=1)
    expected = [param.copy() for param in params]
    for array, grad in zip(expected, grads, strict=True):
        Adam([array]).step([grad])
    Adam(params).step(grads)
    for param, want in zip(params, expected, strict=True):
        assert param.tobytes() == want.tobytes()


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_walk_that_is_cut_anywhere_steps_each_element_once(chunk):
    params, grads = drawn(), drawn(seed=1)
    expected = [param - grad for param, grad in zip(params, grads, strict=True)]
    found = bundling.bundle_of((tuple(params), tuple(grads)), Kept(2 * len(params)))
    job = found.job(shared_loop(sgd.SGD, "float32").address, 4, (1.0, 0.0, 1.0, 1.0))
    get_crew().run(bundling.walk.address, found.size, job, found, chunk=chunk)
    for param, want in zip(params, expected, strict=True):
        assert param.tobytes() == want.tobytes()


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


def strided(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    raw[...] = array
    return raw


def subclass(array):
    class Mine(np.ndarray):
        pass

    return array.view(Mine)


ODD = {
    "strided": strided,
    "unaligned": unaligned,
    "subclass": subclass,
    "float16": lambda array: array.astype("float16"),
    "float64": lambda array: array.astype("float64"),
}


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("odd", [swapped, *ODD.values()], ids=["swapped", *ODD])
def test_arrays_that_are_not_plain_are_stepped_one_by_one(odd, where):
    shapes = [(3, 4), (5, 2), (4, 4)]
    params, grads = drawn(shapes), drawn(shapes, seed=1)
    params[1] = odd(params[1])
    if params[1].dtype != np.float32:  # a gradient has its parameter's dtype, byte order and all
        grads[1] = odd(grads[1])
    elif where:
        params[1], grads[1] = np.array(params[1], "float32", order="C"), odd(grads[1])
    expected = [param.copy() for param in params]
    for array, grad in zip(expected, grads, strict=True):
        Adam([array]).step([grad])
    assert not fit([params, grads])
    Adam(params).step(grads)
    for param, want in zip(params, expected, strict=True):
        np.testing.assert_array_equal(param, want)


def test_a_swapped_gradient_is_never_read_as_a_native_one():
    params, grads = drawn([(4,), (4,)]), drawn([(4,), (4,)], seed=1)
    before = [param.copy() for param in params]
    grads[1] = swapped(grads[1])
    with pytest.raises(TypeError, match=r"grads\[1\] has dtype >f4"):
        SGD(params).step(grads)
    assert [param.tolist() for param in params] == [array.tolist() for array in before]


def test_bundles_know_what_is_written_and_what_is_read():
    shared = np.ones(12, "float32")
    a, b, c, d = shared[:3], shared[3:6], shared[6:9], shared[9:]
    assert fit([[a, b], [c, d]]), "neighbours are apart"
    assert fit([[a, b], [c, c]]), "one gradient may serve two"
    assert not fit([[a, b], [c, shared[5:8]]])
    assert not fit([[a, b], [d, d], [c, c]]), "states are written"
    assert not fit([[a, shared[2:5]], [c, d]])
    assert not fit([[a, b], [c, d]], "array")
    b.flags.writeable = c.flags.writeable = False
    assert fit([[a, d], [c, c]]), "gradients may be read-only"
    assert not fit([[a, b], [c, d]])


def test_where_numpy_lays_arrays_out_otherwise_they_are_stepped_one_by_one(monkeypatch):
    known = fields.TABLE.copy()
    assert known.all()
    monkeypatch.setattr(fields, "fields_known", lambda *places: False)
    unknown = fields._table()
    params, grads = drawn(), drawn(seed=1)
    expected = [param - grad for param, grad in zip(params, grads, strict=True)]
    try:
        fields.TABLE[:] = unknown
        assert not fit([params, grads])
        SGD(params, lr=1.0).step(grads)
    finally:
        fields.TABLE[:] = known
    for param, want in zip(params, expected, strict=True):
        np.testing.assert_array_equal(param, want)


def test_optimizers_in_threads_do_not_disturb_each_other():
    def train(arrays):
        optimizer = Adam(arrays)
        for step in range(30):
            optimizer.step(drawn([(3500,)] * 40, seed=step))

    expected, several = drawn([(3500,)] * 40), [drawn([(3500,)] * 40) for _ in range(4)]
    train(expected)
    threads = [threading.Thread(target=train, args=(arrays,)) for arrays in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for arrays in several:
        for array, want in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, want)
