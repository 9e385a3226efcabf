"""Activations on a GPU whose memory runs out or whose compiler fails: done or not begun."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels
from onepass.kernels.activation.gpu import cupy_sums as gpu
from onepass.nets import Dense, LeakyReLU, Sequential, Softmax
from proving.absence.every_failure import ENGINES, check_every_failure, strided
from proving.absence.made_up_gpu import Machine
from proving.host import elementwise as hostcuda


class Things:
    """The arrays of a pass, in which y has numbers on both sides of 0."""

    def __init__(self, machine, gaps=False, dtype="float16", rows=4):
        shape = rows, 3

        def draw():
            return strided(machine, shape, dtype) if gaps else machine.draw(shape, dtype, -2.0)

        self.x, self.dy, self.out = draw(), draw(), draw()
        self.bias, self.sums = machine.draw(3, dtype), machine.draw(3, dtype)
        self.results = []

    def seen(self):
        arrays = [self.x, self.dy, self.out, self.bias, self.sums, *self.results]
        return [each.get().tobytes() for each in arrays]


def tried(run, *more, **options):
    return check_every_failure(lambda machine: Things(machine, **options), Things.seen, run, *more)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("out", [None, "x", "out"])
@pytest.mark.parametrize("kind", ["relu", "tanh"])
def test_a_forward_is_never_half(kind, out, engine):
    def run(things):
        given = {"bias": things.bias, "out": getattr(things, out) if out else None}
        y = kernels.activation_forward(things.x, kind, engine=engine, **given)
        things.results = [y]

    for gaps in (False, True):
        words = "activation_forward", f"engine '{engine}'", "float16 arrays"
        failures = tried(run, *words, gaps=gaps)
        assert failures["compile"] >= 1
        assert failures["memory"] >= (out is None)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("out", [None, "dy", "out"])
def test_a_backward_is_never_half(out, summed, engine):
    def run(things):
        given = {"bias_grad": things.sums if summed else None}
        given["out"] = getattr(things, out) if out else None
        dz = kernels.activation_backward(things.dy, things.x, "relu", engine=engine, **given)
        things.results = [dz]

    for gaps in (False, True):
        words = "activation_backward", f"engine '{engine}'", "float16 arrays"
        failures = tried(run, *words, gaps=gaps)
        assert failures["compile"] >= 1 + summed
        assert failures["memory"] >= (out is None or (summed and gaps))


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_sums_in_parts_take_their_memory_before_dz_is_written(engine):
    def run(things):
        given = {"bias_grad": things.sums, "out": things.dy, "engine": engine}
        kernels.activation_backward(things.dy, things.x, "relu", **given)

    words = "activation_backward", f"engine '{engine}'", "float16 arrays"
    assert tried(run, *words, rows=1024)["memory"] >= 2  # of parts, and of their count


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_sums_made_ready_after_dz_was_written_are_seen_to_be_half(monkeypatch, engine):
    original = gpu.column_sums
    monkeypatch.setattr(gpu, "column_sums", lambda *given: lambda: original(*given)())

    def run(things):
        given = {"bias_grad": things.sums, "out": things.dy, "engine": engine}
        things.results = [kernels.activation_backward(things.dy, things.x, "relu", **given)]

    with pytest.raises(AssertionError, match="half done where compile"):
        tried(run)


@pytest.mark.hostcuda
@pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)
@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh"])
def test_a_network_on_the_made_up_gpu_is_that_on_the_cpu(kind):
    rng = np.random.default_rng(3)
    x, dy = (rng.standard_normal((7, width)).astype("float32") for width in (4, 3))

    def passed(device):
        layers = Dense(4, 5, activation=kind), LeakyReLU(0.2), Dense(5, 3), Softmax()
        net = Sequential(*layers, seed=1, device=device)
        y = net.forward(x, train=True)
        dx = net.backward(net.backend.asarray(dy))
        return [net.backend.to_numpy(each) for each in (y, dx, net.parameters().flat_grads)]

    wanted = passed("cpu")
    with Machine().installed():
        found = passed("cuda")
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
