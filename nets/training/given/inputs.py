"""What `fit` and `gradient_check` are given, checked and brought to the network's device."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ....backend.checks.plain_array import described
from ....backend.foreign import array_of
from ...losses.loss import Loss
from ...network.prediction import rows_of
from ...network.sequential import Sequential
from ...optimizers.frame.optimizer import Optimizer
from ...sparse_rows import SparseRows, is_sparse
from ...types import Array, HostArray
from .class_weights import ClassWeight, class_weights, row_weights
from .finite import all_finite

Pair: TypeAlias = tuple[Array, Array]
Weighted: TypeAlias = tuple[Array, Array, Array]
"""(x, y, sample_weight)."""


def parted(validation: Pair | Weighted) -> tuple[Pair, Array | None]:
    """The pair of validation data and its weights, or None."""
    if isinstance(validation, (tuple, list)) and len(validation) == 3:
        return (validation[0], validation[1]), validation[2]
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise TypeError(
            f"validation is {described(validation)}; expected (x, y), or (x, y, sample_weight)"
        )
    return (validation[0], validation[1]), None


def check_loss(net: Sequential, loss: Loss) -> None:
    """Refuse what is no loss, and a loss of logits after a layer that makes probabilities of them.

    Such a network would train, badly: the loss applies sigmoid or softmax itself.
    """
    if not isinstance(loss, Loss):
        raise TypeError(f"loss is {loss!r}; expected an instance such as SoftmaxCrossEntropy()")
    last = net.layers[-1]
    names = type(last).__name__.lower(), getattr(last, "activation", None)
    if loss.of_logits and {"sigmoid", "softmax"} & {*names}:
        raise ValueError(
            f"the last layer is {last!r}, but {loss!r} takes logits and applies {loss.of_logits} "
            "itself; expected a network that ends without"
        )


def check_optimizer(net: Sequential, optimizer: Optimizer) -> None:
    """Refuse an optimizer of other arrays than the network's."""
    if optimizer.params is not net.parameters():
        name = type(optimizer).__name__
        raise ValueError(f"optimizer updates other arrays; expected {name}(net.parameters())")


def prepared(net: Sequential, data: Pair, loss: Loss, name: str, sparse: bool = False) -> Pair:
    """(x, y) of the pair called `name`, checked, on the network's device.

    x has the network's dtype, and y too where it is floating (float32 at least). With `sparse`, a
    SciPy sparse matrix is taken for x, and stays on the CPU, in its dtype, as SparseRows.

    Raises:
        TypeError: `data` is no pair, x or y is a masked array, a numpy.matrix or a sparse matrix
            that is not taken, or y has a dtype that the loss does not take.
        ValueError: there are no rows, x and y differ in number, a value is not finite, x has
            another width, or y is not what the loss takes.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError(f"{name} is a {type(data).__name__}; expected a pair of arrays (x, y)")
    beyond = np.errstate(over="ignore", under="ignore")  # what overflows is found not finite
    for values, which in zip(data, ("x", "y"), strict=True):
        if is_sparse(values) and not (sparse and which == "x"):
            raise TypeError(
                f"{which} of {name} is {described(values)}; expected an array, which its method "
                "toarray() makes of it"
            )
    with net.backend.scope(), beyond:
        x = rows_of(net, data[0], f"x of {name}")
        y = array_of(data[1], f"y of {name}")
        if not len(x):
            raise ValueError(f"x of {name} has no rows; expected at least one sample")
        if y.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"y of {name} has shape {y.shape}; expected ({len(x)},), a label for each row of x"
            )
        _check_finite(x, f"x of {name}", net.dtype)
        try:
            loss.check(y, len(x), width_of(net, x))
        except (TypeError, ValueError) as error:
            raise type(error)(f"y of {name}: {error}") from error
        y = net.backend.asarray(y)
        if y.dtype.kind == "f":
            y = y.astype(np.float32 if net.dtype == np.float16 else net.dtype, copy=False)
            _check_finite(y, f"y of {name}", y.dtype)
    return x, y


def _check_finite(array: Array, name: str, dtype: np.dtype[Any]) -> None:
    sparse = isinstance(array, SparseRows)
    if not (array.all_finite(dtype) if sparse else all_finite(array)):
        raise ValueError(
            f"{name} holds values that are not finite (or too large for {dtype}); expected "
            "numbers only. Find them with numpy.isfinite"
        )


def prepared_class_weight(
    net: Sequential, data: Pair, loss: Loss, class_weight: ClassWeight
) -> HostArray | None:
    """The weight of each class, as prepared training data has them, or None.

    Raises:
        TypeError, ValueError: `class_weight` is not what `class_weights` takes, or the loss knows
            no classes; or the data holds one class only.
    """
    x, y = data
    labels = loss.labels(net.backend.to_numpy(y))
    if labels is None:
        if class_weight is not None:
            raise ValueError(
                f"class_weight is {class_weight!r}, but {loss!r} sees no classes in y; expected "
                "None, or class numbers and a loss such as SoftmaxCrossEntropy()"
            )
        return None
    if len(labels) > 1 and (labels == labels[0]).all():
        raise ValueError(
            f"y of data holds the class {labels[0]} only, {len(labels)} times; expected at least "
            "two classes. Shuffle before you split"
        )
    wide = np.float64 if net.dtype == np.float64 else np.float32
    return class_weights(class_weight, labels, max(2, width_of(net, x)), wide)


def prepared_weights(
    net: Sequential,
    y: Array,
    loss: Loss,
    by_class: HostArray | None,
    sample_weight: Array | None,
    name: str,
) -> Array | None:
    """The weight of each row of the prepared `y` of `name`, (n,), on the network's device, or None.

    It is that of its class times its own, where both are given.

    Args:
        by_class: the weight of each class, or None.
        sample_weight: a factor on the loss of each row, (n,), or None.

    Raises:
        TypeError: `sample_weight` holds no numbers.
        ValueError: `sample_weight` is not what `checked_weights` takes; `y` holds no classes; or
            all of its rows have the weight 0.
    """
    own = "sample_weight" if name == "data" else f"sample_weight of {name}"
    given = None if sample_weight is None else checked_weights(net, sample_weight, len(y), own)
    if given is not None and not bool(given.any()):
        raise ValueError(f"{own} gives every row the weight 0; expected a row that counts")
    if by_class is None:
        return given
    labels = loss.labels(net.backend.to_numpy(y))
    if labels is None:
        raise ValueError(
            f"y of {name} holds numbers between the classes; expected class numbers, as "
            "class_weight goes by them"
        )
    weights = net.backend.asarray(row_weights(by_class, labels, name))
    if given is None:
        return weights
    with net.backend.scope(), np.errstate(over="ignore", under="ignore"):
        both = weights * given
    if not bool(both.any()) or not all_finite(both):
        raise ValueError(
            f"class_weight times {own} gives every row the weight 0, or one that is not finite in "
            f"{both.dtype}; expected a row that counts"
        )
    return both


def checked_weights(net: Sequential, weights: Array, rows: int, name: str) -> Array:
    """`weights`, called `name`, on the network's device, in its dtype (float32 at least).

    Raises:
        TypeError: they are no numbers.
        ValueError: they are not as many as rows, or one is negative or not finite.
    """
    weights = array_of(weights, name)
    wide = np.float32 if net.dtype == np.float16 else net.dtype
    try:
        with np.errstate(over="ignore", under="ignore"):  # what overflows is found not finite
            weights = net.backend.asarray(weights, dtype=wide)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} is no array of numbers: {error}") from error
    if weights.shape != (rows,):
        raise ValueError(
            f"{name} has shape {weights.shape}; expected ({rows},), a number for each row of x"
        )
    with net.backend.scope():
        if not (all_finite(weights) and bool((weights >= 0).all())):
            raise ValueError(
                f"{name} holds numbers that are negative, or not finite in {weights.dtype}; "
                "expected finite numbers >= 0"
            )
    return weights


def check_batches(net: Sequential, samples: int, batch_size: int) -> None:
    """Refuse batches that are too small for a layer, before any of them is trained on."""
    if samples < net.least_rows:
        raise ValueError(
            f"data has {samples} {'sample' if samples == 1 else 'samples'}, but {net!r} takes "
            f"{net.least_rows} or more to train on; expected more samples"
        )
    last = min(samples, samples % batch_size or batch_size)
    if last < net.least_rows:
        raise ValueError(
            f"batch_size is {batch_size}, which leaves a batch of {last} of the {samples} samples, "
            f"but {net!r} takes {net.least_rows} or more to train on; expected another batch_size, "
            "or another number of samples"
        )


def width_of(net: Sequential, x: Array) -> int:
    """How many outputs a row of `x` has."""
    return int(x.shape[1] if net.out_features is None else net.out_features)
