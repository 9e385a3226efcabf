"""Where a network first went wrong, when a loss is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ...losses.loss import Loss
from ...network.sequential import Sequential
from ...types import Array
from ..given.finite import all_finite
from ..run import Run

_GPU = (
    " Layer by layer a GPU's losses are read once an epoch, so that more may have gone wrong "
    "since: train on device='cpu' to stop at the batch"
)


def diverged(
    run: Run,
    what: str,
    value: float,
    batches: Iterable[tuple[Array, Array]],
    training: bool,
    late: bool = False,
) -> FloatingPointError:
    """The error for a figure that is not finite, with the layer that first went wrong.

    Args:
        run: where training stands; parameters, running statistics and gradients stay as they are.
        what: name of the figure, such as "loss".
        value: what it is.
        batches: rows and targets to look at again, the first that shows something counts.
        training: whether the figure is of a batch that was trained on, else of validation.
        late: whether updates may have followed before it was read.
    """
    found = (first_fault(run.net, x, y, run.loss, training, blame=not late) for x, y in batches)
    fault = next((fault for fault in found if fault), "")
    epoch, lr = run.epoch + 1, run.optimizer.lr
    clip = run.optimizer.clip_norm
    clipping = "clip_norm=1.0" if clip is None else f"a smaller clip_norm (it is {clip})"
    remedy = f"try a lower lr (it is {lr}) or {clipping}"
    if "batch itself" in fault:
        remedy = "look at what augment does"
    elif run.step == 0 and "parameters" in fault:
        remedy = "they were so before the first update: make or load the network again"
    elif run.step == 0 and fault:
        remedy = (
            "it was so before the first update, whatever the lr: bring samples and targets to "
            "numbers around 1 (Normalizer, or normalize=True of an estimator)"
        )
    elif run.step == 0:
        remedy = (
            "it was so before the first update: look at regularizer, class_weight and sample_weight"
        )
    where = f": {fault}" if fault else ""
    return FloatingPointError(
        f"the {what} is {value} in epoch {epoch}{where}; {remedy}.{_GPU if late else ''}"
    )


def first_fault(
    net: Sequential, x: Array, y: Array, loss: Loss, training: bool, blame: bool = True
) -> str:
    """What of a network first goes wrong on a batch, in words; "" where all is finite.

    In the order in which things are computed: each layer's parameters and output, the loss, and, in
    training, each layer's gradient from the last to the first. With `blame`, parameters that are
    not finite are put down to the last backward where it left gradients that are not.
    """
    kept, kept_grads = net.state_dict(), net.parameters().flat_grads.copy()
    draws = [layer.state() for layer in net.layers]
    try:
        with net.backend.scope(), np.errstate(all="ignore"):
            return _walk(net, net.given(x), y, loss, training, blame)
    finally:
        net.load_state_dict(kept)
        net.parameters().flat_grads[...] = kept_grads
        for layer, draw in zip(net.layers, draws, strict=True):
            layer.load_state(draw)


def _walk(net: Sequential, x: Array, y: Array, loss: Loss, training: bool, blame: bool) -> str:
    if not all_finite(x):
        return "the batch itself holds values that are not finite"
    for k, layer in enumerate(net.layers):
        if not _finite(layer.params):
            return (blame and _blame_gradient(net)) or _told(net, k, "parameters are")
        if not training and not _finite(layer.buffers):
            return _told(net, k, "running statistics are")
        x = layer.forward(x, training)
        if not all_finite(x):
            return _told(net, k, "output is")
    mean, dy = loss(x, y)
    if not np.isfinite(float(mean)):
        return f"the network's output is finite, but {loss!r} of it is not"
    if not training:
        return ""
    if not all_finite(dy):
        return f"the gradient of {loss!r} is not finite"
    for k in range(len(net.layers) - 1, -1, -1):
        layer = net.layers[k]
        dy = layer.backward(dy, input_grad=k > 0)  # that of sparse rows would be dense
        if not ((k == 0 or all_finite(dy)) and _finite(layer.grads)):
            return _told(net, k, "gradient is")
    return ""


def _blame_gradient(net: Sequential) -> str:
    """The layer where the last backward first left gradients that are not finite; "" if none."""
    for k in range(len(net.layers) - 1, -1, -1):
        if not _finite(net.layers[k].grads):
            return _told(net, k, "gradient in the update before is")
    return ""


def _finite(arrays: Mapping[str, Array]) -> bool:
    return all(all_finite(array) for array in arrays.values())


def _told(net: Sequential, k: int, what: str) -> str:
    return f"layer {k} {net.layers[k]!r} went wrong first: its {what} not finite"
