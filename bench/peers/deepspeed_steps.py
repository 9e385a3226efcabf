"""DeepSpeed's optimizers for the CPU on the very arrays that ours work on.

DeepSpeedCPUAdam puts eps beside the square root of the corrected second moment, and corrects both
moments, as ours does; with adamw_mode weight decay is decoupled. Its threads are its own OpenMP's:
torch.set_num_threads does not reach them, OMP_NUM_THREADS does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import numpy as np

from ...backend import Array
from ..measuring.candidate import Call, Candidate
from .deepspeed_build import load_deepspeed
from .torch_steps import tensor_of
from .undisturbed import undisturbed

_KERNELS = {"adam": "adam", "adamw": "adam", "adagrad": "adagrad"}
_STATES = {"adam": ("exp_avg", "exp_avg_sq"), "adagrad": ("exp_avg_sq",)}


def why_no_deepspeed(rule: str, device: str, dtype: str) -> str:
    """Why DeepSpeed can't run `rule`; "" if it can. Compiles its kernel to find out."""
    if device != "cpu":
        return "only DeepSpeed's kernels for the CPU are compared"
    if dtype != "float32":
        return f"DeepSpeed's kernels for the CPU don't take {dtype} with states of {dtype}"
    if rule not in _KERNELS:
        return f"DeepSpeed has no {rule} for the CPU"
    return load_deepspeed(_KERNELS[rule])[1]


def deepspeed_step(rule: str, arrays: tuple[Array, ...], options: Mapping[str, Any]) -> Candidate:
    """DeepSpeed's step on `arrays`: param, grad and the states, which it shares.

    The first call takes step number options["step"], and `reset` goes back to it. Its AdaGrad
    writes the update over the gradients that are left after whole SIMD registers: it gets a copy
    of the gradient, of which `before` puts these few back.

    Raises:
        RuntimeError: it can't be had; the message tells why.
    """
    import torch

    kernel = _KERNELS[rule]
    make, reason = load_deepspeed(kernel)
    if reason:
        raise RuntimeError(reason)
    tensors = [tensor_of(array) for array in arrays]
    param = torch.nn.Parameter(tensors[0])
    before = None
    if kernel == "adagrad":
        tensors[1] = tensors[1].clone()
        before = _restore(tensors[1].numpy())
    param.grad = tensors[1]
    taken = {name: value for name, value in options.items() if name not in ("step", "decoupled")}
    if kernel == "adam":
        taken["adamw_mode"] = options.get("decoupled", False)
    # For a remark about float16 it asks subprocesses for the processor's name, for a second.
    with undisturbed(), patch("cpuinfo.get_cpu_info", dict):
        optimizer = make([param], **taken)
    state = optimizer.state[param]
    state.update(zip(_STATES[kernel], tensors[2:], strict=True))

    def reset() -> None:
        state["step"] = options.get("step", 1) - 1

    reset()
    return Candidate(optimizer.step, reset, before)


_WIDEST = 16
"""Elements of the widest SIMD register: fewer than these are left over."""


def _restore(grad: np.ndarray) -> Call:
    left = grad[grad.size - grad.size % _WIDEST :]
    kept = left.copy()

    def restore() -> None:
        left[...] = kept

    return restore
