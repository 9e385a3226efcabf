"""No state stands still: averages in 16 and 8 bits have those of float64 for their mean."""

from __future__ import annotations

import numpy as np
import pytest
from cases.state_formats import encoded
from onepass import kernels

BETA2 = 0.999


def adam_of(engine, grads, kind, v, block_size=256):
    """v after a step for each gradient, from `v`; m is in float32."""
    param, m = (engine.asarray(np.zeros(v.size, "f4")) for _ in range(2))
    state = encoded(engine, "v", v, kind, block_size)
    for step, grad in enumerate(grads, 1):
        engine.kernel("adam_step")(param, grad, m, state, step=step)
    return engine.to_numpy(kernels.decode_state(state)).astype(float)


def first_of(kind, value):
    """What a block of this value alone begins with."""
    state = kernels.encode_state(np.full(1, value, "f4"), kind, signed=False)
    return float(kernels.decode_state(state)[0])


def assert_mean(values, expected):
    """Of many elements that were rounded by their own noise, within three standard errors."""
    error = values.std() / np.sqrt(values.size)
    assert abs(values.mean() - expected) < 3 * error + 1e-6 * expected, (
        f"mean {values.mean()} instead of {expected}: {abs(values.mean() - expected) / error:.1f} "
        "standard errors"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_v_decays_as_in_float64(engine, kind):
    """Without a gradient v falls by 0.1 % a step, a tenth of a step of the format."""
    steps, start = 3000, 0.7
    zero = engine.asarray(np.zeros(4096, "f4"))
    v = adam_of(engine, [zero] * steps, kind, np.full(4096, start))
    # elements of a block have the block's largest one in common: blocks are what is independent
    assert_mean(v.reshape(-1, 256).mean(1), first_of(kind, start) * BETA2**steps)
    assert 0 < v.min() < v.max() < start


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_v_rises_to_the_mean_of_squares(engine, kind):
    steps, size = 2500, 4096
    rng = np.random.default_rng(4)
    grads = [np.float32(rng.uniform(0.5, 1.5)) for _ in range(steps)]
    exact = 0.0
    for grad in grads:
        exact = BETA2 * exact + (1 - BETA2) * float(grad) ** 2
    arrays = [engine.asarray(np.full(size, grad, "f4")) for grad in grads]
    v = adam_of(engine, arrays, kind, np.zeros(size))
    assert_mean(v.reshape(-1, 256).mean(1), exact)


@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_one_gradient_of_a_block_alive_while_the_others_are_zero(engine, kind):
    """Of each block one element; the others fall, as if it were not there, and none to zero."""
    steps, size, start = 2000, 256 * 32, 0.3
    grad = np.zeros(size, "f4")
    grad[::256] = 1.0
    alive = engine.asarray(grad)
    v = adam_of(engine, [alive] * steps, kind, np.full(size, start)).reshape(-1, 256)
    exact = fallen = first_of(kind, start)
    for _ in range(steps):
        exact, fallen = BETA2 * exact + (1 - BETA2), BETA2 * fallen
    assert_mean(v[:, 0], exact)
    assert_mean(v[:, 1:].mean(1), fallen)
    assert v.min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_m_follows_gradients_of_both_signs(engine, kind):
    steps, size = 1000, 8192
    rng = np.random.default_rng(9)
    param = engine.asarray(np.zeros(size, "f4"))
    m = encoded(engine, "m", np.zeros(size), kind)
    signs, exact = np.where(np.arange(size) % 2, 1, -1).astype("f4"), 0.0
    for step in range(steps):
        grad = np.float32(rng.uniform(-0.5, 1.5))
        exact = 0.99 * exact + 0.01 * float(grad)
        engine.kernel("lion_step")(param, engine.asarray(grad * signs), m, seed=step)
    got = engine.to_numpy(kernels.decode_state(m)) * signs
    assert_mean(got.reshape(-1, 256).mean(1).astype(float), exact)


@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_to_the_nearest_it_would_stand_still(reference, kind):
    """What the noise is for: rounded to the nearest, v never leaves its first value."""
    v = encoded(reference, "v", np.full(256, 0.7), kind)
    first = reference.to_numpy(kernels.decode_state(v))
    for _ in range(100):
        fallen = np.float32(BETA2) * kernels.decode_state(v)
        v = kernels.encode_state(fallen, kind, signed=False)
    np.testing.assert_array_equal(reference.to_numpy(kernels.decode_state(v)), first)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_an_adam_run_ends_where_float32_s_does(engine, kind):
    """A quadratic with curvatures over four magnitudes, noisy gradients."""
    size, steps = 2048, 400
    curvature = np.geomspace(1e-2, 1e2, size).astype("f4")
    ends = []
    for each in ("float32", kind):
        rng = np.random.default_rng(2)
        param = engine.asarray(np.ones(size, "f4"))
        m, v = (encoded(engine, name, np.zeros(size), each) for name in "mv")
        for step in range(1, steps + 1):
            noise = rng.standard_normal(size).astype("f4") * 0.1
            grad = curvature * (engine.to_numpy(param) + noise)
            engine.kernel("adam_step")(param, engine.asarray(grad), m, v, step=step, lr=0.01)
        ends.append(engine.to_numpy(param).astype(float))
    assert np.sqrt((ends[0] ** 2).mean()) < 0.1
    assert np.sqrt(((ends[1] - ends[0]) ** 2).mean()) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least", "most"), [("bfloat16", 0.03, 0.07), ("8bit", 0.12, 0.28)]
)
def test_v_varies_as_much_as_the_page_says(kind, least, most):
    """Of gradients whose scales differ in a block by e each way, after it has settled."""
    size, steps = 256 * 8, 4000
    rng = np.random.default_rng(0)
    scales = np.exp(rng.standard_normal(size)).astype("f4")
    param, exact, shares = np.zeros(size, "f4"), np.zeros(size), []
    states = [kernels.zero_state(param, kind, signed=signed) for signed in (True, False)]
    for step in range(1, steps + 1):
        grad = (rng.standard_normal(size) * scales).astype("f4")
        kernels.adam_step(param, grad, *states, step=step)
        exact = BETA2 * exact + (1 - BETA2) * grad.astype(float) ** 2
        if step > 3000 and step % 100 == 0:
            shares.append(kernels.decode_state(states[1]) / exact)
    assert least < np.std(shares) < most
    assert np.mean(shares) == pytest.approx(1, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most"), [("bfloat16", 0.06), ("8bit", 0.4)])
def test_amsgrads_maximum_is_above_the_exact_one_as_the_page_says(kind, most):
    size, rng = 256 * 8, np.random.default_rng(0)
    param, exact, top = np.zeros(size, "f4"), np.zeros(size), np.zeros(size)
    states = [kernels.zero_state(param, kind, signed=name == "m") for name in ("m", "v", "v_max")]
    for step in range(1, 4001):
        grad = rng.standard_normal(size).astype("f4")
        kernels.amsgrad_step(param, grad, *states, step=step)
        exact = BETA2 * exact + (1 - BETA2) * grad.astype(float) ** 2
        top = np.maximum(top, exact)
    above = float(np.mean(kernels.decode_state(states[2]) / top)) - 1
    assert (0.05 if kind == "8bit" else 0.005) < above < most
