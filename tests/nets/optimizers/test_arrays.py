"""Optimizers: arrays and gradients that are refused, before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
from cases.resized import resize
from cases.six_gradients import KINDS, flat_parameters, frozen, start
from onepass.kernels import adam_step
from onepass.kernels.rule_engines.array import ArrayEngine
from onepass.nets import (
    SGD,
    Adam,
)


def refused_params():
    shared = np.zeros(6)
    locked = np.zeros(3)
    locked.flags.writeable = False
    yield "one array", np.zeros(3), TypeError, r"put one array into a list: \[array\]"
    yield "empty generator", iter(()), ValueError, "params are empty"
    yield "set", {1.0, 2.0}, TypeError, "params is a set"
    yield "None", [np.zeros(3), None], TypeError, r"params\[1\] is None; .* Leave it out"
    yield "no arrays", [], ValueError, "params are empty"
    yield "empty dict", {}, ValueError, "params are empty"
    yield "same twice", [shared, shared], ValueError, r"params\[0\] and params\[1\] overlap"
    yield "overlap", {"a": shared[:4], "b": shared[3:]}, ValueError, r"params\['a'\] and .*overlap"
    yield "integers", [np.zeros(3), np.zeros(3, int)], TypeError, r"params\[1\] has dtype int64"
    yield "list", {"w": [0.0]}, TypeError, r"params\['w'\] is a list"
    yield "read-only", [locked], ValueError, r"params\[0\] is read-only"
    yield "broadcast", [np.broadcast_to(shared, (2, 6))], ValueError, r"params\[0\]"
    yield "key", {1: np.zeros(3)}, TypeError, "name 1 is a int; expected a string"


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [pytest.param(*case, id=name) for name, *case in refused_params()],
)
def test_refuses_params(params, error, message):
    with pytest.raises(error, match=message):
        SGD(params)


@pytest.mark.parametrize("pass_on", [iter, lambda arrays: (a for a in arrays),
                                     lambda arrays: dict(enumerate(arrays)).values()])  # fmt: skip
def test_a_generator_of_arrays_is_a_list(pass_on):
    ours, theirs = ([np.zeros(3), np.ones((2, 2))] for _ in range(2))
    grads = [np.full(3, 0.5), np.eye(2)]
    optimizer, reference = Adam(pass_on(ours)), Adam(theirs)
    for _ in range(2):
        optimizer.step(pass_on(grads))
        reference.step(grads)
    assert optimizer.params == [*ours], "kept, not used up"
    assert frozen((ours, optimizer.state_dict())) == frozen((theirs, reference.state_dict()))


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_a_gradient_that_is_none_is_refused_by_a_function(shape):
    with pytest.raises(TypeError, match=r"^grad is None; .*no gradient, or pass zeros"):
        adam_step(*(None if k == 1 else np.zeros(shape) for k in range(4)), step=1)


def test_neighbouring_views_of_one_buffer_are_fine():
    buffer = np.zeros((4, 6))
    optimizer = SGD([buffer[:, :3], buffer[:, 3:]], lr=1.0)
    optimizer.step([np.full((4, 3), 1.0), np.full((4, 3), 2.0)])
    np.testing.assert_array_equal(buffer, [[-1] * 3 + [-2] * 3] * 4)


def refused_grads():
    """(change of a right dict of gradients, error, what the message says)."""
    yield "left out", lambda g: None, TypeError, "grads are left out"
    yield "list", lambda g: list(g.values()), TypeError, "grads is a list; expected a mapping"
    yield (
        "missing",
        lambda g: {k: v for k, v in g.items() if k != "2.bias"},
        ValueError,
        "grads lacks '2.bias'",
    )
    yield "extra", lambda g: g | {"x": g["2.bias"]}, ValueError, "has the unexpected 'x'"
    yield (
        "shape",
        lambda g: g | {"2.bias": np.zeros(3)},
        ValueError,
        r"grads\['2.bias'\] has shape \(3,\) but params\['2.bias'\] has \(2,\)",
    )
    yield (
        "dtype",
        lambda g: g | {"2.bias": np.zeros(2, "float32")},
        TypeError,
        r"grads\['2.bias'\] has dtype float32 but params\['2.bias'\] has float64",
    )


CHANGES = [pytest.param(*case, id=name) for name, *case in refused_grads()]


@pytest.mark.parametrize("kind", [Adam, SGD])
@pytest.mark.parametrize(("change", "error", "message"), CHANGES)
def test_refused_gradients_write_nothing(kind, change, error, message):
    params, (gradient, *_) = start()
    optimizer = kind(params)
    optimizer.step(gradient)
    before = frozen((params, optimizer.state_dict()))
    with pytest.raises(error, match=message):
        optimizer.step(change(gradient))
    assert frozen((params, optimizer.state_dict())) == before
    assert optimizer.steps == 1


@pytest.mark.parametrize(("change", "error", "message"), CHANGES[1:])
def test_refused_gradients_of_a_network_write_nothing(change, error, message):
    params, (gradient, *_) = start()
    parameters = flat_parameters(params)
    optimizer = Adam(parameters)
    before = frozen((parameters.flat, optimizer.state_dict()))
    with pytest.raises(error, match=message):
        optimizer.step(change(gradient))
    assert frozen((parameters.flat, optimizer.state_dict())) == before


def test_a_list_of_another_length_is_refused():
    arrays = [np.zeros(2), np.zeros(3)]
    with pytest.raises(ValueError, match="grads lacks 1"):
        SGD(arrays).step([np.ones(2)])
    with pytest.raises(ValueError, match="grads has the unexpected 2"):
        SGD(arrays).step([np.ones(2), np.ones(3), np.ones(4)])
    assert not arrays[0].any()


def test_a_later_array_that_fails_stops_the_first_from_being_written():
    first, last = np.zeros(3), np.zeros(3)
    optimizer = Adam([first, last])
    last.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optimizer.step([np.ones(3), np.ones(3)])
    assert not first.any()
    last.flags.writeable = True
    with pytest.raises(ValueError, match="overlap"):
        optimizer.step([np.ones(3), last])
    assert not first.any()
    assert optimizer.steps == 0


def test_an_engine_that_refuses_a_later_array_writes_nothing(monkeypatch):
    monkeypatch.setattr(ArrayEngine, "strided", False)
    first, last = np.zeros(3), np.zeros(6)[::2]
    with pytest.raises(ValueError, match="contiguous arrays only"):
        SGD([first, last], engine="array")
    optimizer = SGD([first, np.zeros(3)], engine="array")
    with pytest.raises(ValueError, match="contiguous arrays only"):
        optimizer.step([np.ones(3), np.ones(6)[::2]])
    assert not first.any()
    assert optimizer.steps == 0


@pytest.mark.parametrize("order", [(1, 0), (1, 1)])
@pytest.mark.parametrize("views", [False, True])
def test_a_gradient_that_lies_in_another_parameter_is_refused(order, views):
    params = [np.ones(3, "float32"), np.ones(3, "float32")]
    if views:
        params = list(np.ones((2, 3), "float32"))
    optimizer = SGD(params, lr=1.0)
    with pytest.raises(ValueError, match=r"params\[\d\].* and grads\[\d\].* overlap"):
        optimizer.step([params[k][:] if views else params[k] for k in order])
    assert [p.tolist() for p in params] == [[1.0] * 3] * 2
    assert optimizer.steps == 0


def test_gradients_interleaved_with_parameters_are_right():
    buffer = np.arange(12, dtype="float32")
    params = [buffer[0:6:3], buffer[6::3]]
    SGD(params, lr=1.0).step([buffer[1:6:3], buffer[7::3]])
    assert buffer.tolist() == [-1, 1, 2, -1, 4, 5, -1, 7, 8, -1, 10, 11]


def test_one_gradient_may_serve_two_parameters():
    params, grad = [np.ones(3, "float32"), np.zeros(3, "float32")], np.ones(3, "float32")
    SGD(params, lr=1.0).step([grad, grad])
    assert [p.tolist() for p in params] == [[0.0] * 3, [-1.0] * 3]


def five(kind, **options):
    """Five arrays, their gradients, and the optimizer after one step."""
    rng = np.random.default_rng(3)
    params, grads = (
        [rng.standard_normal((4, n)).astype("float32") for n in (3, 1, 5, 2, 4)] for _ in range(2)
    )
    optimizer = kind(params, **options)
    optimizer.step(grads)
    return params, grads, optimizer


def locked(array):
    array.flags.writeable = False
    return array


def reshaped(array):
    resize(array, (array.size,))
    return array


def poisoned(array):
    array[0, 0] = np.nan
    return array


BREAKS = {  # what changes params p or grads g at index k, and what the error says
    "dtype": (lambda p, g, k: g.__setitem__(k, g[k].astype("float64")), TypeError, "grads[{k}]"),
    "shape": (lambda p, g, k: g.__setitem__(k, g[k].ravel()), ValueError, "grads[{k}] has shape"),
    "size": (lambda p, g, k: g.__setitem__(k, g[k][:2]), ValueError, "grads[{k}] has shape"),
    "list": (lambda p, g, k: g.__setitem__(k, g[k].tolist()), TypeError, "grads[{k}] is a list"),
    "integers": (lambda p, g, k: g.__setitem__(k, g[k].astype(int)), TypeError, "grads[{k}]"),
    "read-only": (lambda p, g, k: locked(p[k]), ValueError, "params[{k}] is read-only"),
    "own": (lambda p, g, k: g.__setitem__(k, p[k]), ValueError, "params[{k}] and grads[{k}]"),
    "reshaped": (lambda p, g, k: g.__setitem__(k, reshaped(p[k]) * 1), ValueError, "params[{k}]"),
}


@pytest.mark.parametrize("k", [0, 2, 4])
@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_an_error_at_any_array_changes_nothing(kind, how, k):
    params, grads, optimizer = five(kind)
    change, error, message = BREAKS[how]
    change(params, grads, k)
    before = frozen(([p.tolist() for p in params], optimizer.state_dict()))
    if how == "reshaped" and kind is SGD:
        optimizer.step(grads)  # it has no states that would not fit
        return
    with pytest.raises(error) as caught:
        optimizer.step(grads)
    assert message.format(k=k) in str(caught.value)
    assert frozen(([p.tolist() for p in params], optimizer.state_dict())) == before
    assert optimizer.steps == 1


@pytest.mark.parametrize("views", [False, True])
def test_a_gradient_in_the_parameter_of_another_index_changes_nothing(views):
    rows = np.ones((6, 4), "float32")
    params = list(rows) if views else [row.copy() for row in rows]
    grads = [np.ones(4, "float32") for _ in params]
    optimizer = Adam(params)
    for k, other in ((0, 5), (5, 0), (3, 2)):
        given = [*grads[:k], params[other][:], *grads[k + 1 :]]
        with pytest.raises(ValueError, match=rf"params\[{other}\] and grads\[{k}\] overlap"):
            optimizer.step(given)
    if views:
        with pytest.raises(ValueError, match=r"params\[1\] and grads\[4\] overlap"):
            optimizer.step([*grads[:4], rows.reshape(-1)[7:11], grads[5]])
    assert all((param == 1).all() for param in params)
    assert optimizer.steps == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_norm_that_is_not_finite_changes_none_of_many(kind, bad):
    params, grads, optimizer = five(kind, clip_norm=1.0)
    grads[3][0, 0] = bad
    before = frozen((params, optimizer.state_dict()))
    with pytest.raises(FloatingPointError, match="the norm of the gradients is"):
        optimizer.step(grads)
    assert frozen((params, optimizer.state_dict())) == before


def test_arrays_replaced_in_the_list_are_not_those_that_were_given():
    params, grads, optimizer = five(SGD, lr=1.0)
    kept, before = params[2], params[2].copy()
    params[2] = np.zeros_like(kept)
    optimizer.step(grads)
    assert not params[2].any()
    np.testing.assert_array_equal(kept, before - grads[2])


def test_what_was_locked_can_be_stepped_again():
    params, grads, optimizer = five(SGD, lr=1.0)
    before = frozen(params)
    locked(params[4])
    with pytest.raises(ValueError, match=r"params\[4\] is read-only"):
        optimizer.step(grads)
    params[4].flags.writeable = True
    assert frozen(params) == before
    optimizer.step([locked(grad) for grad in grads])
    assert frozen(params) != before
    assert optimizer.steps == 2


def in_fortran_order(arrays):
    return list(map(np.asfortranarray, arrays))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("order", [list, in_fortran_order])
@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_each_step_checks_one_matrix_as_it_does_many(kind, how, order, count):
    """After steps that were right, with the same objects."""
    rng = np.random.default_rng(3)
    params, grads = (
        order([rng.standard_normal((4, n)).astype("float32") for n in (3, 5)[:count]])
        for _ in range(2)
    )
    optimizer = kind(params)
    for _ in range(3):
        optimizer.step(grads)
    change, error, message = BREAKS[how]
    change(params, grads, count - 1)
    before = frozen(([p.tolist() for p in params], optimizer.state_dict()))
    if how == "reshaped" and kind is SGD:
        optimizer.step(grads)
        return
    with pytest.raises(error) as caught:
        optimizer.step(grads)
    assert message.format(k=count - 1) in str(caught.value)
    assert frozen(([p.tolist() for p in params], optimizer.state_dict())) == before
    assert optimizer.steps == 3


@pytest.mark.parametrize("view", [lambda a: a[:], lambda a: a.T, lambda a: a[::-1]])
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_gradient_that_is_a_view_of_its_matrix_is_refused(kind, view):
    params = [np.ones((4, 4), "float32"), np.ones((3, 3), "float32")]
    for some in (params[:1], params):
        optimizer = kind(some)
        with pytest.raises(ValueError, match=r"params\[0\] and grads\[0\] overlap"):
            optimizer.step([view(some[0]), np.ones((3, 3), "float32")][: len(some)])
    assert all((param == 1).all() for param in params)
