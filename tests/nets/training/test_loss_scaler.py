"""Loss scaling: steps that see inf or NaN change nothing, and the scale falls and grows."""

from __future__ import annotations

import numpy as np
import pytest
from cases.six_gradients import flat_parameters, frozen, start, write_grads
from onepass.nets import (
    L2,
    SGD,
    Adam,
    Checkpoint,
    Dense,
    LossScaler,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
)
from onepass.nets.optimizers.frame import optimizer as stepping

NOT_FINITE = [np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("bad", NOT_FINITE, ids=str)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("storage", ["flat", "dict"])
def test_a_step_that_sees_one_changes_nothing(engine, storage, clip_norm, bad):
    params, (first, second, *_) = start(dtype="float32")
    if storage == "flat":
        target = flat_parameters(params, engine.device)
    else:
        target = {name: engine.asarray(value) for name, value in params.items()}
    optimizer = Adam(target, clip_norm=clip_norm, use_ema=True, engine=engine.name)
    scaler = LossScaler(init_scale=8.0)

    def step(gradient):
        scaled = {name: value * np.float32(scaler.scale) for name, value in gradient.items()}
        if storage == "flat":
            write_grads(target, scaled)
            return bool(scaler.step(optimizer))
        return bool(scaler.step(optimizer, {k: engine.asarray(v) for k, v in scaled.items()}))

    def now():
        arrays = {name: engine.to_numpy(array) for name, array in target.items()}
        return frozen((arrays, optimizer.state_dict()))

    assert step(first) is True
    before = now()
    second["2.weight"][3, 1] = bad
    with np.errstate(invalid="ignore"):
        assert step(second) is False
    assert now() == before
    assert (optimizer.steps, scaler.scale) == (1, 4.0)
    second["2.weight"][3, 1] = 0.5
    assert step(second) is True
    twin = Adam(flat_parameters(params), clip_norm=clip_norm)
    for gradient in (first, second):
        write_grads(twin.params, gradient)
        twin.step()
    for name, array in target.items():
        np.testing.assert_allclose(engine.to_numpy(array), twin.params[name], rtol=1e-5, atol=1e-7)


def test_the_scale_goes_the_way_of_pytorch_s():
    torch = pytest.importorskip("torch")
    options = {"init_scale": 64.0, "growth_factor": 4.0, "backoff_factor": 0.25}
    ours = LossScaler(growth_interval=3, **options)
    theirs = torch.amp.GradScaler("cpu", growth_interval=3, **options)
    w, p = np.ones(3), torch.ones(3, requires_grad=True, dtype=torch.float64)
    optimizer, reference = SGD([w], lr=0.1), torch.optim.SGD([p], lr=0.1)
    rng = np.random.default_rng(0)
    for _ in range(60):
        gradient = rng.normal(size=3)
        if rng.random() < 0.2:
            gradient[1] = np.inf
        theirs.scale((p * torch.tensor(gradient)).sum()).backward()
        p.grad = torch.tensor(gradient) * theirs.get_scale()
        theirs.step(reference)
        theirs.update()
        reference.zero_grad()
        ours.step(optimizer, [ours.scaled(gradient)])
        assert ours.scale == theirs.get_scale()
    np.testing.assert_allclose(w, p.detach().numpy(), rtol=1e-14)


def test_it_does_not_grow_beyond_float32():
    scaler, optimizer = LossScaler(2.0**126, growth_interval=1), SGD([np.zeros(1)])
    for _ in range(4):
        assert scaler.step(optimizer, [np.zeros(1)])
    assert scaler.scale == 2.0**126


def test_gradients_that_stay_infinite_are_told_in_the_end():
    w = np.ones(1)
    scaler, optimizer = LossScaler(2.0**-60), SGD([w])
    for _ in range(4):
        assert scaler.step(optimizer, [np.full(1, np.inf)]) is False
    with pytest.raises(FloatingPointError, match=r"inf or NaN at a scale of 5.4.*lower lr"):
        scaler.step(optimizer, [np.full(1, np.inf)])
    assert (w, scaler.scale, optimizer.steps) == (1.0, 2.0**-64, 0)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_each_gradient_is_read_twice(monkeypatch, clip_norm):
    """By one norm, which tells both what to clip to and whether to step, and by the step."""
    called = []
    for name in ("norm_of_all", "launch_all"):
        real = getattr(stepping, name)
        monkeypatch.setattr(
            stepping, name, lambda *a, real=real, name=name: (called.append(name), real(*a))[1]
        )
    optimizer = Adam([np.zeros(5)], clip_norm=clip_norm)
    LossScaler().step(optimizer, [np.ones(5)])
    assert called == ["norm_of_all", "launch_all"]
    LossScaler().step(optimizer, [np.full(5, np.nan)])
    assert called[2:] == ["norm_of_all"]


def test_gradients_that_do_not_fit_are_refused_and_the_scale_stays():
    optimizer, scaler = Adam([np.zeros(5)]), LossScaler()
    with pytest.raises(ValueError, match=r"grads\[0\] has shape"):
        scaler.step(optimizer, [np.ones(4)])
    assert (scaler.scale, optimizer.steps) == (2.0**16, 0)


BAD = [
    ({"init_scale": 0.0}, ValueError, "init_scale is 0.0"),
    ({"growth_factor": 0.5}, ValueError, "growth_factor is 0.5"),
    ({"backoff_factor": 1.0}, ValueError, "backoff_factor is 1.0"),
    ({"growth_interval": 0}, ValueError, "growth_interval is 0"),
    ({"init_scale": "much"}, TypeError, "init_scale is 'much'"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_arguments_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        LossScaler(**options)


def test_its_state_is_plain_and_comes_back():
    scaler, optimizer = LossScaler(growth_interval=5), SGD([np.zeros(1)])
    for gradient in (1.0, np.inf, 1.0, 1.0):
        scaler.step(optimizer, [np.full(1, gradient)])
    state = scaler.state_dict()
    assert state == {"scale": 2.0**15, "since": 2}
    other = LossScaler(growth_interval=5)
    other.load_state_dict(state)
    assert other.state_dict() == state
    for wrong, error in (({}, ValueError), ({"scale": -1.0, "since": 0}, ValueError),
                         ({"scale": 1.0, "since": 5}, ValueError), (None, TypeError)):  # fmt: skip
        with pytest.raises(error):
            other.load_state_dict(wrong)
        assert other.state_dict() == state


# --- training -------------------------------------------------------------------------------------
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype("float16")
Y = (X[:, 0] > 0).astype(int)


def small(device="cpu"):
    """A network whose gradients float16 can't hold: the last weights are tiny."""
    net = Sequential(Dense(5, 16), ReLU(), Dense(16, 2), dtype="float16", device=device, seed=0)
    net.parameters()["2.weight"][...] *= np.float16(1e-6)
    return net


def train(net, scaler, epochs=4, optimizer=None, **options):
    optimizer = optimizer or SGD(net.parameters(), lr=0.5)
    return fit(net, (X, Y), loss=SoftmaxCrossEntropy(), optimizer=optimizer, epochs=epochs,
               batch_size=20, progress=False, loss_scaler=scaler, **options)  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}], ids=str)
def test_gradients_of_a_float16_network_arrive(reference, options):
    found = {}
    for scale in (None, 2.0**12):
        net = small(reference.device)
        scaler = None if scale is None else LossScaler(scale)
        still = SGD(net.parameters(), lr=0.0)
        history = train(net, scaler, epochs=1, optimizer=still, **options)
        gradient = net.backend.to_numpy(net.parameters().grads["0.weight"])
        found[scale] = float((gradient != 0).mean())
        if scaler is not None:
            assert history.path == "loss_scaler may leave steps out"
            assert scaler.scale == scale
    assert found[None] < 0.2 < 0.6 < found[2.0**12]


def test_a_scale_that_is_too_large_falls_until_steps_are_taken():
    net, scaler = small(), LossScaler(2.0**100)
    optimizer = SGD(net.parameters(), lr=0.5)
    history = train(net, scaler, epochs=60, optimizer=optimizer)
    assert scaler.scale < 2.0**40
    assert 0 < optimizer.steps < 180
    assert history.loss[-1] < history.loss[0]


def test_it_is_saved_and_resumed(tmp_path):
    path = tmp_path / "run.safetensors"
    options = {"growth_interval": 4}
    whole, half = small(), small()
    first, second = LossScaler(2.0**30, **options), LossScaler(2.0**30, **options)
    train(whole, first, epochs=20)
    train(half, second, epochs=11, callbacks=Checkpoint(path))
    saved = load(path, device="cpu")
    assert saved.loss_scale == second.state_dict()
    third = LossScaler(2.0**30, **options)
    train(saved.net, third, epochs=20, optimizer=saved.optimizer, resume=saved)
    assert third.state_dict() == first.state_dict()
    assert saved.net.parameters().flat.tobytes() == whole.parameters().flat.tobytes()


def test_a_scale_beyond_float16_scales_what_is_small():
    gradient = np.array([1e-3, -2e-7, 30.0], "float16")
    scaled = LossScaler(2.0**18).scaled(gradient)
    assert scaled.dtype == "float16"
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(scaled, (gradient.astype(float) * 2**18).astype("float16"))
    assert np.isinf(scaled[2])


def test_what_does_not_go_with_it_is_refused():
    net = small()
    with pytest.raises(
        ValueError, match=r"beside the regularizer .*expected the optimizer's weight"
    ):
        train(net, LossScaler(), regularizer=L2(0.1))
    with pytest.raises(TypeError, match="loss_scaler is a float; expected a LossScaler"):
        train(net, 65536.0)
