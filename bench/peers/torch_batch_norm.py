"""The same batch normalization in PyTorch, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...backend import Array


def torch_norm(
    arrays: dict[str, Array], axis: int = 1, activation: str | None = None
) -> dict[str, Callable[[], Any]]:
    """PyTorch's F.batch_norm on the same memory, by operation: see cases/batch_norm.py. A residual
    and the ReLU are calls of their own.

    Running statistics are its own copies. Channels-last arrays of four axes are PyTorch's own
    channels_last memory format. ImportError where PyTorch is missing.
    """
    import torch
    from torch.nn.functional import batch_norm, relu

    def tensor(name: str) -> Any:
        return torch.from_dlpack(arrays[name])

    last = axis == -1 and arrays["x"].ndim == 4
    images = [tensor(name) for name in ("x", "dy", "residual") if name in arrays]
    x, dy, *beside = (t.permute(0, 3, 1, 2) if last else t for t in images)
    plain = [x, tensor("gamma"), tensor("beta"), *beside]
    mean, var = tensor("running_mean").clone(), tensor("running_var").clone()
    leaves = [t.detach().requires_grad_() for t in plain]

    def normalized(inputs: list[Any], training: bool) -> Any:
        x, gamma, beta, *beside = inputs
        y = batch_norm(x, mean, var, gamma, beta, training)
        for residual in beside:
            y = y + residual
        return y if activation is None else relu(y)

    def forward() -> Any:
        with torch.no_grad():
            return normalized(plain, True)

    def inference() -> Any:
        with torch.no_grad():
            return normalized(plain, False)

    def forward_backward() -> Any:
        y = normalized(leaves, True)
        return y.detach(), *torch.autograd.grad(y, leaves, dy)

    graph: list[Any] = []

    def backward() -> Any:
        if not graph:
            graph.append(normalized(leaves, True))
        return torch.autograd.grad(graph[0], leaves, dy, retain_graph=True)

    return {
        "forward": forward,
        "backward": backward,
        "forward+backward": forward_backward,
        "inference": inference,
    }
