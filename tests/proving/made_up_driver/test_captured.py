"""Captured steps of real CuPy on the made-up driver: as layer by layer, and what they cost."""

from __future__ import annotations

import gc
from functools import partial

import numpy as np
import pytest
from onepass import KernelError, kernels
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.products import cupy_device
from onepass.nets import (
    L1,
    L2,
    SGD,
    Adam,
    BatchNorm,
    BinaryCrossEntropy,
    Callback,
    Checkpoint,
    Dense,
    Dropout,
    GroupNorm,
    Huber,
    LayerNorm,
    MeanSquaredError,
    Poisson,
    RMSNorm,
    Sequential,
    SoftmaxCrossEntropy,
    capture,
    fit,
    load,
)
from onepass.nets.training.captured import steps
from onepass.nets.training.captured.graph import CapturedGraph

from proving.made_up_driver import counting
from proving.made_up_driver.training import OPTIMIZERS, blobs, trained, uncaptured

OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]


@pytest.fixture
def runs(monkeypatch):
    """How many steps each captured run took; all that can be are in one run."""
    found, run = [], CapturedGraph.run

    def counted(self, order, steps):
        try:
            run(self, order, steps)
        finally:
            found.append(self.taken)

    monkeypatch.setattr(CapturedGraph, "run", counted)
    monkeypatch.setattr(steps.CapturedSteps, "pace", lambda self, step: 256)
    return found


def net_of(*layers, dtype="float32", device="cuda"):
    layers = layers or (Dense(12, 16, bias=False), BatchNorm(16, activation="relu"), Dense(16, 4))
    return Sequential(*layers, seed=3, dtype=dtype, device=device)


# --- as layer by layer ----------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_captured_steps_are_steps_layer_by_layer(name, dtype, runs, monkeypatch):
    found, there = trained("cuda", name, dtype)
    assert sum(runs) == 3 * 5 - 2, "all but the first of each size of batch"
    uncaptured(monkeypatch)
    figures, state = trained("cuda", name, dtype)
    np.testing.assert_allclose(found, figures, rtol=1e-12)
    for key, value in state.items():
        np.testing.assert_array_equal(there[key], value, err_msg=key)


LOSSES = {
    "classes": (SoftmaxCrossEntropy, lambda y: y),
    "numbers": (MeanSquaredError, lambda y: np.eye(4, dtype="float32")[y]),
    "smoothed": (lambda: SoftmaxCrossEntropy(label_smoothing=0.1), lambda y: y),
    "outliers": (lambda: Huber(0.5), lambda y: np.eye(4, dtype="float32")[y]),
    "counts": (Poisson, lambda y: np.eye(4, dtype="float32")[y]),
    "labels": (BinaryCrossEntropy, lambda y: np.eye(4, dtype="float32")[y]),
    "yes or no": (BinaryCrossEntropy, lambda y: y % 2),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_regularizer(loss, runs, monkeypatch):
    x, y = blobs(70, 12, classes=4)

    def run():
        net = net_of(
            Dense(12, 8, activation="tanh"), Dropout(0.7), Dense(8, 1 if loss == "yes or no" else 4)
        )
        options = {"loss": LOSSES[loss][0](), "regularizer": [L1(0.01), L2(0.1)], "progress": False}
        sgd = SGD(net.parameters(), lr=0.1)
        history = fit(
            net, (x, LOSSES[loss][1](y)), optimizer=sgd, epochs=2, batch_size=16, **options
        )
        return history, net.parameters().flat.get(), net.random_state()

    history, flat, states = run()
    assert history.path == "captured"
    uncaptured(monkeypatch)
    plain, wanted, random = run()
    assert states == random
    np.testing.assert_allclose(history.loss, plain.loss, rtol=1e-12)
    np.testing.assert_allclose(history.metric, plain.metric, rtol=1e-12)
    np.testing.assert_array_equal(flat, wanted)


NORMS = {
    "layer norm": lambda: (LayerNorm(12), Dense(12, 16), LayerNorm(16, activation="gelu")),
    "rms norm": lambda: (Dense(12, 16), RMSNorm(16, activation="silu"), RMSNorm(16, affine=False)),
    "group norm": lambda: (Dense(12, 16), GroupNorm(4, 16, activation="relu"), Dropout(0.8)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", NORMS)
def test_every_norm_of_rows(name, dtype, runs, monkeypatch):
    data = blobs(70, 12, classes=4)

    def run():
        net = net_of(*NORMS[name](), Dense(16, 4), dtype=dtype)
        options = {"loss": SoftmaxCrossEntropy(), "optimizer": Adam(net.parameters(), lr=0.01)}
        history = fit(net, data, epochs=3, batch_size=16, progress=False, **options)
        return history, net.parameters().flat.get()

    history, flat = run()
    assert history.path == "captured"
    assert sum(runs) == 3 * 5 - 2, "all but the first of each size of batch"
    uncaptured(monkeypatch)
    plain, wanted = run()
    np.testing.assert_array_equal(history.loss, plain.loss)
    np.testing.assert_array_equal(flat, wanted)


def test_a_callback_at_each_batch_and_augmentation(runs, monkeypatch):
    class Notes(Callback):
        def __init__(self):
            self.losses = []

        def on_batch(self, run):
            self.losses.append(float(run.batch_loss))

    def noise(x, rng):
        return x + x.dtype.type(rng.uniform())

    notes = Notes(), Notes()
    kept = trained("cuda", "adam", "float32", callbacks=notes[0], augment=noise)
    assert runs == [1] * 13
    uncaptured(monkeypatch)
    plain = trained("cuda", "adam", "float32", callbacks=notes[1], augment=noise)
    np.testing.assert_allclose(notes[0].losses, notes[1].losses, rtol=1e-12)
    for key, value in plain[1].items():
        np.testing.assert_array_equal(kept[1][key], value)


def test_a_step_of_ones_own_loop():
    x, y = blobs(48, 12, classes=4)

    def losses(device):
        net = net_of(device=device)
        step = capture(net, SoftmaxCrossEntropy(), Adam(net.parameters()))
        found = [(step(x[:n], y[:n]), step.metric) for n in (16, 16, 48, 16, 48)]
        assert step.why_not == ""
        return found

    np.testing.assert_allclose(losses("cuda"), losses("cpu"), rtol=5e-6)


@pytest.mark.parametrize("change", ["lr", "layer", "dense", "draw", "weight", "clip_norm"])
def test_what_is_changed_between_steps_counts(change):
    x, y = blobs(16, 12, classes=4)

    def losses(device):
        net = net_of(
            Dense(12, 16, bias=False), BatchNorm(16), Dropout(0.8), Dense(16, 4), device=device
        )
        adam = Adam(net.parameters(), clip_norm=5.0)
        step = capture(net, SoftmaxCrossEntropy(), adam)
        found = [step(x, y) for _ in range(3)]
        match change:
            case "lr":
                adam.lr = 0.1
            case "layer":
                net.layers[1].eps = 0.5
            case "dense":
                net.layers[-1]._kind = "relu"  # whose product is another
            case "draw":
                net.forward(x, train=True)
            case "weight":
                net.parameters()["0.weight"][...] *= 2
            case "clip_norm":
                adam.clip_norm = 0.01
        return [*found, *(step(x, y) for _ in range(3))]

    np.testing.assert_allclose(losses("cuda"), losses("cpu"), rtol=1e-5)


def test_a_network_that_moves_is_captured_anew():
    x, y = blobs(16, 12, classes=4)

    def losses(*devices):
        net = net_of(device=devices[0])
        step, found = capture(net, SoftmaxCrossEntropy(), Adam(net.parameters())), []
        for device in devices:
            net.to(device)
            found += [step(x, y) for _ in range(3)]
            assert step.why_not == ""
        return found

    wanted = losses("cpu", "cpu", "cpu")
    np.testing.assert_allclose(losses("cuda", "cuda:1", "cpu"), wanted, rtol=5e-6)
    np.testing.assert_allclose(losses("cpu", "cuda", "cuda:1"), wanted, rtol=5e-6)


def test_two_devices():
    x, y = blobs(16, 12, classes=4)
    found = []
    for device in ("cuda:0", "cuda:1"):
        net = net_of(device=device)
        step = capture(net, SoftmaxCrossEntropy(), Adam(net.parameters(), clip_norm=0.1))
        found.append([step(x, y) for _ in range(4)])
        assert step.why_not == ""
    assert found[0] == found[1]


# --- what can't be captured -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: (net_of(Dense(12, 8), BatchNorm(8, momentum=None)), {}), "waits for the GPU"),
        (
            lambda: (net_of(Dense(12, 8), BatchNorm(8, running_var_ddof=0)), {}),
            "running_var_ddof=0",
        ),
        (lambda: (net_of(Noise(), Dense(12, 8)), {}), r"state() changes"),
        (lambda: (net_of(), {"engine": "array"}), "engine is 'array'"),
        (lambda: (net_of(Doubled(12, 8), Dense(8, 4)), {}), "forward of its own"),
    ],
)
def test_what_can_not_be_captured_goes_layer_by_layer_and_tells_why(make, why):
    (net, options), data = make(), blobs(70, 12, classes=4)
    adam = Adam(net.parameters(), **options)
    history = fit(
        net,
        data,
        loss=SoftmaxCrossEntropy(),
        optimizer=adam,
        epochs=2,
        progress=False,
        batch_size=16,
    )
    assert why in history.path
    assert np.isfinite(history.loss).all()
    assert adam.steps == 10


class Noise(Dropout):
    """A layer that draws in its own way, and says how it is written down."""

    def forward(self, x, train=False):
        self._draw += train
        return x + self._draw / 100

    def backward(self, dy, input_grad=True):
        return dy

    def record(self, recorder, x, train=True):
        raise AssertionError("on a GPU nothing is recorded")


class Doubled(Dense):
    """A layer with a forward of its own."""

    def forward(self, x, train=False):
        return super().forward(x, train) * 2


# --- what is not finite ---------------------------------------------------------------------------
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_loss_that_is_not_finite_ends_a_run_before_its_step(clip_norm, runs, monkeypatch):
    x, y = blobs(96, 12, classes=4)
    x[50:] = 3e38

    def left(device):
        net = net_of(device=device)
        adam = Adam(net.parameters(), clip_norm=clip_norm)
        options = {"loss": SoftmaxCrossEntropy(), "epochs": 2, "batch_size": 4, "seed": Shuffled()}
        with pytest.raises(FloatingPointError, match="layer 0") as told:
            fit(net, (x, y), optimizer=adam, progress=False, **options)
        assert "more may have gone wrong" not in str(told.value)
        return net.state_dict(), adam.steps

    (state, steps), (wanted, taken) = left("cuda"), left("cpu")
    assert runs == [11], "and one before it was captured"
    assert steps == taken == 12
    for name, value in state.items():  # the batch that made it so is in the running statistics
        assert np.isfinite(value).all() == ("running" not in name)
        both = np.isfinite(value) & np.isfinite(wanted[name])  # what overflows is inf, or nan
        np.testing.assert_allclose(value[both], wanted[name][both], rtol=1e-3, atol=1e-6)


class Shuffled(np.random.Generator):
    """Leaves everything in order."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def permutation(self, n):
        return np.arange(n)


@pytest.mark.parametrize(("size", "most"), [(1e-80, 1e-163), (1e150, 1e-3)])
def test_gradients_whose_squares_leave_float64_are_clipped_with_care(size, most):
    x, y = blobs(32, 12, classes=4)
    x = x.astype("float64")

    def run(device):
        net = net_of(Dense(12, 4), dtype="float64", device=device)
        sgd = SGD(net.parameters(), lr=0.1, clip_norm=most)
        step = capture(net, MeanSquaredError(), sgd)
        targets = np.eye(4)[y]
        for scale in (1.0, 1.0, size, 1.0):
            step(x * scale, targets * 0)
        return net.backend.to_numpy(net.parameters().flat), sgd.steps

    found, wanted = run("cuda"), run("cpu")
    assert found[1] == wanted[1] == 4
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-9)


# --- what it costs --------------------------------------------------------------------------------
def test_a_captured_step_is_one_launch_of_a_graph(monkeypatch):
    monkeypatch.setattr(steps.CapturedSteps, "pace", lambda self, step: 256)
    x, y = blobs(16 * 40, 12, classes=4)

    def cost(epochs):
        net = net_of()
        adam = Adam(net.parameters())
        options = {"loss": SoftmaxCrossEntropy(), "batch_size": 16, "progress": False}
        counting.reset()
        fit(net, (x, y), optimizer=adam, epochs=epochs, **options)
        return counting.counts()

    cost(1)
    two, three = cost(2), cost(3)
    asked = "launches", "nodes", "graphs", "copies", "waits", "orders"
    epoch = {name: n for name in asked if (n := three[name] - two[name])}
    wanted = {"graphs": 40, "copies": 3, "waits": 1, "orders": 1}
    assert epoch == wanted, "copies of the order, of what is given and of what is found"


def test_a_graph_has_memory_of_its_own():
    """What others take and fill between its launches is none of its."""
    import cupy

    x, y = blobs(16, 12, classes=4)
    found = []
    for others in (False, True):
        net = net_of()
        step = capture(net, SoftmaxCrossEntropy(), partial(Adam, lr=0.01)(net.parameters()))
        for _ in range(5):
            found.append(step(x, y))
            taken = [cupy.full(n, np.nan, "float32") for n in range(1, 400 if others else 1)]
            del taken
    assert found[:5] == found[5:]


def test_a_graph_that_is_gone_leaves_nothing_behind():
    device = cupy_device.device(0)

    def kept():
        gc.collect()
        return [len(each) for each in (device.rooms, *cuda_launch.by_stream)]

    for k in range(4):
        trained("cuda", "adam", "float32")
        if k == 0:
            before = kept()
    assert kept() == before


# --- memory that runs out -------------------------------------------------------------------------
@pytest.mark.parametrize("once", [True, False])
def test_where_memory_runs_out_in_a_capture_steps_go_layer_by_layer(once, monkeypatch):
    """Where it runs out once, what CuPy keeps helps. What the graph's earlier kernels work in must
    not be released, as CuPy's pools would do before they ask again."""
    import cupy

    take, asked = cupy.cuda.memory._malloc, []
    x, y = blobs(16, 12, classes=4)

    def run(at):
        def malloc(size):
            asked.append(size)
            if at and (len(asked) == at or (len(asked) > at and not once)):
                raise cupy.cuda.runtime.CUDARuntimeError(OUT_OF_MEMORY)
            return take(size)

        net = net_of(Dense(12, 300), BatchNorm(300), Dropout(0.5), Dense(300, 4))
        step = capture(net, SoftmaxCrossEntropy(), Adam(net.parameters(), clip_norm=1.0))
        found = [step(x, y)]
        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(cupy.cuda.memory, "_malloc", malloc)
            found.append(step(x, y))
        return [*found, step(x, y)], step.why_not, len(asked)

    wanted, why_not, times = run(0)
    assert why_not == ""
    assert times >= 2
    for at in range(1, times + 1):
        found, why_not, _ = run(at)
        assert ("Out of memory" in why_not) == (not once)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_first_softmax_in_a_capture_of_ones_own_is_refused():
    import cupy

    z, k = cupy.zeros((3, 4), "float32"), cupy.zeros(3, "int64")
    kernels.softmax_cross_entropy(z, k)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(KernelError, match="Run the step once before"):
            kernels.softmax_cross_entropy(z, k)
        stream.end_capture()
        found = [kernels.softmax_cross_entropy(z, k)[0] for _ in range(2)]
    assert float(found[0]) == float(found[1]) == pytest.approx(np.log(4))


# --- a run that goes on from a file ---------------------------------------------------------------
def test_a_run_that_goes_on_from_a_file_is_the_run_that_never_ended(tmp_path):
    data, file = blobs(70, 12, classes=4), tmp_path / "half"

    def train(net, optimizer, epochs, **options):
        options |= {"loss": SoftmaxCrossEntropy(), "batch_size": 16, "progress": False}
        history = fit(net, data, optimizer=optimizer, epochs=epochs, **options)
        assert history.path == "captured"
        return history.loss, net.parameters().flat.get().tolist(), optimizer.steps

    def started():
        net = net_of(Dense(12, 16, bias=False), BatchNorm(16), Dropout(0.8), Dense(16, 4))
        return net, Adam(net.parameters())

    whole = train(*started(), 4)
    train(*started(), 2, callbacks=Checkpoint(file))
    there = load(file, "cuda")
    assert train(there.net, there.optimizer, 4, resume=there) == whole
