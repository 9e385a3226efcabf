"""Every launch on a GPU goes through the doors of cuda_launch.py, and the account hears of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import onepass
import pytest
from onepass.kernels.compiling.gpu import cuda_launch

from proving import account as proof
from proving.host import device as host_device
from proving.host import elementwise as hostcuda

KERNELS = Path(onepass.__file__).parent / "kernels"
DOORS = KERNELS / "compiling" / "gpu" / "cuda_launch.py"
PAST_THEM = re.compile(r"cupy\.(Raw|Elementwise|Reduction)(Kernel|Module)|cuda\.jit\((?!.*device=)")


def test_no_other_module_makes_a_kernel():
    found = {
        path.relative_to(KERNELS).as_posix(): len(PAST_THEM.findall(text))
        for path in KERNELS.rglob("*.py")
        if PAST_THEM.search(text := path.read_text(encoding="utf-8"))
    }
    trial = "rule_engines/numba_cuda.py"  # which tells whether there is an engine at all
    assert found == {DOORS.relative_to(KERNELS).as_posix(): 3, trial: 1}


@pytest.mark.hostcuda
@pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)
def test_a_launch_is_noted_under_its_engine_kernel_and_dtype(monkeypatch):
    noted = []
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    monkeypatch.setattr(cuda_launch, "observers", [])
    proof.watch()
    (watching,) = cuda_launch.observers
    device = host_device.Device()
    arrays = [device.asarray(np.ones(3, "float16")) for _ in range(2)]
    with device.running():  # whose own launches the account is not told of
        onepass.kernels.sgd_step(*arrays, lr=0.5, engine="cupy")
        assert noted == []
        cuda_launch.observers.append(watching)
        onepass.kernels.sgd_step(*arrays, lr=0.5, engine="cupy")
    assert noted == [(proof.GPU, "cupy", "sgd", "float16")]
    assert device.launched == [("sgd", "float16")] * 2


def test_a_kernel_is_compiled_once_for_each_device(monkeypatch):
    """CuPy's `compile` forgets what it has of every device."""
    made, current = mock.Mock(), mock.Mock(return_value=0)
    runtime = SimpleNamespace(getDevice=current)
    cupy = SimpleNamespace(RawKernel=made, cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    kernel = cuda_launch.RawKernel("planted", "float32", "")
    made.return_value.compile.side_effect = [RuntimeError, None, None]
    with pytest.raises(RuntimeError):
        kernel.compile()
    for device in (0, 0, 1, 0, 1):
        current.return_value = device
        kernel.compile()
    assert made.return_value.compile.call_count == 3
