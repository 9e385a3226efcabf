"""Steps of a scaled loss by real CuPy on the made-up driver: as on the CPU, and nothing waited for.

That driver does all work at once, so that the host would always know at once what was done. Where a
test says so, it hears of nothing until someone waits: as of a GPU that is far behind.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from onepass import DeviceUnavailableError
from onepass.kernels.rule_engines import cupy_pending
from onepass.kernels.rule_engines.cupy_pending import PendingSteps
from onepass.nets import (
    SGD,
    Adam,
    AdamW,
    Callback,
    Dense,
    ExponentialDecay,
    LossScaler,
    NAdam,
    Parameters,
    RAdam,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
)
from tolerances import LIMITS

from proving.made_up_driver import counting

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]
SHAPES = {"0.weight": (9, 31), "0.bias": (31,), "1.weight": (31, 5)}
BAD = {0: np.inf, 3: np.nan, 4: -np.inf, 11: np.inf, 12: np.inf, 20: np.nan, 29: np.inf}
SCALING = {"init_scale": 64.0, "growth_interval": 3, "growth_factor": 4.0, "backoff_factor": 0.25}
STEPS = 30
CLOSE = STEPS * LIMITS["float32"][0] * 2.0**-23  # of values about 1


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


@pytest.fixture(params=["at once", "late"])
def hears(request, monkeypatch):
    """When the host hears of a step."""
    if request.param == "late":
        monkeypatch.setattr(PendingSteps, "hear", lambda self: self.known)
    return request.param


def gradients(dtype="float32"):
    """Of each step, by name; some have an element that is not finite."""
    rng = np.random.default_rng(0)
    for k in range(STEPS):
        found = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
        if k in BAD:
            found["1.weight"][2, 3] = BAD[k]
        yield found


def parameters(storage, dtype, device):
    rng = np.random.default_rng(1)
    start = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    flat = Parameters(SHAPES, device=device, dtype=dtype)
    for name, value in start.items():
        flat[name][...] = flat.backend.asarray(value)
    return flat if storage == "flat" else {name: flat[name].copy() for name in SHAPES}


def host(arrays):
    return {name: np.asarray(getattr(array, "get", lambda a=array: a)()) for name, array in arrays}


class Loop:
    """A loop of one's own, whose learning rate goes down with each call."""

    def __init__(self, device, storage, make, dtype="float32", decays=False):
        self.params = parameters(storage, dtype, device)
        self.optimizer = make(self.params)
        self.scaler = LossScaler(**SCALING)
        self.decays, self.storage = decays, storage
        self.xp = pytest.importorskip("cupy") if device == "cuda" else np

    def step(self, gradient):
        scaled = {}
        for name, value in gradient.items():
            with np.errstate(over="ignore", invalid="ignore"):
                scaled[name] = self.scaler.scaled(self.xp.asarray(value))
        if self.decays:
            self.optimizer.lr *= 0.9
        if self.storage == "flat":
            for name, value in scaled.items():
                self.params.grads[name][...] = value
            scaled = None
        return self.scaler.step(self.optimizer, scaled)

    def now(self):
        return host(self.params.items()), self.optimizer.state_dict()["state"]


OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "adam": lambda p: Adam(p, lr=0.01),
    "adam, clipped": lambda p: Adam(p, lr=0.01, clip_norm=0.7),
    "adamw, of groups": lambda p: AdamW(
        p, lr=0.01, weight_decay=0.1, clip_norm=3.0, no_decay="1-D", groups={"1.*": {"lr": 0.1}}
    ),
    "adam, all else": lambda p: Adam(p, lr=0.01, use_ema=True, clip_value=0.1, frozen="0.bias"),
    "sgd, swa": lambda p: SGD(p, lr=0.1, swa_start=2, swa_every=3),
    "nadam, up": lambda p: NAdam(p, lr=0.01, maximize=True),
    "radam": lambda p: RAdam(p, lr=0.01),
}


@pytest.mark.parametrize("decays", [False, True], ids=["one lr", "lr of the call"])
@pytest.mark.parametrize("storage", ["flat", "dict"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gpu_decides_as_the_cpu_does(cupy, hears, name, storage, decays):
    """After 30 steps, and the flag of each."""
    given = storage, OPTIMIZERS[name], "float32", decays
    here, there = Loop("cpu", *given), Loop("cuda", *given)
    flags = []
    for k, gradient in enumerate(gradients()):
        here.step(gradient)
        flags.append(there.step(gradient))
        assert isinstance(flags[-1], cupy.ndarray)
        assert k == 0 or there.optimizer._pending is there.scaler.pending is not None
    assert [bool(flag) for flag in flags] == [k not in BAD for k in range(STEPS)]
    assert there.scaler.state_dict() == here.scaler.state_dict()
    assert there.optimizer.steps == here.optimizer.steps == STEPS - len(BAD)
    (found, states), (want, wanted) = there.now(), here.now()
    for key in SHAPES:
        np.testing.assert_allclose(found[key], want[key], CLOSE, CLOSE)
        for state in wanted:
            np.testing.assert_allclose(states[state][key], wanted[state][key], CLOSE, CLOSE)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_what_a_gpu_gives_that_is_waited_for(cupy, hears, monkeypatch, name, dtype):
    """To the last bit."""
    found = []
    for waits in (False, True):
        loop = Loop("cuda", "dict", OPTIMIZERS[name], dtype)
        if waits:
            monkeypatch.setattr(type(loop.optimizer), "step_pending", lambda *given: None)
        for gradient in gradients(dtype):
            loop.step(gradient)
        params, states = loop.now()
        arrays = [params, *states.values()]
        found.append([each[key].tobytes() for each in arrays for key in SHAPES])
    assert found[0] == found[1]


def test_the_scale_goes_the_way_of_pytorch_s(cupy):
    torch = pytest.importorskip("torch")
    loop = Loop("cuda", "dict", OPTIMIZERS["sgd"])
    theirs = torch.amp.GradScaler("cpu", **SCALING)
    p = torch.ones(3, requires_grad=True)
    reference = torch.optim.SGD([p], lr=0.1)
    scales = []
    for k, gradient in enumerate(gradients()):
        theirs.scale(p.sum()).backward()
        p.grad = torch.full((3,), BAD.get(k, 1.0))
        theirs.step(reference)
        theirs.update()
        reference.zero_grad()
        loop.step(gradient)
        scales.append((loop.scaler.scale, theirs.get_scale()))
    assert [ours for ours, _ in scales] == [scale for _, scale in scales]
    assert len({ours for ours, _ in scales}) > 3


# --- what it costs --------------------------------------------------------------------------------
@pytest.mark.parametrize("storage", ["flat", "dict"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_is_waited_for_until_someone_asks(cupy, hears, name, storage):
    loop = Loop("cuda", storage, OPTIMIZERS[name])
    ready = [{k: cupy.asarray(v) for k, v in each.items()} for each in gradients()]
    first = [{k: cupy.asarray(v) for k, v in each.items()} for each in gradients()][1]
    loop.step(first)
    assert loop.optimizer.steps == 1  # with an average, the first step is waited for
    counting.reset()
    for gradient in ready:
        loop.step(gradient)
    found = counting.counts()
    assert found["waits"] == 0
    counting.reset()
    assert loop.optimizer.steps == STEPS - len(BAD) + 1
    assert loop.scaler.scale > 0
    assert loop.optimizer.state_dict()["step"] == loop.optimizer.steps
    assert (hears == "late") <= (counting.counts()["waits"] >= 1)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_step_is_four_launches(cupy, clip_norm):
    """Sums of squares, their total, the decision, the step: gradients are read twice."""
    params = Parameters(SHAPES, device="cuda")
    optimizer, scaler = Adam(params, clip_norm=clip_norm), LossScaler()
    for _ in range(3):
        scaler.step(optimizer)
    for _ in range(3):
        counting.reset()
        scaler.step(optimizer)
        found = counting.counts()
        assert (found["launches"], found["waits"], found["fills"]) == (4, 0, 0)
        assert found["copies"] == 1  # the report


def test_coefficients_are_sent_once_in_many_steps(cupy, monkeypatch):
    sent, on_gpu = [], cupy_pending.on_gpu
    monkeypatch.setattr(cupy_pending, "on_gpu", lambda t: (sent.append(len(t)), on_gpu(t))[1])
    optimizer, scaler = Adam(Parameters(SHAPES, device="cuda")), LossScaler()
    for _ in range(60):
        scaler.step(optimizer)
    assert len(sent) == 2
    optimizer.lr = 0.5
    scaler.step(optimizer)
    assert len(sent) == 3
    assert sent[2] == sent[0], "of one step: it may be no other"


def test_a_host_far_ahead_waits_once(cupy, monkeypatch):
    monkeypatch.setattr(PendingSteps, "hear", lambda self: self.known)
    monkeypatch.setattr(cupy_pending, "MOST", 8)
    here, there = (Loop(device, "flat", OPTIMIZERS["adam"]) for device in ("cpu", "cuda"))
    given = [{k: cupy.asarray(v) for k, v in each.items()} for each in gradients()]
    there.step(given[0])
    counting.reset()
    for gradient in given[1:]:
        there.step(gradient)
    assert counting.counts()["waits"] == (STEPS - 1) // 8
    for gradient in gradients():
        here.step(gradient)
    found, want = there.now()[0], here.now()[0]
    for key in SHAPES:
        np.testing.assert_allclose(found[key], want[key], CLOSE, CLOSE)


# --- who has the count ----------------------------------------------------------------------------
def test_steps_of_other_kinds_come_between(cupy, hears):
    """Plain steps, those of another scaler, a state that is loaded, and copies."""
    loops = [Loop(device, "dict", OPTIMIZERS["adam"]) for device in ("cpu", "cuda")]
    for loop in loops:
        other = LossScaler(2.0)
        for k, gradient in enumerate(gradients()):
            loop.step(gradient)
            if k % 5 == 1:
                there = {n: loop.xp.asarray(g) for n, g in gradient.items()}
                loop.optimizer.step(there)
                other.step(loop.optimizer, there)
            if k == 13:
                state, scaling = loop.optimizer.state_dict(), loop.scaler.state_dict()
            if k == 17:
                loop.optimizer.load_state_dict(state)
                loop.scaler.load_state_dict(scaling)
            if k == 22:
                loop.scaler = copy.deepcopy(loop.scaler)
            if k == 25:
                loop.scaler = pickle.loads(pickle.dumps(loop.scaler))
        loop.other = other.state_dict()
    here, there = loops
    assert there.optimizer.steps == here.optimizer.steps
    assert there.scaler.state_dict() == here.scaler.state_dict()
    assert there.other == here.other
    found, want = there.now()[0], here.now()[0]
    for key in SHAPES:
        np.testing.assert_allclose(found[key], want[key], CLOSE, CLOSE)


def test_a_copied_optimizer_goes_on_where_it_was(cupy):
    loop = Loop("cuda", "dict", OPTIMIZERS["adam"])
    for gradient in gradients():
        loop.step(gradient)
    twin = copy.deepcopy(loop.optimizer)
    assert twin.steps == loop.optimizer.steps == STEPS - len(BAD)
    assert pickle.loads(pickle.dumps(loop.optimizer)).steps == twin.steps


@pytest.mark.parametrize(
    "options", [{"engine": "array"}, {"clip_each_norm": 1.0}, {"dtype": "float64"}], ids=str
)
def test_the_rest_waits(cupy, options):
    """Another engine, a bound on each norm, float64."""
    options = dict(options)
    dtype = options.pop("dtype", "float32")
    optimizer = Adam(parameters("dict", dtype, "cuda"), **options)
    scaler = LossScaler(8.0)
    ones = {name: cupy.ones(shape, dtype) for name, shape in SHAPES.items()}
    assert scaler.step(optimizer, ones) is True
    ones["0.bias"][4] = np.inf
    assert scaler.step(optimizer, ones) is False
    assert (optimizer.steps, scaler.scale, scaler.pending) == (1, 4.0, None)


def test_arrays_with_gaps_wait(cupy):
    w = cupy.ones((6, 8), "float32")[:, ::2]
    optimizer, scaler = SGD([w], lr=1.0), LossScaler(2.0)
    assert scaler.step(optimizer, [cupy.ones((6, 4), "float32")]) is True
    assert (w == 0.5).all()


def test_gradients_that_do_not_fit_are_refused_and_nothing_changes(cupy):
    optimizer, scaler = Adam([cupy.ones(5, "float32")]), LossScaler()
    scaler.step(optimizer, [cupy.ones(5, "float32")])
    for wrong in (cupy.ones(4, "float32"), cupy.ones(5, "float64"), np.ones(5, "float32")):
        with pytest.raises((TypeError, ValueError), match=r"grads\[0\]"):
            scaler.step(optimizer, [wrong])
    assert (scaler.scale, optimizer.steps) == (2.0**16, 1)


def test_gradients_that_stay_infinite_are_told_at_a_later_step(cupy):
    w = cupy.ones(1, "float32")
    scaler, optimizer = LossScaler(2.0**-62), SGD([w])
    bad = [cupy.full(1, np.inf, "float32")]
    for _ in range(3):
        assert not scaler.step(optimizer, bad)
    with pytest.raises(FloatingPointError, match=r"inf or NaN at a scale of 5.4.*lower lr"):
        scaler.step(optimizer, bad)
    assert scaler.step(optimizer, [cupy.ones(1, "float32")])
    assert not scaler.step(optimizer, bad)
    with pytest.raises(FloatingPointError, match="inf or NaN at a scale"):
        scaler.wait()
    scaler.wait()  # told once
    assert (optimizer.steps, scaler.scale) == (1, 2.0**-64)


# --- training -------------------------------------------------------------------------------------
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype("float16")
Y = (X[:, 0] > 0).astype(int)


def trained(device, scale=2.0**14, epochs=3, optimizer=SGD, **options):
    layers = Dense(5, 16), ReLU(), Dense(16, 2)
    net = Sequential(*layers, dtype="float16", device=device, seed=0)
    scaler = LossScaler(scale, growth_interval=4)
    stepped = optimizer(net.parameters(), lr=0.01)
    history = fit(net, (X, Y), loss=SoftmaxCrossEntropy(), optimizer=stepped, epochs=epochs,
                  batch_size=10, progress=False, loss_scaler=scaler, **options)  # fmt: skip
    return net.state_dict(), scaler, stepped, history


def test_a_batch_of_a_fit_waits_for_nothing(cupy):
    def waits(epochs):
        counting.reset()
        trained("cuda", epochs=epochs)
        return counting.counts()["waits"]

    waits(2)
    six_batches = waits(4) - waits(3)
    assert six_batches <= 3  # an epoch's figures, and what is known of its steps


class Seen(Callback):
    def __init__(self):
        self.steps = []

    def on_batch(self, run):
        self.steps.append(run.step)


@pytest.mark.parametrize("schedule", [None, ExponentialDecay(0.01, 0.5)])
def test_a_fit_counts_the_steps_that_were_taken(cupy, hears, schedule):
    """As on the CPU; a schedule and a callback see what was taken."""
    seen = []
    for device in ("cpu", "cuda"):
        seen.append(Seen())
        found = trained(device, scale=2.0**30, callbacks=seen[-1], schedule=schedule)
        seen[-1].ends = found[1].state_dict(), found[2].steps, found[3].lr
    assert seen[0].steps == seen[1].steps
    assert 0 < seen[0].steps[-1] < 18
    assert seen[0].ends == seen[1].ends


def test_a_gpu_that_is_lost_with_the_count_is_told_all_the_same(cupy, monkeypatch):
    runtime = cupy.cuda.runtime

    class Losing(Callback):
        def on_epoch(self, run):
            def lost(*given):
                raise runtime.CUDARuntimeError(999)  # cudaErrorUnknown

            monkeypatch.setattr(PendingSteps, "settle", lost)

    with pytest.raises(DeviceUnavailableError, match="in epoch 2, after an unknown number of upd"):
        trained("cuda", callbacks=Losing())
