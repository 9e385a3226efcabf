"""PyTorch's optimizers on the very arrays that ours work on."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ..measuring.candidate import Call, Candidate
from ..measuring.synchronized import waited
from ..measuring.why_missing import why_no_gpu_in_torch

TORCH_PATHS = {
    "torch for-loop": {"foreach": False},
    "torch foreach": {"foreach": True},
    "torch fused": {"fused": True},
}
"""Path -> what asks PyTorch for it."""

_WRITES_GRADIENT = {("torch foreach", "nesterov")}
"""It adds the momentum to the gradient in place."""


@dataclass(frozen=True)
class _Peer:
    """PyTorch's class for a rule, what it takes beyond our options, and its names of the states."""

    name: str
    states: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    counts: bool = True


_PEERS = {
    "sgd": _Peer("SGD", counts=False),
    "momentum": _Peer("SGD", ("momentum_buffer",), {"momentum": 0.9}, counts=False),
    "nesterov": _Peer("SGD", ("momentum_buffer",), {"momentum": 0.9}, counts=False),
    "adagrad": _Peer("Adagrad", ("sum",)),
    "rmsprop": _Peer("RMSprop", ("square_avg",)),
    "adam": _Peer("Adam", ("exp_avg", "exp_avg_sq")),
    "adamw": _Peer("AdamW", ("exp_avg", "exp_avg_sq")),
    "amsgrad": _Peer("Adam", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), {"amsgrad": True}),
    "nadam": _Peer("NAdam", ("exp_avg", "exp_avg_sq")),
    "radam": _Peer("RAdam", ("exp_avg", "exp_avg_sq")),
    "adamax": _Peer("Adamax", ("exp_avg", "exp_inf")),
    "adadelta": _Peer("Adadelta", ("square_avg", "acc_delta")),
}


def why_no_torch(path: str, rule: str, device: str) -> str:
    """Why PyTorch can't run `rule` by `path` on `device`; "" if it can."""
    if find_spec("torch") is None:
        return 'torch is missing. Remedy: pip install "onepass[peers]"'
    import torch

    if device != "cpu" and (reason := why_no_gpu_in_torch()):
        return reason
    if rule not in _PEERS:
        return f"PyTorch has no {rule}"
    name = _PEERS[rule].name
    choice = next(iter(TORCH_PATHS[path]))
    if choice not in inspect.signature(getattr(torch.optim, name)).parameters:
        return f"PyTorch's {name} has no {choice} implementation"
    return "" if device == "cpu" else _why_no_step(path, rule)


@cache
def _why_no_step(path: str, rule: str, device: str = "cuda") -> str:
    """What PyTorch says to a step on one number; "" if it takes it.

    Some versions' options are for some devices only, and a class says so at its first step.
    """
    import torch

    param = torch.nn.Parameter(torch.ones(1, device=device))
    param.grad = torch.ones(1, device=device)
    peer, choice = _PEERS[rule], TORCH_PATHS[path]
    try:
        getattr(torch.optim, peer.name)([param], lr=0.1, **peer.options, **choice).step()
    except (NotImplementedError, RuntimeError) as error:
        return f"PyTorch {torch.__version__}: {str(error).partition(chr(10))[0]}"
    return ""


def nadam_product(betas: tuple[float, float], momentum_decay: float, steps: int) -> float:
    """What PyTorch's NAdam keeps after so many steps: mu_1 mu_2 ... of its documentation."""
    return prod(betas[0] * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in range(1, steps + 1))


def _fill(counters: Sequence[tuple[Any, float]]) -> None:
    for counter, value in counters:
        counter.fill_(value)


def tensor_of(array: Array) -> Any:
    """A PyTorch tensor over the memory of a NumPy or CuPy array."""
    import torch

    return torch.from_numpy(array) if isinstance(array, np.ndarray) else torch.from_dlpack(array)


def torch_step(
    path: str, rule: str, arrays: tuple[Array, ...], options: Mapping[str, Any]
) -> Candidate:
    """PyTorch's step by `path` on `arrays`: param, grad and the states, which it shares.

    The first call takes step number options["step"], where the rule counts; `reset` goes back to
    it. PyTorch's step turns gradients off by itself. Where it would write over the gradient, it
    gets a copy, which `before` makes anew.
    """
    import torch

    peer, choice, backend = _PEERS[rule], TORCH_PATHS[path], backend_of(*arrays)
    tensors = [tensor_of(array) for array in arrays]
    param = torch.nn.Parameter(tensors[0])
    before: Call | None = None
    if (path, rule) in _WRITES_GRADIENT:
        tensors[1], kept = tensors[1].clone(), tensors[1]
        before = partial(tensors[1].copy_, kept)
    param.grad = tensors[1]
    taken = {name: value for name, value in options.items() if name not in ("step", "decoupled")}
    optimizer = getattr(torch.optim, peer.name)([param], **peer.options, **taken, **choice)
    state = optimizer.state[param]
    state.update(zip(peer.states, tensors[2:], strict=True))
    reset = None
    if peer.counts:
        done = options.get("step", 1) - 1
        where = param.device if "fused" in choice else "cpu"
        state["step"] = torch.tensor(float(done), dtype=torch.float32, device=where)
        counters = [(state["step"], done)]
        if peer.name == "NAdam":
            used = optimizer.defaults
            found = nadam_product(used["betas"], used["momentum_decay"], done)
            wide = torch.promote_types(param.dtype, torch.float32)  # PyTorch itself: float32
            state["mu_product"] = torch.tensor(found, dtype=wide, device=where)
            counters.append((state["mu_product"], found))
        reset = partial(_fill, counters)
    if before is not None:
        before = waited(before, backend)  # or it would be timed
    return Candidate(waited(optimizer.step, backend), reset, before)
