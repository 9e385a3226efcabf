"""Adam with states in 8 bits by bitsandbytes and torchao, on PyTorch tensors of the CPU.

bitsandbytes has a kernel of its own in C++; torchao compiles PyTorch expressions by torch.compile.
Both keep a table of 256 values and a scale for each block of 256, and round to the nearest.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ...backend import Array
from ..measuring.candidate import Candidate
from .torch_steps import tensor_of
from .undisturbed import undisturbed

PACKAGES = {"bitsandbytes": "bitsandbytes", "torchao": "torchao"}
"""Path -> the package that it is by."""


def why_no_eight_bit(path: str, device: str) -> str:
    """Why it can't run; "" if it can."""
    if device != "cpu":
        return "only 8-bit steps for the CPU are compared"
    missing = [name for name in ("torch", PACKAGES[path]) if find_spec(name) is None]
    if missing:
        return f'{missing[0]} is missing. Remedy: pip install "onepass[peers]"'
    try:
        with undisturbed():
            _optimizer_class(path)
    except Exception as error:  # whatever a release that does not fit this PyTorch raises
        return f"{path} can't be imported ({type(error).__name__}: {error})"
    return ""


def _optimizer_class(path: str) -> Any:
    package = import_module(f"{PACKAGES[path]}.optim")
    return package.Adam8bit


def eight_bit_step(path: str, param: Array, grad: Array) -> Candidate:
    """Its step on these arrays; states begin as zeros."""
    import torch

    tensor = torch.nn.Parameter(tensor_of(param).reshape(-1, 256))
    tensor.grad = tensor_of(grad).reshape(-1, 256)
    with undisturbed():
        optimizer = _optimizer_class(path)([tensor], lr=1e-4)
    return Candidate(optimizer.step)
