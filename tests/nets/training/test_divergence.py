"""Where a loss is not finite: the layer that first went wrong is named, wherever it went wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases.training import bits, data, network, train
from onepass.backend import DeviceUnavailableError
from onepass.backend.numpy_backend import NumpyBackend
from onepass.nets import (
    L2,
    SGD,
    BatchNorm,
    Callback,
    Dense,
    Dropout,
    Layer,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
)
from onepass.nets.training.told.divergence import first_fault


class Faulty(Layer):
    """The identity, until its `at`-th call: then one value that goes through is NaN or inf."""

    def __init__(self, where, at=1, value=np.nan):
        self.where, self.at, self.value = where, at, value
        self.calls = {"forward": 0, "backward": 0}

    def forward(self, x, train=False):
        return self._through("forward", x)

    def backward(self, dy, input_grad=True):
        return self._through("backward", dy)

    def _through(self, where, array):
        array = array.copy()
        self.calls[where] += 1
        if where == self.where and self.calls[where] >= self.at:
            array[0, 0] = self.value
        return array


class FaultyWeights(Dense):
    """A Dense layer that from its `at`-th backward on writes NaN into a gradient of its own."""

    def __init__(self, *widths, at=1, name="weight"):
        super().__init__(*widths)
        self.calls, self.at, self.name = 0, at, name

    def backward(self, dy, input_grad=True):
        dx = super().backward(dy, input_grad)
        self.calls += 1
        if self.calls >= self.at:
            self.grads[self.name][..., 0] = np.nan
        return dx


def built(*middle):
    return Sequential(Dense(2, 4), *middle, Tanh(), Dense(4, 3), seed=0, device="cpu")


def refuses(net, message, **options):
    with pytest.raises(FloatingPointError, match=message) as caught:
        train(net, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["0.weight", "2.bias"])
def test_parameters_that_were_so_before_training(name):
    net = built()
    net.parameters()[name][..., 1] = np.nan
    kept = bits(net)
    layer, shape = ("0", r"2, 4") if name[0] == "0" else ("2", r"4, 3")
    refuses(
        net,
        rf"the loss is nan in epoch 1: layer {layer} Dense\({shape}\) went wrong first: its "
        "parameters are not finite; they were so before the first update",
    )
    assert bits(net) == kept


def test_parameters_that_became_so():
    class Breaks(Callback):
        def on_batch(self, run):
            if run.step == 6:
                run.net.parameters()["2.weight"][0, 0] = np.inf

    text = refuses(
        built(),
        r"in epoch 2: layer 2 Dense\(4, 3\) went wrong first: its parameters are not finite; try a "
        r"lower lr \(it is 0.1\) or clip_norm=1.0\.$",
        callbacks=[Breaks()],
    )
    assert "GPU" not in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output(value):
    net = Sequential(Dense(2, 4), Tanh(), Faulty("forward", 3, value), Dense(4, 3), device="cpu")
    refuses(net, r"epoch 1: layer 2 Faulty\(\) went wrong first: its output is not finite; try")


def test_the_update_that_would_follow_is_not_done():
    net, twin = built(Faulty("forward", at=3)), built(Faulty("forward", at=99))
    refuses(net, "its output is not finite")

    class Two(Callback):
        def on_batch(self, run):
            if run.step == 2:
                run.stop("there")

    train(twin, callbacks=[Two()])
    assert bits(net) == bits(twin)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_gradient_of_parameters(name):
    net = Sequential(Dense(2, 4), FaultyWeights(4, 4, at=2, name=name), Tanh(), Dense(4, 3), seed=0,
                     device="cpu")  # fmt: skip
    refuses(
        net,
        r"layer 1 Dense\(4, 4\) went wrong first: its gradient in the update before is not finite",
    )


@pytest.mark.parametrize("at", [1, 3])
def test_a_gradient_that_clipping_sees_in_its_own_batch(at):
    """Here the layer without parameters is told from the one below, whose gradient it spoiled."""
    net = built(Tanh(), Faulty("backward", at=at))
    kept = []

    class Keeps(Callback):
        def on_batch(self, run):
            kept.append(bits(run.net))

    optimizer = SGD(net.parameters(), clip_norm=1.0)
    refuses(
        net,
        r"the gradients' norm is nan in epoch 1: layer 2 Faulty\(\) went wrong first: its gradient "
        "is not finite",
        optimizer=optimizer,
        callbacks=[Keeps()],
    )
    assert len(kept) == at - 1
    if kept:
        assert bits(net) == kept[-1]


def test_a_rate_that_is_too_large():
    net = Sequential(Dense(2, 8), ReLU(), Dense(8, 3), device="cpu")
    text = refuses(
        net, "the loss is (nan|inf) in epoch 1", optimizer=SGD(net.parameters(), lr=1e30)
    )
    assert re.search(r"layer [02] Dense.* went wrong first: its (output|parameters|gradient)", text)
    assert "try a lower lr (it is 1e+30) or clip_norm=1.0" in text


def test_running_statistics_and_the_validation_loss():
    class Breaks(Callback):
        def on_batch(self, run):
            run.net.buffers()["1.running_var"][2] = np.nan

    net = Sequential(Dense(2, 4), BatchNorm(4), Dense(4, 3), device="cpu")
    refuses(
        net,
        r"the validation loss is nan in epoch 1: layer 1 BatchNorm\(4\) went wrong first: its "
        "running statistics are not finite",
        callbacks=[Breaks()],
        validation=data(n=15),
        batch_size=20,
    )


def test_what_augment_returns():
    def augment(x, rng):
        x[0, 0] = np.nan
        return x

    refuses(
        built(),
        "the batch itself holds values that are not finite; look at what augment does",
        augment=augment,
    )


def test_a_loss_of_finite_outputs():
    net = network("numbers")
    net.parameters()["2.bias"][...] = 1e30  # squared it is beyond float32
    refuses(
        net,
        r"the loss is inf .*: the network's output is finite, but MeanSquaredError\(\) of it",
        kind="numbers",
    )


def test_a_gradient_of_the_loss():
    class Broken(SoftmaxCrossEntropy):
        def __call__(self, output, targets, weights=None):
            mean, gradient = super().__call__(output, targets, weights)
            return mean, gradient * np.nan

    net = built()
    refuses(
        net,
        r"the gradient of Broken\(\) is not finite",
        loss=Broken(),
        optimizer=SGD(net.parameters(), clip_norm=1.0),
    )


def test_a_penalty():
    net = Sequential(Dense(2, 4), Tanh(), Dense(4, 3), seed=0, device="cpu", dtype="float64")
    net.parameters()["0.weight"][...] = 1e200
    text = refuses(net, "inf in epoch 1; it was so before the first update", regularizer=L2(1.0))
    assert "went wrong" not in text


def test_looking_for_the_fault_changes_nothing():
    net = Sequential(Dense(2, 4), BatchNorm(4), Dropout(0.5), Dense(4, 3), device="cpu")
    draw = net.layers[2].state()
    x, y = data()
    net.parameters().flat_grads[...] = 7
    kept = bits(net)
    assert first_fault(net, x, y, SoftmaxCrossEntropy(), training=True) == ""
    assert first_fault(net, x, y, SoftmaxCrossEntropy(), training=False) == ""
    assert bits(net) == kept
    assert (net.parameters().flat_grads == 7).all()
    assert net.layers[2].state() == draw


# A GPU, played by NumPy: figures are read once an epoch


class Played(NumpyBackend):
    device = "cuda:0"


def on_played_gpu(*middle):
    net = built(*middle)
    net.parameters()._backend = Played()
    return net


def test_on_a_gpu_the_epoch_is_finished_first_and_the_message_says_so():
    layer = Faulty("forward", at=2)
    text = refuses(
        on_played_gpu(layer),
        r"the loss is nan in epoch 1: layer 0 Dense\(2, 4\) went wrong first: its parameters",
    )
    assert "Layer by layer a GPU's losses are read once an epoch" in text
    assert "device='cpu'" in text
    assert layer.calls["forward"] == 4, "a batch's loss was looked at, which waits for a GPU"


class CUDARuntimeError(RuntimeError):
    """What CuPy raises, by its name."""


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_device_that_disappears(wrapped):
    class Lost(Callback):
        def on_batch(self, run):
            if run.step == 6:
                error = CUDARuntimeError("cudaErrorLaunchFailure: unspecified launch failure")
                if not wrapped:
                    raise error
                raise RuntimeError("a kernel can't be run") from error

    with pytest.raises(DeviceUnavailableError) as caught:
        train(on_played_gpu(), callbacks=[Lost()])
    for words in ("cuda:0 failed in epoch 2, after 6 updates", "unspecified launch", "resume="):
        assert words in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("make", "error"),
    [(on_played_gpu, LookupError("planted")), (built, CUDARuntimeError("cudaErrorLaunchFailure"))],
)
def test_other_errors_stay_as_they_are(make, error):
    class Fails(Callback):
        def on_batch(self, run):
            raise error

    with pytest.raises(type(error)) as caught:
        train(make(), callbacks=[Fails()])
    assert caught.value is error
