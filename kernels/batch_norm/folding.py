"""A linear layer and the batch normalization beside it, put together for inference."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ...backend.checks.numbers import flag, positive
from ...backend.foreign import taken_in
from ..array_arguments import check_input
from .arguments import VECTORS, check_statistics, check_vectors
from .channel_vectors import given
from .formula import affine, deviation
from .layout import layout_of


def fold_batch_norm(
    weight: Array,
    bias: Array | None,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    *,
    eps: float = 1e-5,
    axis: int | None = None,
    before: bool = False,
) -> tuple[Array, Array]:
    """Weight and bias of one layer that does what a linear one and batch norm do; new arrays.

    Batch normalization by running statistics is x s + t, a value of each a channel. With
    y = x W + b of the layer, and of a convolution likewise,

        s = gamma / sqrt(running_var + eps)        t = beta - running_mean s
        weight = W s        bias = b s + t                      batch norm behind the layer
        weight = s W        bias = b + t W                      before it

    Args:
        weight: W, float16/32/64, of two axes or more.
        bias: b, one value for each of the layer's outputs, float16/32/64; None: 0.
        gamma, beta: scale and shift, (C,), float16/32/64 or integers; None: 1 and 0.
        running_mean, running_var: (C,), as `batch_norm_forward` keeps them.
        eps: added to the variance, > 0.
        axis: the axis of W that has batch norm's channels. None: the last, where Dense has its
            outputs; with `before` the first, its inputs. PyTorch has the outputs of linear layers
            and convolutions on axis 0.
        before: whether batch norm comes first. W has two axes then: what a convolution pads with
            zeros is not normalized.

    Returns:
        The weight, in the dtype of W, and the bias, in that of b, or else of W; with batch norm
        before the layer and a bias of None it has one all the same. Arguments are left untouched.

    Raises:
        TypeError, ValueError, MixedBackendsError: an argument breaks these conditions; it is named.

    Conventions: worked out in float64 and rounded once, so that the layer gives what both gave
        within a few eps of its terms. No activation may lie between the two; one behind batch norm
        stays. A negative variance gives NaN.
    Source: Jacob et al. (2018), "Quantization and training of neural networks for efficient
        integer-arithmetic-only inference", eq. 14; PyTorch's fuse_linear_bn_weights and
        fuse_conv_bn_weights.
    """
    names = ("weight", "bias", *VECTORS)
    arrays = taken_in(names, (weight, bias, gamma, beta, running_mean, running_var))
    weight, bias, gamma, beta, running_mean, running_var = arrays
    check_input("weight", weight)
    before, eps = flag("before", before), positive("eps", eps)
    axis = _check_axis(weight, axis, before)
    check_statistics(running_mean, running_var)
    layout = layout_of(weight, axis)
    check_vectors(weight, layout, (gamma, beta, running_mean, running_var), "weight")
    outputs = weight.shape[1 - axis if before else axis]
    if bias is not None:
        _check_bias(bias, weight, outputs)
    xp, kind = backend_of(weight).xp, "float64"
    wide: list[Any] = [None if each is None else each.astype(kind) for each in arrays]
    with np.errstate(all="ignore"):
        (inv_std,) = deviation(wide[5], eps, 1.0)
        scale, shift = affine(*given(xp, wide[2], wide[3], layout.channels, kind), wide[4], inv_std)
        old = xp.zeros(outputs, kind) if wide[1] is None else wide[1]
        passed = (wide[0] if axis else wide[0].T) @ shift if before else shift
        new = (old if before else old * scale) + passed
        folded = wide[0] * layout.along(scale)
        return folded.astype(weight.dtype), new.astype((weight if bias is None else bias).dtype)


def _check_axis(weight: Array, axis: Any, before: bool) -> int:
    """The axis of the channels, counted from 0."""
    if weight.ndim < 2 or (before and weight.ndim > 2):
        expected = "2 axes, of inputs and outputs" if before else "at least 2 axes"
        raise ValueError(f"weight has shape {weight.shape}; expected {expected}")
    if axis is None:
        return 0 if before else weight.ndim - 1
    if not isinstance(axis, Integral) or isinstance(axis, bool):
        raise TypeError(f"axis is {axis!r}; expected an integer, such as 0 or -1, or None")
    if not -weight.ndim <= axis < weight.ndim:
        raise ValueError(
            f"axis is {axis} but weight has {weight.ndim} axes; expected "
            f"{-weight.ndim} to {weight.ndim - 1}"
        )
    return int(axis) % weight.ndim


def _check_bias(bias: Array, weight: Array, outputs: int) -> None:
    check_input("bias", bias)
    backend_of(weight, bias, names=["weight", "bias"])
    if bias.shape != (outputs,):
        raise ValueError(
            f"bias has shape {bias.shape} but weight has {weight.shape}; expected ({outputs},), "
            "one value for each output"
        )
