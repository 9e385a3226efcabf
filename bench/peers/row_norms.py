"""The same norms over rows in PyTorch and, jitted, in JAX, where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array
from ..cases.row_norms import EPS, RowNormCase


def torch_row_norm(arrays: dict[str, Array], case: RowNormCase, what: str) -> Callable[[], Any]:
    """PyTorch's function, and its gradients, on the same memory.

    ImportError where PyTorch is missing.
    """
    import torch
    from torch.nn import functional

    x, dy, *vectors = (torch.from_dlpack(array) for array in arrays.values())

    def normalized(x: Any, *vectors: Any) -> Any:
        if case.kind == "group_norm":
            return functional.group_norm(x, case.groups, vectors[0], vectors[1], EPS)
        function = getattr(functional, case.kind)
        return function(x, x.shape[-1:], *vectors, eps=EPS)

    def forward() -> Any:
        with torch.no_grad():
            return normalized(x, *vectors)

    leaves = [tensor.detach().requires_grad_() for tensor in (x, *vectors)]

    def forward_backward() -> Any:
        y = normalized(*leaves)
        return y.detach(), *torch.autograd.grad(y, leaves, dy)

    if what != "backward":
        return forward if what == "forward" else forward_backward
    y = normalized(*leaves)
    return lambda: torch.autograd.grad(y, leaves, dy, retain_graph=True)


def jax_row_norm(arrays: dict[str, Array], case: RowNormCase, what: str) -> Callable[[], Any]:
    """JAX's, jitted, on copies of the arrays; its backward works the statistics out anew."""
    import jax
    from jax import numpy as jnp

    cpu = jax.local_devices(backend="cpu")[0]
    x, dy, *vectors = (jax.device_put(np.array(array), cpu) for array in arrays.values())
    grouped = case.kind == "group_norm"
    axes = (2, 3) if grouped else (1,)

    def normalized(x: Any, *vectors: Any) -> Any:
        rows = x.reshape(x.shape[0], case.groups, x.shape[1] // case.groups, -1) if grouped else x
        d = rows if case.kind == "rms_norm" else rows - rows.mean(axes, keepdims=True)
        xhat = d / jnp.sqrt((d * d).mean(axes, keepdims=True) + EPS)
        along = (1, *xhat.shape[1:3], 1) if grouped else (-1,)
        gamma, *beta = (vector.reshape(along) for vector in vectors)
        y = xhat * gamma
        return (y + beta[0] if beta else y).reshape(x.shape)

    def gradients(dy: Any, *given: Any) -> Any:
        return jax.vjp(normalized, *given)[1](dy)

    def both(dy: Any, *given: Any) -> Any:
        y, back = jax.vjp(normalized, *given)
        return y, *back(dy)

    if what == "forward":
        function = jax.jit(normalized)
        return lambda: jax.block_until_ready(function(x, *vectors))
    function = jax.jit(gradients if what == "backward" else both)
    return lambda: jax.block_until_ready(function(dy, x, *vectors))
