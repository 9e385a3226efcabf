"""What torch.compile makes of Adam's step, and why it can't where it can't."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

from ...backend import Array
from ..measuring.candidate import Candidate
from ..measuring.why_missing import EXTRA
from .torch_steps import tensor_of
from .undisturbed import undisturbed

_COMPILERS = ("g++", "clang++", "c++")


def why_no_compiled_step(rule: str, device: str, dtype: str) -> str:
    """Why a compiled step of `rule` is not measured on such arrays; "" if it is."""
    if rule != "adam":
        return "torch.compile is measured for Adam alone"
    if dtype != "float32":
        return "torch.compile corrects Adam's bias in float32"
    return why_no_compile(device)


def why_no_compile(device: str = "cpu") -> str:
    """Why torch.compile can't be measured on `device`; "" if it can.

    The first question on a machine with all it needs compiles one line, which takes seconds.
    """
    if find_spec("torch") is None:
        return f"torch is missing. Remedy: {EXTRA}"
    if device != "cpu":
        return "torch.compile is measured on the CPU alone"
    wanted = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    if not any(map(shutil.which, wanted)):
        return f"torch.compile needs a C++ compiler, and there is no {' or '.join(wanted)}"
    return _why_not_a_line()


@cache
def _why_not_a_line() -> str:
    """What torch.compile says to `x + 1`; "" if it makes it."""
    import torch

    try:
        with undisturbed():
            torch.compile(lambda x: x + 1)(torch.ones(4))
    except Exception as error:  # whatever a compiler or a platform raises, the path is skipped
        said = " ".join(str(error).split())[:200]
        return f"torch.compile can't compile here: {type(error).__name__}: {said}"
    return ""


def forget_compiled() -> None:
    """Let PyTorch drop all it compiled: beyond a few versions of a function it compiles no more."""
    import torch

    torch._dynamo.reset()


def compiled_adam_step(arrays: tuple[Array, ...], options: Mapping[str, Any]) -> Candidate:
    """Adam's step, compiled, on `arrays` (param, grad, m, v), as `torch_step` makes others.

    What was made before is compiled anew when it is called again.
    """
    import torch

    param, grad, m, v = map(tensor_of, arrays)
    parameter = torch.nn.Parameter(param)
    parameter.grad = grad
    optimizer = torch.optim.Adam([parameter], lr=options["lr"])
    count = torch.tensor(float(options["step"] - 1))
    optimizer.state[parameter].update(step=count, exp_avg=m, exp_avg_sq=v)
    reset = partial(count.fill_, float(options["step"] - 1))
    forget_compiled()
    step = torch.compile(optimizer.step, dynamic=False)
    first = [array.copy() for array in arrays]
    with undisturbed():
        step()
    for array, values in zip(arrays, first, strict=True):
        array[...] = values
    reset()
    return Candidate(step, reset)
