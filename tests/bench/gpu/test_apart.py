"""The GPU's time and the host's apart: what is called, how often, and what is waited for."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from onepass import get_backend, kernels
from onepass.bench.gpu import cupy_clocks as clocks
from onepass.bench.gpu.apart import OnTheGpu, OnTheHost
from onepass.bench.gpu.launch import Launch
from onepass.bench.gpu.softmax import Softmax
from onepass.bench.gpu.training_step import TrainingStep
from onepass.bench.limits.steps import copy_limit
from onepass.bench.measuring.candidate import Candidate
from onepass.bench.measuring.synchronized import not_waited, waited
from onepass.bench.measuring.timing import Effort
from onepass.bench.measuring.workload import measure
from onepass.bench.workloads.kernels.dropout import Dropout

TORCH = ["torch"] if find_spec("torch") else []


class Waits:
    """A backend on a GPU, of which only the waits matter."""

    device, xp = "cuda:0", np

    def __init__(self):
        self.waits = 0

    def synchronize(self):
        self.waits += 1


def test_what_is_made_in_the_block_does_not_wait_and_what_is_made_after_it_does():
    gpu, call = Waits(), lambda: "result"
    with not_waited():
        assert waited(call, gpu) is call
        copy = copy_limit(64, gpu)
    copy()
    assert gpu.waits == 0
    assert waited(call, gpu)() == "result"
    copy_limit(64, gpu)()
    assert gpu.waits == 2


@pytest.mark.parametrize(("kind", "section"), [(OnTheGpu, "kernels"), (OnTheHost, "calls")])
def test_a_clock_tells_the_time_of_the_workloads_call(monkeypatch, kind, section):
    asked = []

    def clock(call):
        asked.append(call)
        return 0.25

    monkeypatch.setattr(kind, "clock", staticmethod(clock))
    work = Dropout((8, 4), "cpu")
    monkeypatch.setattr(work, "prepare", lambda paths: {path: Candidate(str) for path in paths})
    apart = kind(work, ("limit", "torch", "numba"))
    assert apart.paths == ("numba", "limit", "torch")
    assert (apart.section, apart.operation, apart.label) == (section, "dropout", "(8, 4)")
    (found,) = measure(apart, ["numba"], Effort(3, 1e-3, 5))
    assert (found.timing.median, found.timing.calls, found.section) == (0.25, 3, section)
    assert set(asked) == {str}
    assert found.bytes == work.bytes == 2 * 4 * 32


@pytest.mark.gpu
def test_on_a_gpu_both_clocks_tell_and_the_host_is_asked_before_the_gpu_begins(reference):
    """On a real one a call's own wait would end the head start that the GPU's clock gives."""
    if reference.device == "cpu":
        pytest.skip("of a GPU")
    calls = []
    launch = clocks.empty_launch()

    def call():
        calls.append(1)
        launch()

    assert clocks.gpu_seconds(call) > 0
    assert 4 <= len(calls) <= 51  # one to see how long it takes, then a turn
    assert clocks.host_seconds(call) > 0
    assert Launch("cuda").prepare(["limit"])["limit"].call() is None


# --- softmax --------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["array", "numba", "limit", *TORCH])
def test_softmax_has_a_call_for_each_path(path):
    work = Softmax((70, 5), "cpu")
    made = work.prepare([path])[path].call()
    if path != "limit":
        assert made.shape == (70, 5)
    assert (work.size, work.bytes) == (350, 2 * 4 * 350)


def test_a_softmax_that_is_off_is_refused(monkeypatch):
    right = kernels.softmax_cross_entropy

    def wrong(z, y, engine):
        loss, gradient = right(z, y, engine=engine)
        gradient[-1, -1] += 1e-2 * (engine == "numba")
        return loss, gradient

    monkeypatch.setattr(kernels, "softmax_cross_entropy", wrong)
    with pytest.raises(AssertionError, match=r"softmax-\(70,5\)-float32-cpu by numba"):
        Softmax((70, 5), "cpu").prepare(["numba"])


# --- a training step ------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_step_is_an_epochs_time_by_its_steps():
    work = TrainingStep(200, device="cpu")
    paths = ["onepass", *(["torch fused"] if TORCH else [])]
    for path, candidate in work.prepare(paths).items():
        assert candidate.told, path
        candidate.reset()
        assert candidate.call() > 0
    assert get_backend("cpu").device == work.device
