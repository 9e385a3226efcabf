"""The same batch normalization in PyTorch on the CPU, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array


def torch_norm(arrays: dict[str, Array], axis: int = 1) -> dict[str, Callable[[], Any]]:
    """PyTorch's F.batch_norm in training mode on copies: "forward", and it with its backward.

    Channels-last arrays of four axes are PyTorch's own channels_last memory format. ImportError
    where PyTorch is missing.
    """
    import torch
    from torch.nn.functional import batch_norm

    last = axis == -1 and arrays["x"].ndim == 4
    x, dy = (
        tensor.permute(0, 3, 1, 2) if last else tensor
        for tensor in (torch.from_numpy(arrays[name].copy()) for name in ("x", "dy"))
    )
    gamma, beta, mean, var = (
        torch.from_numpy(arrays[name].copy())
        for name in ("gamma", "beta", "running_mean", "running_var")
    )
    leaves = [tensor.detach().requires_grad_() for tensor in (x, gamma, beta)]

    def forward() -> Any:
        with torch.no_grad():
            return batch_norm(x, mean, var, gamma, beta, True)

    def forward_backward() -> Any:
        y = batch_norm(leaves[0], mean, var, leaves[1], leaves[2], True)
        return y.detach(), *torch.autograd.grad(y, leaves, dy)

    return {"forward": forward, "forward+backward": forward_backward}
