"""What is timed on a GPU waits for it: on a made-up one, whose arrays are NumPy's."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from onepass import get_backend
from onepass.backend.numpy_backend import NumpyBackend
from onepass.bench import command as run
from onepass.bench.cases import steps as cases
from onepass.bench.cases.batch_norm import NormCase
from onepass.bench.cases.steps import CASES
from onepass.bench.limits import steps as limits
from onepass.bench.measuring import workload
from onepass.bench.measuring.despite_failures import measure_what_works
from onepass.bench.measuring.synchronized import waited
from onepass.bench.measuring.timing import Effort
from onepass.bench.peers import torch_steps as torch_peers
from onepass.bench.workloads.kernels import batch_norm as norms
from onepass.bench.workloads.kernels import steps, tensors
from onepass.bench.workloads.kernels.batch_norm import OPERATIONS, Norm
from onepass.bench.workloads.kernels.steps import Step
from onepass.bench.workloads.kernels.tensors import Tensors

TORCH = [] if find_spec("torch") is None else list(torch_peers.TORCH_PATHS)


class MadeUpGpu(NumpyBackend):
    """The CPU under the name of a GPU; it counts how often somebody waited for it."""

    device = "cuda:0"

    def __init__(self):
        self.waits = 0

    def synchronize(self):
        self.waits += 1


@pytest.fixture
def gpu(monkeypatch):
    made = MadeUpGpu()

    def backend(device):
        return made if device == "cuda:0" else get_backend(device)

    for module in (norms, steps, tensors):
        monkeypatch.setattr(module, "get_backend", backend)
    monkeypatch.setattr(torch_peers, "backend_of", lambda *arrays: made)
    return made


def waits_of(gpu, candidate):
    """How often one call waits."""
    before = gpu.waits
    candidate.call()
    return gpu.waits - before


# --- every path waits -----------------------------------------------------------------------------
def test_a_call_on_the_cpu_stays_as_it_is_and_one_on_a_gpu_waits_after_its_work(gpu):
    log = []
    assert waited(log.append, get_backend("cpu")) == log.append
    gpu.synchronize = lambda: log.append("waited")
    assert waited(lambda: log.append("worked") or "result", gpu)() == "result"
    assert log == ["worked", "waited"]


@pytest.mark.parametrize("rule", ["sgd", "nesterov", "adam"])
def test_every_path_of_a_step_waits_once_a_call(gpu, rule):
    paths = ["array", "tuned", "limit"]
    made = Step(CASES[rule], "1e3", 1000, "float32", "cuda:0").prepare(paths)
    if TORCH:
        arrays = CASES[rule].arrays(1000, "float32", gpu)
        made |= {path: torch_peers.torch_step(path, rule, arrays, {"lr": 0.1}) for path in TORCH}
    assert {path: waits_of(gpu, one) for path, one in made.items()} == dict.fromkeys(made, 1)


@pytest.mark.skipif(not TORCH, reason="torch is missing")
def test_what_comes_before_a_timed_call_has_ended_when_it_begins(gpu):
    arrays = CASES["nesterov"].arrays(100, "float32", gpu)
    made = torch_peers.torch_step("torch foreach", "nesterov", arrays, {"lr": 0.1})
    before = gpu.waits
    made.before()
    assert gpu.waits == before + 1


@pytest.mark.parametrize("what", OPERATIONS)
def test_every_path_of_batch_norm_waits_once_a_call(gpu, what):
    paths = ["array", "tuned", "limit", *(["torch"] if TORCH else [])]
    made = Norm(NormCase((6, 5, 4, 3)), what, device="cuda:0").prepare(paths)
    assert {path: waits_of(gpu, one) for path, one in made.items()} == dict.fromkeys(paths, 1)


def test_every_path_of_many_tensors_waits_once_a_call(gpu):
    work = Tensors(5, 7, "cuda:0")
    paths = ["array", "separate", "limit", *TORCH]
    made = work.prepare(paths)
    assert {path: waits_of(gpu, one) for path, one in made.items()} == dict.fromkeys(paths, 1)


def test_the_limit_copies_half_of_the_bytes_to_the_other_half(gpu):
    copied = []
    gpu.xp = type("Module", (), {"zeros": np.zeros, "copyto": lambda *two: copied.append(two)})
    arrays = CASES["adam"].arrays(100, "float32", get_backend("cpu"))
    limits.limit(arrays, gpu)()
    ((target, source),) = copied
    assert target.nbytes == source.nbytes == 28 * 100 // 2
    assert not np.shares_memory(target, source)


def test_no_rest_between_blocks_where_no_thread_spins(gpu, monkeypatch):
    pauses = []
    monkeypatch.setattr(workload, "interleaved", lambda *of, pause, **how: pauses.append(pause))
    for device in ("cpu", "cuda:0"):
        with pytest.raises(TypeError):  # nothing was timed
            workload.measure(
                Step(CASES["sgd"], "", 10, "float32", device), ["array"], Effort(1, 0.0, 1)
            )
    assert pauses == [0.01, 0.0]


# --- arrays ---------------------------------------------------------------------------------------
def test_long_arrays_repeat_what_was_drawn(monkeypatch):
    cpu = get_backend("cpu")
    whole = CASES["adam"].arrays(10, "float64", cpu)
    monkeypatch.setattr(cases, "DRAWN", 10)
    for size in (10, 20, 25):
        arrays = CASES["adam"].arrays(size, "float64", cpu)
        for array, drawn in zip(arrays, whole, strict=True):
            np.testing.assert_array_equal(array, np.resize(drawn, size))
            assert array.flags.owndata
            assert array.flags.c_contiguous


# --- PyTorch's options that are not for every device ----------------------------------------------
@pytest.mark.skipif(not TORCH, reason="torch is missing")
def test_a_step_that_pytorch_refuses_on_a_gpu_is_left_out_with_its_words(monkeypatch):
    import torch

    class Refusing(torch.optim.Adagrad):
        def step(self, closure=None):
            raise RuntimeError("`fused=True` requires ['mps', 'cpu'] but float32 and cuda\nmore")

    assert torch_peers._why_no_step.__wrapped__("torch fused", "adam", "cpu") == ""
    assert torch_peers._why_no_step.__wrapped__("torch foreach", "momentum", "cpu") == ""
    monkeypatch.setattr(torch.optim, "Adagrad", Refusing)
    reason = torch_peers._why_no_step.__wrapped__("torch fused", "adagrad", "cpu")
    assert reason == (
        f"PyTorch {torch.__version__}: `fused=True` requires ['mps', 'cpu'] but float32 and cuda"
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch_peers, "_why_no_step", lambda path, rule: f"no {rule} by {path}")
    told = torch_peers.why_no_torch("torch fused", "adagrad", "cuda:0")
    assert told == "no adagrad by torch fused"
    assert torch_peers.why_no_torch("torch fused", "adagrad", "cpu") == ""


# --- going on -------------------------------------------------------------------------------------
class Failing(Step):
    """A step whose paths in `bad` raise."""

    def __init__(self, bad=()):
        super().__init__(CASES["sgd"], "1e2", 100, "float32")
        self.bad = bad

    def prepare(self, paths):
        wanted = list(paths)
        for path in wanted:
            if path in self.bad:
                raise RuntimeError(f"{path} went\n wrong")
        return super().prepare(wanted)


def measured(work, paths):
    failures = []
    found = measure_what_works(work, paths, Effort(1, 0.0, 1), failures)
    return [one.path for one in found], failures


def test_a_path_that_fails_is_told_and_the_others_are_measured():
    paths = ["array", "tuned", "numba"]
    assert measured(Failing(), paths) == (paths, [])
    assert measured(Failing(bad=["tuned"]), paths) == (
        ["array", "numba"],
        ["steps sgd-1e2-float32-cpu by tuned: RuntimeError: tuned went wrong"],
    )
    assert measured(Failing(bad=paths), paths) == (
        [],
        [f"steps sgd-1e2-float32-cpu by {path}: RuntimeError: array went wrong" for path in paths],
    )


def test_paths_that_fail_only_together_are_told_once():
    paths = ["array", "tuned", "numba"]
    work = Failing()
    work.prepare = lambda wanted: _too_many(work, list(wanted))
    assert measured(work, paths) == ([], ["steps sgd-1e2-float32-cpu: MemoryError: too many"])


def _too_many(work, wanted):
    if len(wanted) > 2:
        raise MemoryError("too many")
    return Failing.prepare(work, wanted)


def test_without_a_list_for_failures_the_first_one_ends_the_run(monkeypatch):
    monkeypatch.setattr(run, "workloads", lambda *choice: [Failing(bad=["tuned"])])
    with pytest.raises(RuntimeError, match="tuned went"):
        run.bench("small", "cpu", only=["steps"])


def test_what_is_not_begun_in_time_is_told(monkeypatch):
    monkeypatch.setattr(run, "workloads", lambda *choice: [Failing()])
    report = run.bench("small", "cpu", only=["steps"], seconds=0.0)
    assert report.measurements == []
    (one,) = report.skipped
    assert (one.path, one.reason) == ("sgd-1e2-float32-cpu", "not begun: 0 s were over")
