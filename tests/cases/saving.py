"""Networks to save, and files that are changed on purpose."""

from __future__ import annotations

from onepass import backend_of
from onepass.nets import (
    Adam,
    BatchNorm,
    Callback,
    Dense,
    Dropout,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
)
from onepass.nets.saving.safetensors_file import read_file, write_file

from cases.training import data


def network(dtype="float32", device="cpu", seed=0):
    """What has parameters, running statistics and random states."""
    layers = (
        Dense(2, 8, bias=False), BatchNorm(8, activation="relu"), Dropout(0.8), Dense(8, 3),
    )  # fmt: skip
    return Sequential(*layers, seed=seed, dtype=dtype, device=device)


def train(net, optimizer, epochs=2, **options):
    """The history of a short training that augments, validated."""
    options = {"validation": data(n=15, seed=1), "schedule": None, **options}
    return fit(
        net, data(), loss=SoftmaxCrossEntropy(), optimizer=optimizer, epochs=epochs, batch_size=16,
        augment=jitter, progress=False, **options,
    )  # fmt: skip


def jitter(x, rng):
    return x + backend_of(x).asarray(rng.normal(0, 0.05, x.shape).astype(x.dtype))


class Kept(Callback):
    """Keeps the run of a fit."""

    def on_end(self, run):
        self.run = run


def trained(dtype="float32", device="cpu", kind=Adam, **hyper):
    """(network, optimizer, run) after two epochs."""
    net, kept = network(dtype, device), Kept()
    optimizer = kind(net.parameters(), **hyper)
    train(net, optimizer, callbacks=[kept])
    return net, optimizer, kept.run


def everything(net, optimizer=None):
    """Every bit of a network and its optimizer, and all that its random numbers depend on."""
    arrays = {name: (value.dtype, value.tobytes()) for name, value in net.state_dict().items()}
    if optimizer is None:
        return arrays, net.random_state()
    state = optimizer.state_dict()
    for name, values in state.pop("state").items():
        arrays |= {(name, key): (v.dtype, v.tobytes()) for key, v in values.items()}
    return arrays, net.random_state(), state


def rewrite(path, change):
    """Write the file again after change(tensors, content), with a checksum that is right."""
    tensors, content = read_file(path)
    change(tensors, content)
    write_file(path, tensors, content)
