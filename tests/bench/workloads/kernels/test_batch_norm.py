"""Batch normalization as it is timed: every path computes it, or is noticed not to."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from onepass import get_backend
from onepass.bench.cases.batch_norm import NormCase
from onepass.bench.expressions.numpy_batch_norm import Idiomatic, Tuned, numpy_norm
from onepass.bench.workloads.kernels import batch_norm as norms
from onepass.bench.workloads.kernels.batch_norm import OPERATIONS, Norm
from onepass.kernels.batch_norm.contract import Saved
from oracles import batch_norm as oracles
from tolerances import assert_close

CPU = get_backend("cpu")
CASES = [
    NormCase((6, 5, 4, 3)),
    NormCase((6, 4, 3, 5), -1),
    NormCase((11, 5)),
    NormCase((11, 5), -1),
    NormCase((6, 5, 4, 3), residual=True),
    NormCase((6, 4, 3, 5), -1, True),
]
PATHS = [
    "array",
    "tuned",
    "numba",
    pytest.param(
        "torch", marks=pytest.mark.skipif(find_spec("torch") is None, reason="torch is missing")
    ),
]
EPS = 32.0  # of the terms that a result is added up from
KINDS = {"array": Idiomatic, "tuned": Tuned}


@pytest.fixture(params=CASES, ids=lambda case: case.name + " residual" * case.residual)
def case(request):
    return request.param


def expected(case, what, arrays, activation):
    """What the oracle gives for an operation, and the sizes of the terms it is added up from."""
    options = {"channel_axis": case.axis % len(case.shape), "activation": activation}
    x, dy, gamma, beta, mean, var, *beside = (np.float64(array) for array in arrays.values())
    if beside:
        options["residual"] = beside[0]
    terms = oracles.terms(x, dy, gamma, beta, **options)
    if what == "inference":
        shape = [1] * x.ndim
        shape[case.axis] = -1
        scale = (np.abs(gamma) / np.sqrt(var)).reshape(shape)
        sizes = scale * (np.abs(x) + np.abs(mean).reshape(shape)) + np.abs(beta).reshape(shape)
        sizes = sizes + sum(map(np.abs, beside))
        return [(oracles.inference(x, gamma, beta, mean, var, **options), sizes)]
    batch = oracles.forward(x, gamma, beta, **options)
    forward = [(batch.y, terms.y)]
    found = oracles.backward(dy, x, gamma, beta, **options)
    sizes = terms.dx, terms.dgamma, terms.dbeta
    backward = list(zip(found, sizes, strict=True))
    if beside:
        backward.append((oracles.residual_gradient(dy, batch.z, activation), np.abs(dy)))
    return {"forward": forward, "backward": backward, "forward+backward": forward + backward}[what]


def arrays_of(result, path, case):
    """The arrays of a result, laid out as ours."""
    if isinstance(result, tuple) and isinstance(result[-1], Saved):
        result = result[0]
    found = [np.asarray(array) for array in (result if isinstance(result, tuple) else (result,))]
    if path == "torch" and case.axis == -1:
        found = [np.moveaxis(array, 1, -1) if array.ndim == 4 else array for array in found]
    return found


# --- numbers --------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", OPERATIONS)
@pytest.mark.parametrize("path", PATHS)
def test_every_path_follows_the_oracle(case, path, what, dtype, activation):
    work = Norm(case, what, dtype, activation=activation)
    call = work.prepare([path])[path].call
    wanted = expected(case, what, case.arrays(dtype, CPU), activation)
    for _ in range(2):  # what is timed is called again and again
        found = arrays_of(call(), path, case)
        for k, (mine, (right, size)) in enumerate(zip(found, wanted, strict=True)):
            assert_close(mine, right, dtype, scale=size, limit=EPS, what=f"{what}[{k}] by {path}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("what", ["forward", "forward+backward"])
@pytest.mark.parametrize("path", KINDS)
def test_training_moves_the_running_statistics(case, path, what, dtype):
    arrays = case.arrays(dtype, CPU)
    batch = oracles.forward(arrays["x"], channel_axis=case.axis % len(case.shape))
    right = oracles.running_statistics(
        arrays["running_mean"], arrays["running_var"], batch, case.size // 5
    )
    numpy_norm(KINDS[path](arrays, case.axis, False, np), what)()
    for name, wanted in zip(("running_mean", "running_var"), right, strict=True):
        assert_close(arrays[name], wanted, dtype, scale=10.0, limit=EPS, what=name)


@pytest.mark.parametrize("what", OPERATIONS)
@pytest.mark.parametrize("path", KINDS)
def test_inputs_stay_as_they_were(case, path, what):
    arrays = case.arrays("float32", CPU)
    call = numpy_norm(KINDS[path](arrays, case.axis, True, np), what)
    call()
    kept = ["x", "dy", "gamma", "beta"]
    if what == "inference":
        kept += ["running_mean", "running_var"]
    for name in kept:
        np.testing.assert_array_equal(arrays[name], case.arrays("float32", CPU)[name])


def test_paths_of_one_workload_have_running_statistics_of_their_own(case):
    work = Norm(case, "inference")
    arrays = case.arrays("float32", CPU)
    wanted = work._call("numba", arrays, CPU)()
    for path in ("array", "tuned"):
        Norm(case, "forward")._call(path, arrays, CPU)()
    np.testing.assert_array_equal(work._call("numba", arrays, CPU)(), wanted)


# --- what is noticed ------------------------------------------------------------------------------
def test_running_statistics_tell_a_path_that_ignores_them(case):
    arrays = case.arrays("float32", CPU)
    assert np.abs(arrays["running_mean"]).min() > 1e-2
    assert np.abs(arrays["running_var"] - 1).min() > 1e-2


def off(run, part):
    """`run`, but part `part` of its result is 1 % larger."""

    def wrong(made):
        result = run(made)
        parts = list(result) if isinstance(result, tuple) else [result]
        parts[part] = parts[part] * 1.01
        return tuple(parts) if isinstance(result, tuple) else parts[0]

    return wrong


@pytest.mark.parametrize(
    ("what", "method", "part"),
    [
        ("forward", "forward", 0),
        ("inference", "inference", 0),
        *(("backward", "backward", part) for part in range(3)),
        ("forward+backward", "forward", 0),
        *(("forward+backward", "backward", part) for part in range(3)),
    ],
)
@pytest.mark.parametrize("path", KINDS)
def test_prepare_refuses_a_result_that_is_off(case, monkeypatch, path, what, method, part):
    kind = KINDS[path]
    monkeypatch.setattr(kind, method, off(getattr(kind, method), part))
    with pytest.raises(AssertionError, match=f"by {path}"):
        Norm(case, what).prepare([path])


@pytest.mark.parametrize("path", KINDS)
def test_prepare_refuses_a_path_that_forgets_the_relu(case, monkeypatch, path):
    build = KINDS[path].__init__

    def without_relu(made, arrays, axis, relu, xp):
        build(made, arrays, axis, False, xp)

    monkeypatch.setattr(KINDS[path], "__init__", without_relu)
    for what in OPERATIONS:
        Norm(case, what).prepare([path])
        with pytest.raises(AssertionError, match=f"by {path}"):
            Norm(case, what, activation="relu").prepare([path])


@pytest.mark.parametrize("path", ["numba", "torch"])
def test_prepare_refuses_other_statistics(case, monkeypatch, path):
    """As of a path that normalizes along another axis."""
    if path == "torch":
        pytest.importorskip("torch")
    call = Norm._call

    def wrong(work, asked, arrays, backend):
        made = {**arrays, "x": arrays["x"][::-1].copy()} if asked == path else arrays
        return call(work, asked, made, backend)

    monkeypatch.setattr(Norm, "_call", wrong)
    with pytest.raises(AssertionError, match=f"by {path}"):
        Norm(case, "forward").prepare(["array", path])


# --- costs and reasons ----------------------------------------------------------------------------
def test_bytes_are_those_counted_by_hand():
    size = 6 * 5 * 4 * 3
    read_and_written = {"forward": 3, "backward": 5, "forward+backward": 8, "inference": 2}
    assert set(read_and_written) == set(OPERATIONS)
    for what, values in read_and_written.items():
        assert Norm(CASES[0], what).bytes == 4 * values * size
        assert Norm(CASES[0], what, "float64").bytes == 8 * values * size
    more = {"forward": 4, "backward": 7, "forward+backward": 11, "inference": 3}
    for what, values in more.items():
        assert Norm(CASES[4], what, activation="relu").bytes == 4 * values * size


@pytest.mark.parametrize("what", OPERATIONS)
def test_a_residual_apart_is_the_same(what):
    for case in CASES[4:]:
        work = Norm(case, what, activation="relu")
        assert work.operation == f"{what} residual relu"
        assert norms.APART in work.paths
        assert {*work.prepare([norms.APART, "limit"])} == {norms.APART, "limit"}
    assert norms.APART not in Norm(CASES[0], what, activation="relu").paths


def test_tuned_expressions_take_less_memory_and_traffic_than_idiomatic_ones():
    case = NormCase((32, 8, 16, 16))
    for what in ("forward", "forward+backward", "inference"):
        made = Norm(case, what).prepare(["array", "tuned", "numba"])
        assert made["tuned"].memory < made["array"].memory
        assert made["tuned"].moved <= made["array"].moved
        assert made["array"].moved > Norm(case, what).bytes
    whole = 4 * case.size
    inference = Norm(case, "inference").prepare(["array", "tuned", "numba"])
    assert inference["array"].memory >= 2 * whole  # a product beside the sum that it goes into
    assert inference["tuned"].memory < whole / 4  # NumPy's buffers
    assert whole <= inference["numba"].memory < 1.1 * whole  # y alone


def test_passes_of_tuned_inference_are_those_counted_by_hand():
    """x * scale, + shift, max: each reads x or y and writes y; vectors are next to nothing."""
    case = NormCase((64, 8, 16, 16))
    for activation, passes in ((None, 2), ("relu", 3)):
        made = Norm(case, "inference", activation=activation).prepare(["tuned"])["tuned"]
        large = passes * 2 * 4 * case.size
        assert large <= made.moved < 1.05 * large


def test_there_is_no_float64_limit_on_the_cpu():
    assert "limit" in Norm(CASES[0], "forward").paths
    assert "limit" not in Norm(CASES[0], "forward", "float64").paths
    assert "limit" in Norm(CASES[0], "forward", "float64", "cuda").paths


def test_a_pytorch_without_a_gpu_is_the_reason_on_a_gpu(monkeypatch):
    torch = pytest.importorskip("torch")
    from onepass.bench.measuring import why_missing as missing

    monkeypatch.setattr(missing, "_why_no_gpu", lambda: "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no usable GPU" in Norm(CASES[0], "forward", device="cuda").missing("torch")
    assert Norm(CASES[0], "forward").missing("torch") == ""


def test_results_leave_out_what_a_backward_needs():
    arrays = CASES[2].arrays("float32", CPU)
    call = CASES[2].calls(arrays, "numba")["forward"]
    assert isinstance(call()[-1], Saved)
    (y,) = norms._results(call(), CPU)
    assert y.shape == (11, 5)
