"""The same steps in PyTorch on the CPU, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array

_PATHS: tuple[dict[str, bool], ...] = ({"fused": True}, {"foreach": True})


def torch_steps(case: str, arrays: tuple[Array, ...]) -> dict[str, Callable[[], Any]]:
    """PyTorch's step on copies of param and grad, by implementation: "fused" and "foreach".

    An implementation that PyTorch does not have for a rule is left out. ImportError where PyTorch
    is missing.
    """
    import torch

    makers: dict[str, Callable[..., Any]] = {
        "sgd": torch.optim.SGD,
        "momentum": lambda p, **k: torch.optim.SGD(p, momentum=0.9, **k),
        "nesterov": lambda p, **k: torch.optim.SGD(p, momentum=0.9, nesterov=True, **k),
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "amsgrad": lambda p, **k: torch.optim.Adam(p, amsgrad=True, **k),
    }
    steps: dict[str, Callable[[], Any]] = {}
    for path in _PATHS:
        param = torch.nn.Parameter(torch.from_numpy(arrays[0].copy()))
        param.grad = torch.from_numpy(arrays[1].copy())
        try:
            optimizer = makers[case]([param], lr=1e-4, **path)
            optimizer.step()
        except (TypeError, RuntimeError):  # RMSprop has no fused step
            continue
        steps[next(iter(path))] = optimizer.step
    return steps
