"""Arrays that lie in memory in another order than they are counted, and in two orders at once."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from cases.activation import Cpu, check
from cases.activation import make as make_activation
from cases.batch_norm import in_memory_order
from onepass import kernels
from onepass.kernels import order as orders
from oracles import activation as activation_oracle
from oracles import batch_norm as batchnorm
from tolerances import DTYPES, assert_close

MASK = {"seed": (1 << 63) + 5, "draw": (1 << 64) - 7}
SHAPES = [(40, 17), (3, 5, 200), (4, 16, 5, 33), (7, 130, 65), (2, 3, 4, 16, 18)]
ORDERS = [(shape, order) for shape in SHAPES for order in permutations(range(len(shape)))]
IMAGES = (4, 5, 6, 7)
FOUR = [(0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 2, 3), (2, 3, 0, 1)]


def numbers(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def with_gaps(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


# --- copies ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "order"), ORDERS)
def test_a_copy_into_another_order(monkeypatch, shape, order, dtype):
    transpose = pytest.importorskip("onepass.kernels.simd.transpose")
    monkeypatch.setattr(transpose, "LEAST", 1)
    x = numbers(shape, dtype)
    for source in (x, with_gaps(x), x[::-1], in_memory_order(x, order[::-1])):
        target = in_memory_order(np.full(shape, np.nan, dtype), order)
        orders.copy(target, source)
        assert np.array_equal(target, source)
        back = np.full(shape, np.nan, dtype)
        orders.copy(back, target)
        assert np.array_equal(back, source)


def test_threads_share_a_large_copy():
    x = numbers((300, 40, 50))
    target = in_memory_order(np.full(x.shape, np.nan, "float32"), (0, 2, 1))
    orders.copy(target, x)
    assert np.array_equal(target, x)


def test_axes_of_length_one_and_gaps_are_told():
    assert orders.order_of(np.zeros((3, 4))) == (0, 1)
    assert orders.order_of(np.zeros((3, 4)).T) == (1, 0)
    assert orders.order_of(np.zeros((3, 1, 4)).transpose(2, 1, 0)) == (1, 2, 0)
    assert orders.order_of(np.zeros((3, 4))[:, ::2]) is None
    assert orders.order_of(np.broadcast_to(np.zeros(4), (3, 4))) is None
    assert orders.order_of(np.zeros((3, 4), ">f4")) is None


# --- batch norm -----------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("order", FOUR)
def test_batch_norm_of_two_orders_is_that_of_one_to_the_bit(engine, order, activation):
    """Copies change no arithmetic, which `out` in any order and in the place of dy keeps."""
    if engine.device == "cuda":
        pytest.skip("CuPy arrays are made from NumPy ones in C order")
    x, dy = numbers(IMAGES), numbers(IMAGES, seed=1)
    gamma, beta = numbers(5, seed=2), numbers(5, seed=3)
    options = {"activation": activation}
    forward, backward = engine.kernel("batch_norm_forward"), engine.kernel("batch_norm_backward")
    x = in_memory_order(x, order)
    y, saved = forward(x, gamma, beta, **options)
    assert y.strides == x.strides
    want = backward(in_memory_order(dy, order), saved)
    assert want[0].strides == x.strides
    oracle = batchnorm.backward(dy, x, gamma, beta, **options)
    np.testing.assert_allclose(want[0], oracle.dx, rtol=1e-4, atol=1e-5)
    for given in (dy.copy(), with_gaps(dy), in_memory_order(dy, order[::-1])):
        for out in (None, np.empty_like(dy), given, with_gaps(dy), in_memory_order(dy, order)):
            kept, before = given.strides, given.copy()
            found = backward(given, saved, out=out)
            assert out is None or (found[0] is out and given.strides == kept)
            assert out is given or np.array_equal(given, before)
            for one, other in zip(found, want, strict=True):
                if engine.name == "array":  # NumPy adds up in memory's order
                    np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)
                else:
                    assert np.array_equal(one, other)
            given[...] = before
    for out in (np.empty_like(dy), with_gaps(dy)):
        assert forward(x, gamma, beta, out=out, **options)[0] is out
        np.testing.assert_allclose(out, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["auto", "numba"])
def test_compiled_batch_norm_takes_gaps(name):
    x, dy = with_gaps(numbers(IMAGES)), with_gaps(numbers(IMAGES, seed=1))
    plain, vectors = x.copy(), (np.ones(5, "f"), np.zeros(5, "f"))
    y, saved = kernels.batch_norm_forward(x, *vectors, engine=name)
    want, other = kernels.batch_norm_forward(plain, *vectors, engine=name)
    assert np.array_equal(y, want)
    found = kernels.batch_norm_backward(dy, saved, engine=name)
    for one, two in zip(found, kernels.batch_norm_backward(dy.copy(), other), strict=True):
        assert np.array_equal(one, two)
    z = kernels.batch_norm_inference(x, *vectors, *vectors[::-1], engine=name, out=x)
    assert z is x
    assert np.array_equal(x, kernels.batch_norm_inference(plain, *vectors, *vectors[::-1]))


# --- activations ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["auto", "array", "numba"])
@pytest.mark.slow
@pytest.mark.parametrize("kind", activation_oracle.KINDS)
@pytest.mark.parametrize("order", FOUR)
def test_activations_of_any_order_follow_the_oracle(name, kind, order):
    for dtype in DTYPES:
        for biased in (True, False):
            case = make_activation(IMAGES, kind, dtype, biased=biased)
            for view in (lambda a: in_memory_order(a, order if a.ndim == 4 else None), with_gaps):
                check(Cpu(name, view), case)
                check(Cpu(name, view), case, out=True)


@pytest.mark.parametrize("name", ["auto", "array", "numba"])
@pytest.mark.parametrize("order", FOUR)
def test_results_of_activations_lie_in_the_order_of_their_input(name, order):
    x, dy = in_memory_order(numbers(IMAGES), order), numbers(IMAGES, seed=1)
    y = kernels.activation_forward(x, "tanh", engine=name)
    assert y.strides == x.strides
    sums = np.empty(7, "f")
    dz = kernels.activation_backward(dy, y, "tanh", bias_grad=sums, engine=name)
    assert dz.strides == x.strides
    want = activation_oracle.backward(dy, y, "tanh", 0.01)
    assert_close(dz, want, "float32", flushed=True)
    rows = want.reshape(-1, 7)
    assert_close(sums, rows.sum(axis=0), "float32", scale=np.abs(rows).sum(axis=0))
    for out in (np.empty(IMAGES, "f"), with_gaps(dy), dy):
        found = kernels.activation_backward(dy, y, "tanh", bias_grad=sums, out=out, engine=name)
        assert found is out
        assert np.array_equal(out, dz)


# --- dropout --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(dtype, marks=[] if dtype == "float32" else [pytest.mark.slow])
        for dtype in DTYPES
    ],
)
@pytest.mark.parametrize(("shape", "order"), ORDERS)
def test_dropout_has_one_mask_whatever_the_order(engine, shape, order, dtype):
    """Elements are counted in C order: y in x's order, dy in another one, the same mask."""
    if engine.device == "cuda":
        pytest.skip("CuPy arrays are made from NumPy ones in C order")
    x = numbers(shape, dtype)
    want = kernels.dropout(x, 0.6, **MASK, engine="array")
    run, turned = engine.kernel("dropout"), in_memory_order(x, order)
    y = run(turned, 0.6, **MASK)
    assert y.strides == turned.strides
    assert np.array_equal(y, want)
    for source, out in ((turned, np.empty_like(x)), (x, y), (with_gaps(x), y), (turned, turned)):
        out[...] = source if out is turned else np.nan
        assert run(source, 0.6, **MASK, out=out) is out
        assert np.array_equal(out, want)


def test_threads_share_a_large_mask():
    x = in_memory_order(numbers((20, 130, 140)), (0, 2, 1))
    want = kernels.dropout(np.ascontiguousarray(x), 0.6, **MASK)
    assert np.array_equal(kernels.dropout(x, 0.6, **MASK), want)


# --- softmax --------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(40, 17), (300, 70), (1000, 3), (5, 400)])
def test_softmax_of_fortran_order_is_that_of_c_order(engine, shape):
    if engine.device == "cuda":
        pytest.skip("CuPy arrays are made from NumPy ones in C order")
    logits, labels = numbers(shape), np.arange(shape[0]) % shape[1]
    run = engine.kernel("softmax_cross_entropy")
    loss, gradient = run(logits, labels)
    for given in (np.asfortranarray(logits), with_gaps(logits)):
        for out in (None, np.empty_like(logits), np.empty_like(logits, order="F"), given):
            found = run(given.copy("K") if out is not given else given, labels, out=out)
            assert found[0] == loss
            assert np.array_equal(found[1], gradient)
            assert out is None or found[1] is out


# --- other libraries' arrays ----------------------------------------------------------------------
def test_arrays_of_another_library_are_taken_in(engine):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    if engine.device == "cuda":
        pytest.skip("tensors on the CPU")
    x, dy, vector = numbers((6, 5)), numbers((6, 5), seed=1), np.ones(5, "f")
    labels = np.arange(6) % 5

    def results(kind, labels):
        a, b, c, d = (kind(v.copy()) for v in (x, dy, vector, vector))
        y, saved = engine.kernel("batch_norm_forward")(a, c, d)
        yield from (y, *engine.kernel("batch_norm_backward")(b, saved))
        yield engine.kernel("batch_norm_inference")(a, c, d, c, d)
        yield from engine.kernel("batch_norm_inference_backward")(b, a, c, d, c, d)
        z = engine.kernel("activation_forward")(a, "relu", bias=c)
        yield from (z, engine.kernel("activation_backward")(b, z, "relu", bias_grad=c), c)
        yield engine.kernel("dropout")(a, 0.5, seed=0, draw=0)
        yield engine.kernel("softmax_cross_entropy")(a, labels, weights=kind(np.ones(6, "f")))[1]
        out = kind(np.zeros((6, 5), "f"))
        engine.kernel("activation_forward")(a, "tanh", out=out)
        yield out
        yield np.array(kernels.global_norm([a, b]))

    want = list(results(np.asarray, labels))
    found = list(results(torch.from_numpy, torch.from_numpy(labels)))
    for k, (one, other) in enumerate(zip(found, want, strict=True)):
        assert isinstance(one, np.ndarray) or k in (10, len(want) - 2), k
        assert np.array_equal(np.asarray(one), other), k


def test_what_jax_holds_is_read_but_not_written():
    jax = pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    x = numbers((6, 5))
    y = kernels.activation_forward(jax.numpy.asarray(x), "relu")
    assert np.array_equal(y, np.maximum(x, 0))
    with pytest.raises(ValueError, match="out is read-only"):
        kernels.activation_forward(x, "relu", out=jax.numpy.zeros((6, 5)))
