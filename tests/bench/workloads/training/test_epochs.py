"""Training is timed fairly: same start, same batches, same results; and the floor is the floor."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from onepass.bench.peers import jax_steps, torch_compile, trainers
from onepass.bench.peers.sklearn_trainer import Sklearn
from onepass.bench.workloads.training import epochs as training
from onepass.bench.workloads.training import matrix_products as products
from onepass.bench.workloads.training.onepass_trainer import Onepass, trainer
from onepass.bench.workloads.training.same_network import assert_accurate
from onepass.nets import Dataset, Dense, load_digits


def peer(path, package, *marks):
    missing = pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is missing")
    return pytest.param(path, marks=[missing, pytest.mark.peers, *marks])


OTHERS = [
    peer("jax step", "jax"),
    peer("jax scan", "jax"),
    peer("torch fused", "torch"),
    peer("torch compile", "torch", pytest.mark.slow),
]
LEARNERS = ["onepass", "array", *OTHERS]
ROWS, BATCH = 203, 32  # the last batch holds 11


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    whole = load_digits()
    return Dataset(
        whole.x_train[:ROWS], whole.y_train[:ROWS], whole.x_test, whole.y_test, 10, "digits"
    )


def pair(data):
    return data.x_train, data.y_train


def test_workload_says_what_it_is(digits):
    epoch = training.Epoch(digits, BATCH)
    assert (epoch.section, epoch.operation, epoch.label) == (
        "training",
        "epoch",
        "digits, batch 32",
    )
    assert (epoch.size, epoch.bytes, epoch.dtype, epoch.device) == (ROWS, 0, "float32", "cpu")
    assert epoch.paths == (
        "onepass", "array", "jax step", "jax scan", "torch fused", "torch compile",
        "sklearn without batch norm", "product",
    )  # fmt: skip
    assert "torch compile" not in training.Epoch(digits, BATCH, compiled=False).paths


@pytest.fixture
def can_compile(request):
    """Skips with the reason where torch.compile is asked for and can't."""
    path = request.node.callspec.params.get("path")
    if path == "torch compile" and (reason := training.why_no_training(path)):
        pytest.skip(reason)


@pytest.mark.usefixtures("can_compile")
@pytest.mark.parametrize("path", LEARNERS)
def test_paths_learn_the_same(digits, path):
    reference, other = trainer("array", digits, BATCH), trainer(path, digits, BATCH)
    expected, found = (made.train(pair(digits), epochs=3) for made in (reference, other))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-3)
    np.testing.assert_allclose(found.accuracy, expected.accuracy, atol=0.02)
    for name, weight in reference.weights().items():
        np.testing.assert_allclose(other.weights()[name], weight, atol=5e-3, err_msg=name)


@pytest.mark.usefixtures("can_compile")
@pytest.mark.parametrize("path", LEARNERS)
def test_prepare_accepts_what_agrees_and_times_from_the_start(digits, path):
    candidates = training.Epoch(digits, BATCH).prepare([path, "product"])
    assert list(candidates) == [path, "product"]
    for candidate in candidates.values():
        candidate.call()


def test_prepare_refuses_another_network(digits, monkeypatch):
    changed = trainer("onepass", digits, BATCH)
    changed.optimizer.lr = 2e-3
    build = {"onepass": changed, "array": trainer("array", digits, BATCH)}
    monkeypatch.setattr(training, "trainer", lambda path, *rest: build[path])
    with pytest.raises(AssertionError, match="onepass"):
        training.Epoch(digits, BATCH).prepare(["onepass"])


@pytest.mark.usefixtures("can_compile")
@pytest.mark.parametrize("path", LEARNERS)
def test_reset_restores_bit_for_bit(digits, path):
    made = trainer(path, digits, BATCH)
    start = made.weights()
    first = made.train(pair(digits), epochs=2)
    ends = [made.weights()]
    made.reset()
    for name, weight in made.weights().items():
        np.testing.assert_array_equal(weight, start[name])
    second = made.train(pair(digits), epochs=2)
    ends.append(made.weights())
    assert first.loss == second.loss
    for name in start:
        np.testing.assert_array_equal(ends[0][name], ends[1][name], err_msg=name)


def spoiled(made):
    """A trainer that is two of 360 samples worse than it is."""
    train = made.train

    def wrong(*given, **options):
        history = train(*given, **options)
        if history.val_accuracy:
            history.val_accuracy[-1] -= 0.0057
        return history

    made.train = wrong
    return made


def test_prepare_refuses_what_has_learned_less(digits, monkeypatch):
    build = {path: trainer(path, digits, BATCH) for path in ("onepass", "array")}
    spoiled(build["onepass"])
    monkeypatch.setattr(training, "trainer", lambda path, *rest: build[path])
    with pytest.raises(AssertionError, match="accuracy by 'onepass'"):
        training.Epoch(digits, BATCH).prepare(["onepass"])


def test_another_network_must_have_learned_something_and_no_more_is_asked(digits):
    path = "sklearn without batch norm"
    candidates = training.Epoch(digits, BATCH).prepare([path])
    candidates[path].call()
    reference = partial(trainer, "array", digits, BATCH)
    with pytest.raises(AssertionError, match="batch norm' learns nothing"):
        assert_accurate(digits, BATCH, {path: Ignorant(10, BATCH)}, reference)


class Ignorant(Sklearn):
    def train(self, data, epochs=1, validation=None):
        history = super().train(data, epochs, validation)
        history.loss[-1] = history.loss[0]
        return history


def test_what_is_missing_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(jax_steps, "find_spec", lambda name: None)
    monkeypatch.setattr(trainers, "find_spec", lambda name: None)
    monkeypatch.setattr(torch_compile, "find_spec", lambda name: None)
    for path, extra in (
        ("jax scan", "peers"),
        ("torch compile", "peers"),
        ("sklearn without batch norm", "sklearn"),
    ):
        assert f'pip install "onepass[{extra}]"' in training.why_no_training(path)


def test_torch_compile_says_that_it_has_no_compiler(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert "needs a C++ compiler, and there is no /no/such" in torch_compile.why_no_compile()
    assert "CPU alone" in torch_compile.why_no_compile("cuda:0")


def test_array_path_compiles_nothing(digits, monkeypatch):
    from onepass.kernels.rule_engines import numba_cpu

    def refuse(*args, **kwargs):
        raise AssertionError("the engine numba was asked")

    made = trainer("array", digits, BATCH)
    monkeypatch.setattr(numba_cpu.NumbaEngine, "run", refuse)
    monkeypatch.setattr(numba_cpu.NumbaEngine, "quick", refuse)
    made.train(pair(digits))
    assert made.optimizer.engine == "array"


@pytest.mark.parametrize("samples", [ROWS, 20, 64])
def test_floor_multiplies_what_training_multiplies(monkeypatch, samples):
    floor = products.epoch_products(samples, 64, 10, BATCH)
    flops = 0
    multiply = np.matmul

    def counting(a, b, out):
        nonlocal flops
        flops += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        assert out.shape == (a.shape[0], b.shape[1])
        return multiply(a, b, out=out)

    monkeypatch.setattr(np, "matmul", counting)
    floor()
    layers = 64 * 256, 256 * 128, 128 * 10
    assert flops == 2 * samples * (3 * sum(layers) - layers[0])


def test_floor_fits_the_network(digits):
    net = Onepass(64, 10, BATCH).net
    widths = [layer.shapes()["weight"] for layer in net.layers if isinstance(layer, Dense)]
    assert widths == [(64, 256), (256, 128), (128, 10)]


@pytest.mark.usefixtures("can_compile")
@pytest.mark.parametrize("path", LEARNERS)
def test_curves(digits, path):
    curve = training.train_curves(digits, path, epochs=3, batch=BATCH)
    assert (curve.data, curve.path, curve.batch) == ("digits", path, BATCH)
    for values in (curve.loss, curve.accuracy, curve.test_accuracy, curve.seconds):
        assert len(values) == 3
        assert all(isinstance(value, float) for value in values)
    assert curve.loss[2] < curve.loss[0]
    assert curve.test_accuracy[2] > 0.5


def test_unknown_path(digits):
    with pytest.raises(ValueError, match="path is 'numba'; expected 'onepass'"):
        trainer("numba", digits, BATCH)
