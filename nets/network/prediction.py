"""What a trained network says of data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...backend.checks.numbers import count
from ...backend.checks.plain_array import check_plain
from ...backend.memory_pool import joined
from ..losses.loss import Loss
from ..sparse_rows import sparse_rows
from ..types import Array, HostArray
from .captured_forward import captured_loss, captured_outputs
from .sequential import Sequential


def outputs(net: Sequential, x: Array, batch_size: int = 1024) -> HostArray:
    """What the network gives for each row, as it is: NumPy, (n, out_features), its dtype.

    A regression's predictions, a classifier's logits.

    Args:
        net: the network; left as it is.
        x: rows, shape (n, in_features), on any device; moved to the network's in one copy. Or a
            SciPy sparse matrix or array, CSR for choice: its rows go through a batch at a time, and
            what a layer other than Dense takes, or a GPU, is made dense a batch at a time.
        batch_size: rows that go through the network at once, at least 1; bounds the memory.

    Raises:
        ValueError: `x` has another shape, or `batch_size` is smaller than 1.
        TypeError: `x` holds complex numbers or times.
    """
    backend = net.backend
    x = rows_of(net, x, "x")
    with backend.scope(), np.errstate(under="ignore"):
        slices = parts(len(x), batch_size)
        if (whole := captured_outputs(net, x, batch_size)) is not None:
            return whole
        found = [net(x[part]) for part in slices]
        whole = joined(backend.xp, found) if found else np.empty(_empty(net, x), net.dtype)
    return backend.to_numpy(whole)


def predict(net: Sequential, x: Array, batch_size: int = 1024) -> HostArray:
    """The class of each row, as NumPy int64 of shape (n,).

    It is the class with the largest output; of a single output, a logit, 1 where it is above 0,
    else 0. Of several labels a row, those are there whose `outputs` are above 0.

    Args:
        net: a classifier; left as it is.
        x, batch_size: as for `outputs`.

    Raises:
        ValueError: `x` has another shape, or `batch_size` is smaller than 1.
        TypeError: `x` holds complex numbers or times.
    """
    backend = net.backend
    x = rows_of(net, x, "x")
    with backend.scope(), np.errstate(under="ignore"):
        slices = parts(len(x), batch_size)
        if (whole := captured_outputs(net, x, batch_size)) is not None:
            return np.asarray(_classes(whole)).astype(np.int64)
        labels = [_classes(net(x[part])) for part in slices]
        found = backend.xp.concatenate(labels) if labels else np.empty(0)
    return backend.to_numpy(found).astype(np.int64)


def predict_proba(net: Sequential, x: Array, batch_size: int = 1024) -> HostArray:
    """The probability of each class, as NumPy (n, C) of the network's dtype; rows add up to 1.

        C outputs z:  p = exp(z - max z) / sum of exp(z - max z)
        one output z: p = (1 - a, a), a = 1 / (1 + exp(-z))

    Of several labels a row, as BinaryCrossEntropy takes them, each has its own: 1 / (1 + exp(-z))
    of `outputs`.

    Args:
        net: a classifier that gives logits, as SoftmaxCrossEntropy and BinaryCrossEntropy take
            them; left as it is.
        x, batch_size: as for `outputs`.

    Raises:
        ValueError: `x` has another shape, or `batch_size` is smaller than 1.
        TypeError: `x` holds complex numbers or times.
    """
    z = outputs(net, x, batch_size)
    wide = z.astype(np.float32) if z.dtype == np.float16 else z
    if wide.shape[1] == 1:  # the softmax of (0, z) is (1 - a, a)
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    with np.errstate(under="ignore"):  # a probability of 0 is as good
        p = np.exp(wide - wide.max(axis=1, keepdims=True))
        return (p / p.sum(axis=1, keepdims=True)).astype(z.dtype, copy=False)


def accuracy(net: Sequential, x: Array, y: Array) -> float:
    """The share of rows of `x` for which `predict` gives the label in `y`, (n,) or (n, 1).

    Raises:
        ValueError: there are no rows, or as many labels as rows there are not.
        TypeError: the labels are names, none of which is a number that `predict` gives.
    """
    x = rows_of(net, x, "x")
    labels = class_numbers(net, y, len(x))
    return float(np.mean(predict(net, x) == labels))


def class_numbers(net: Sequential, y: Array, rows: int) -> HostArray:
    """The labels `y`, (rows,) or (rows, 1), on the CPU, to be compared with predictions.

    Raises:
        TypeError, ValueError: as `accuracy`.
    """
    check_plain(y, "y")
    labels = net.backend.to_numpy(y)
    if not rows or labels.shape not in ((rows,), (rows, 1)):
        raise ValueError(f"y has shape {labels.shape}; expected ({rows},), and at least one row")
    labels = labels.reshape(-1)
    if labels.dtype.kind not in "biuf":
        names = (each for each in labels.tolist() if isinstance(each, (str, bytes)))
        if (name := next(names, None)) is not None:
            raise TypeError(
                f"y holds the name {name!r}; expected class numbers, as the network was trained "
                "on: names, numbers = numpy.unique(y, return_inverse=True) numbers sorted names"
            )
    return labels


def evaluate(
    net: Sequential, x: Array, y: Array, loss: Loss, weights: Array | None = None
) -> tuple[float, float]:
    """(mean loss, mean metric) on data that is on the network's device already, read back once.

    x: an array, or a SciPy sparse matrix or array.
    weights: (n,), a factor on the loss of each row; the metric is not weighted.
    """
    x = x if (rows := sparse_rows(x, "x")) is None else rows
    if (sums := captured_loss(net, x, y, loss, weights)) is not None:
        return sums[0] / len(x), sums[1] / len(x)
    total: Array = 0.0
    measured: Array = 0
    with net.backend.scope(), np.errstate(under="ignore"):
        for part in parts(len(x)):
            output = net(x[part])
            factors = () if weights is None else (weights[part],)
            total = total + loss(output, y[part], *factors)[0] * float(len(output))
            measured = measured + loss.measure(output, y[part])
    return float(total) / len(x), float(measured) / len(x)


def rows_of(net: Sequential, x: Array, name: str) -> Array:
    """`x`, called `name` in errors, on the network's device and in its dtype; or SparseRows, which
    are brought there a batch at a time.

    Raises:
        TypeError: it is a masked array, or a numpy.matrix, or holds what is no number.
        ValueError: its shape is not (n, in_features).
    """
    if (sparse := sparse_rows(x, name)) is not None:
        x = sparse
    else:
        check_plain(x, name)
        try:
            with np.errstate(under="ignore"):
                x = net.backend.asarray(x, dtype=net.dtype)
        except (TypeError, ValueError) as error:  # names, lists of different lengths
            raise type(error)(f"{name} is no array of numbers: {error}") from error
    found = next((k for k, each in enumerate(net.layers) if each.in_features is not None), None)
    width = "features" if found is None else net.layers[found].in_features
    if x.ndim == 2 and width in ("features", x.shape[1]):
        return x
    why = ""
    if found and x.ndim == 2:  # not where it is the first layer
        why = (
            f", as layer {found} {net.layers[found]!r} takes: those before it have no in_features, "
            "and so count as keeping the width (a layer of your own that changes it sets both "
            "in_features and out_features)"
        )
    raise ValueError(f"{name} has shape {x.shape}; expected (n, {width}), a row a sample{why}")


def parts(n: int, size: int = 1024) -> Iterator[slice]:
    """Slices of 0..n-1, of `size` each, the last one of what is left."""
    size = count("batch_size", size)
    return (slice(start, start + size) for start in range(0, n, size))


def _classes(output: Array) -> Array:
    return output[:, 0] > 0 if output.shape[1] == 1 else output.argmax(axis=1)


def _empty(net: Sequential, x: Array) -> tuple[int, int]:
    return 0, x.shape[1] if net.out_features is None else net.out_features
