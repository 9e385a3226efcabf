"""Softmax cross-entropy on a GPU whose memory runs out or whose compiler fails: all or nothing."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from onepass import KernelError, kernels
from onepass.backend.failures import Explained, Failure
from onepass.kernels.compiling.gpu import cuda_launch, first_launch
from onepass.kernels.softmax.gpu import cupy_gpu
from onepass.kernels.softmax.gpu import plan as gpu_plan
from onepass.kernels.softmax.gpu.cuda_text import KERNELS, source
from proving.absence.every_failure import ENGINES, check_every_failure, strided
from proving.absence.made_up_gpu import Machine
from proving.host import elementwise as hostcuda

# On the made-up GPU a block of Numba's has one thread.
ALONE = dict.fromkeys(("WARP", "THREADS", "MORE"), 1)


class Things:
    """The arrays of a call."""

    def __init__(self, machine, gaps=False, weighted=False, dtype="float16"):
        def draw():
            return strided(machine, (4, 3), dtype) if gaps else machine.draw((4, 3), dtype)

        self.logits, self.out = draw(), draw()
        self.labels = machine.array(np.array([0, 2, 1, 2]))
        self.weights = machine.draw(4, "float64") if weighted else None
        self.results = []

    def seen(self):
        arrays = [self.logits, self.out, self.labels, *self.results]
        return [each.get().tobytes() for each in arrays]


def sizes(engine):
    return mock.patch.multiple(gpu_plan, **(ALONE if engine == "numba-cuda" else {"THREADS": 64}))


def tried(run, engine, *words, **options):
    with sizes(engine):
        return check_every_failure(
            lambda machine: Things(machine, **options), Things.seen, run, *words
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("out", [None, "logits", "out"])
def test_it_is_never_half(out, gaps, weighted, engine):
    def run(things):
        given = {"weights": things.weights, "out": getattr(things, out) if out else None}
        found = kernels.softmax_cross_entropy(things.logits, things.labels, engine=engine, **given)
        things.results = list(found)

    words = "softmax_cross_entropy", f"engine '{engine}'", "float16 arrays"
    failures = tried(run, engine, *words, gaps=gaps, weighted=weighted)
    assert failures["compile"] >= 1 + (engine != "cupy" or gaps)
    assert failures["memory"] >= 2 + (out is None)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("out", [None, "logits"])
def test_with_smoothed_labels_it_is_never_half(out, gaps, engine):
    def run(things):
        given = {"weights": things.weights, "out": getattr(things, out) if out else None}
        given |= {"label_smoothing": 0.1, "engine": engine}
        things.results = list(kernels.softmax_cross_entropy(things.logits, things.labels, **given))

    words = "softmax_cross_entropy", f"engine '{engine}'", "float16 arrays"
    failures = tried(run, engine, *words, gaps=gaps, weighted=True)
    assert failures["compile"] >= 1
    assert failures["memory"] >= 2


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_smooths_labels(engine):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((4, 3)).astype("float32"), np.array([0, 2, 1, 2])
    weights = np.array([1.0, 0.0, 2.0, 0.5])
    options = {"weights": weights, "label_smoothing": 0.2}
    want = kernels.softmax_cross_entropy(logits, labels, **options)
    with sizes(engine), Machine().installed() as machine:
        z, k = machine.array(logits), machine.array(labels)
        found = kernels.softmax_cross_entropy(z, k, engine=engine, **options)
        for ours, theirs in zip(found, want, strict=True):
            np.testing.assert_allclose(ours.get(), theirs, rtol=1e-5, atol=1e-7)


def test_a_mean_that_was_not_launched_ahead_is_seen_to_be_half():
    class Everything:
        def __contains__(self, code):
            return True

    def run(things):
        with mock.patch.object(first_launch, "_compiled", Everything()):
            found = kernels.softmax_cross_entropy(
                things.logits, things.labels, out=things.logits, engine="numba-cuda"
            )
        things.results = list(found)

    with pytest.raises(AssertionError, match="half done where compile"):
        tried(run, "numba-cuda")


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_second_call_compiles_nothing_and_takes_less(engine):
    with sizes(engine), Machine().installed() as machine:
        things, taken = Things(machine, dtype="float32"), []
        for k in range(2):
            machine.left = {"memory": 1_000, "compile": 1_000 if k == 0 else 1}
            kernels.softmax_cross_entropy(things.logits, things.labels, engine=engine)
            taken.append(1_000 - machine.left["memory"])
        once = engine == "cupy"  # the number by which blocks count themselves
        assert taken == [3 + once, 3], "the gradient, the losses of blocks and their mean"


def test_plans_of_many_shapes_do_not_pile_up():
    cuda_launch.forget()
    for rows in range(1, 3000):
        cupy_gpu._plan(rows, 10, "float32")
    assert 1 < cupy_gpu._plan.cache_info().currsize <= 1024
    cuda_launch.forget()
    assert cupy_gpu._plan.cache_info().currsize == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_out_of_range_make_the_loss_and_their_row_nan(weighted, engine):
    with sizes(engine), Machine().installed() as machine:
        logits, labels = machine.draw((4, 3), "float32"), machine.array(np.array([0, 3, 1, -1]))
        weights = machine.draw(4, "float32") if weighted else None
        loss, gradient = kernels.softmax_cross_entropy(
            logits, labels, weights=weights, engine=engine
        )
        assert np.isnan(float(loss))
        wrong = np.isnan(gradient.get())
    assert wrong.any(axis=1).tolist() == wrong.all(axis=1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("engine", ENGINES)
def test_labels_and_weights_of_numpys_are_brought_there(engine):
    logits = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    labels, weights = np.array([0, 2, 1, 2]), np.array([1.0, 0.0, 2.0, 0.5])
    want = kernels.softmax_cross_entropy(logits, labels, weights=weights)
    with sizes(engine), Machine().installed() as machine:
        z = machine.array(logits)
        found = kernels.softmax_cross_entropy(z, labels, weights=weights, engine=engine)
        for ours, theirs in zip(found, want, strict=True):
            np.testing.assert_allclose(ours.get(), theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.hostcuda
@pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)
def test_warmup_leaves_nothing_to_compile():
    with Machine().installed() as machine:
        kernels.warmup("float32", engine="cupy", rules=(), softmax=True)
        machine.fail("compile", 1)
        for width in (1, 2, 9, 10, 100, 257, 1000, 1025, 5000, 9000):
            logits = machine.array(np.zeros((2, width), "float32"))
            for weights in (None, np.ones(2, "float32")):
                kernels.softmax_cross_entropy(logits, np.zeros(2, int), weights=weights)
        logits = machine.array(np.zeros((2, 3), "float16"))
        with pytest.raises(KernelError, match=r"softmax_lanes of softmax_cross_entropy"):
            kernels.softmax_cross_entropy(logits, np.zeros(2, int))


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_can_not_be_compiled_is_named(name):
    error = KeyError("what a compiler says")
    error.source = source(name, "float32")
    with pytest.raises(KernelError, match=f"kernel {name} of softmax_cross_entropy .engine 'cupy'"):
        raise Explained("softmax_cross_entropy", LikeCuPys, "cupy")._told(
            Failure("compile", "a line", "a remedy"), error
        )


class LikeCuPys:
    dtype = np.dtype("float32")
