"""Steps on PyTorch's tensors of a GPU lie between PyTorch's own work, whatever its stream is.

There is no PyTorch for GPUs here: one is made up, of CuPy's arrays, and CuPy is watched.
"""

from __future__ import annotations

import pickle
import sys
from types import ModuleType, SimpleNamespace

import pytest
from onepass import kernels
from onepass.backend.beside_torch import BesideTorch, beside_torch
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.nets import SGD

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.parametrize("engine", [("cupy", "cuda")], indirect=True, ids="-".join),
]


class Tensor:
    """As PyTorch's, of which DLPack's way in orders nothing."""

    is_cuda = True

    def __init__(self, array):
        self.array, self.dtype, self.shape = array, array.dtype, array.shape

    def detach(self):
        return self

    def get_device(self):
        return self.array.device.id

    def __dlpack__(self, stream=None, **options):
        return self.array.__dlpack__(stream=-1)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.fixture
def cupy(engine):
    return pytest.importorskip("cupy")


@pytest.fixture
def stream(cupy, monkeypatch):
    """PyTorch's current one."""
    stream = cupy.cuda.Stream(non_blocking=True)
    torch = ModuleType("torch")
    torch.Tensor = Tensor
    current = SimpleNamespace(cuda_stream=stream.ptr)
    torch.cuda = SimpleNamespace(current_stream=lambda device: current)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return SimpleNamespace(ptr=stream.ptr, current=current, kept=stream)


@pytest.fixture
def seen(cupy, stream, monkeypatch):
    """Events that streams record, waits for them, and launches, in order."""
    found, streams = [], cupy.cuda.stream._BaseStream
    record, wait = streams.record, streams.wait_event

    def recorded(self, *given):
        event = record(self, *given)
        found.append(("record", self.ptr, event.ptr))
        return event

    def waited(self, event):
        found.append(("wait", self.ptr, event.ptr))
        return wait(self, event)

    monkeypatch.setattr(streams, "record", recorded)
    monkeypatch.setattr(streams, "wait_event", waited)
    at = cupy.cuda.get_current_stream
    monkeypatch.setattr(
        cuda_launch, "observers", [lambda *given: found.append(("launch", at().ptr))]
    )
    return found


def assert_between(seen, theirs, ours):
    """One launch on our stream, which has waited for theirs, and which theirs waits for."""
    (record, wait, launch, after, last) = seen
    assert record[:2] == ("record", theirs)
    assert wait == ("wait", ours, record[2])
    assert launch == ("launch", ours)
    assert after[:2] == ("record", ours)
    assert last == ("wait", theirs, after[2])


def tensors(cupy, count=2):
    return [Tensor(cupy.full(5, value, "float32")) for value in (1.0, 0.5, 0.25, 0.125)[:count]]


@pytest.mark.parametrize("own", [False, True])
def test_a_step_lies_between_what_pytorch_was_asked_for_and_what_it_will_be(
    cupy, stream, seen, own
):
    ours = cupy.cuda.Stream(non_blocking=True) if own else cupy.cuda.Stream.null
    param, grad = tensors(cupy)
    with ours:
        kernels.sgd_step(param, grad, lr=0.5)
    assert_between(seen, stream.ptr, ours.ptr)
    assert param.array.tolist() == [0.75] * 5


def test_so_does_a_step_of_an_optimizer(cupy, stream, seen):
    one, other, *grads = tensors(cupy, 4)
    optimizer = SGD([one, other], lr=0.5)
    optimizer.step(grads)  # which makes a table of them: that is an event, too
    assert one.array.tolist() == [0.875] * 5
    seen.clear()
    optimizer.step(grads)
    assert_between(seen, stream.ptr, 0)


def test_after_an_error_pytorch_s_stream_waits_all_the_same(cupy, stream, seen):
    param, grad = tensors(cupy)
    with pytest.raises(ValueError, match="grad has shape"):
        kernels.sgd_step(param, Tensor(grad.array[:3]), lr=0.5)
    assert [each[:2] for each in seen] == [
        ("record", stream.ptr), ("wait", 0), ("record", 0), ("wait", stream.ptr)
    ]  # fmt: skip


def test_one_stream_waits_for_nothing(cupy, stream, seen):
    stream.current.cuda_stream = 0
    kernels.sgd_step(*tensors(cupy), lr=0.5)
    assert seen == [("launch", 0)]
    seen.clear()
    with stream.kept:
        stream.current.cuda_stream = stream.ptr
        kernels.sgd_step(*tensors(cupy), lr=0.5)
    assert seen == [("launch", stream.ptr)]


def test_it_is_for_tensors_on_a_gpu_alone(cupy, stream):
    (tensor,) = tensors(cupy, 1)
    assert beside_torch([cupy.zeros(3), tensor]) is not None
    tensor.is_cuda = False
    assert beside_torch([cupy.zeros(3), tensor]) is None
    assert type(pickle.loads(pickle.dumps(BesideTorch(1)))) is BesideTorch
