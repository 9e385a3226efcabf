"""What an engine of batch normalization owes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ...backend import Array
from ..operation import OperationEngine
from .layout import Layout


@dataclass(eq=False, slots=True)
class Saved:
    """What `batch_norm_backward` needs of a forward, from `batch_norm_forward`.

    Attributes:
        x, gamma, beta: the arrays themselves, not copies: change them only after backward.
        kept: (3, C), in float32 or float64: center, rest and inv_std; the mean is center + rest.
        eps, activation: as they were given.
        channel_axis: the axis of the channels, counted from 0.
        shape: of x at that time.
        overwritten: whether `out=` of a forward or backward took x's memory.
        count: values of a channel that `merge=` found on all ranks; None without it.
        residual: whether there was one.
        y: the forward's y itself where a ReLU followed a residual: dy passes where it is > 0.
    """

    x: Array
    gamma: Array | None
    beta: Array | None
    kept: Array
    eps: float
    activation: str | None
    channel_axis: int
    shape: tuple[int, ...]
    overwritten: bool = False
    count: int | None = None
    residual: bool = False
    y: Array | None = None

    @property
    def mean(self) -> Array:
        """The mean of each channel, (C,)."""
        return self.kept[0] + self.kept[1]

    @property
    def inv_std(self) -> Array:
        """1 / sqrt(sigma^2 + eps) of each channel, (C,)."""
        return self.kept[2]


class Running(NamedTuple):
    """Running statistics in the precision of the computation, (C,) each, written in place."""

    mean: Array
    var: Array
    momentum: float


Places = tuple[Array | None, Array | None]
"""Where dgamma and dbeta go."""

NOWHERE: Places = (None, None)


class Gate(NamedTuple):
    """What a ReLU after a residual lets pass: y of the forward, and dz, which is dy where y > 0.

    dz is written. It may be dy; it is the residual's gradient, and from it alone dx follows. To
    tell by y takes as many bytes as to work y out again from x and the residual, which may be gone.
    """

    y: Array
    dz: Array


class How(NamedTuple):
    """How arrays are normalized: their layout, gamma and beta or None, eps, ReLU or not."""

    layout: Layout
    gamma: Array | None
    beta: Array | None
    eps: float
    relu: bool


class BatchNormEngine(OperationEngine):
    """Runs on checked arrays: x, y, dy, dx of one layout, one value a channel in float32 or 64.

    On a GPU memory may run out, and code is compiled at its first launch, which may fail. So an
    engine takes all its memory before its first launch, and its last launch writes y or dx. Running
    statistics are written in it, or before it, or afterwards by transfers, which need neither.
    Those that are written before it are the user's own arrays only once that last launch is known
    to be compiled (gpu/first_launch.py).
    """

    strided: ClassVar[bool] = False
    """Whether it takes arrays with gaps, and arrays in different orders."""

    together: ClassVar[bool] = False
    """Whether one launch writes all that a user sees of a call."""

    def quick_forward(
        self,
        x: Any,
        vectors: tuple[Any, ...],
        numbers: tuple[Any, Any, Any],
        axis: Any,
        residual: Any = None,
    ) -> tuple[Array, Saved] | None:
        """As `batch_norm_forward` of unchecked arguments if that is safe; None if nothing was done.
        `vectors` are gamma, beta and the running statistics, both or none of these; `numbers` are
        momentum, eps and the activation."""
        return None

    def quick_backward(
        self, dy: Any, saved: Saved, places: tuple[Any, Any]
    ) -> tuple[Array, ...] | None:
        """The same of `batch_norm_backward`."""
        return None

    def quick_inference(
        self,
        x: Any,
        vectors: tuple[Any, ...],
        eps: Any,
        axis: Any,
        activation: Any,
        residual: Any = None,
    ) -> Array | None:
        """The same of `batch_norm_inference`, with running statistics."""
        return None

    @abstractmethod
    def forward(
        self, x: Array, y: Array, how: How, running: Running | None, residual: Array | None = None
    ) -> Array:
        """Write y, which may be the residual, and the running statistics; return `Saved.kept`."""

    @abstractmethod
    def backward(
        self,
        dy: Array,
        x: Array,
        dx: Array,
        how: How,
        kept: Array,
        places: Places = NOWHERE,
        gate: Gate | None = None,
    ) -> tuple[Array, Array]:
        """Write dx, and dz of a gate; return dgamma and dbeta. `kept` is what the forward returned.

        A gate comes with a ReLU after a residual, and dx may be dy then only if dz is not. dgamma
        and dbeta may be `places`, which engines take or leave: vectors without gaps in the
        precision of the computation.
        """

    @abstractmethod
    def inference(
        self,
        x: Array,
        y: Array,
        how: How,
        mean: Array,
        var: Array,
        residual: Array | None = None,
    ) -> None:
        """Write y, which may be the residual."""

    # Where a batch lies on several ranks, forward and backward go in two passes each: the sums of
    # a rank, and what follows from those of all; y is written by `inference`.

    @abstractmethod
    def moments(self, x: Array, layout: Layout) -> Array:
        """Mean and sum of squared deviations of each channel, (2, C) in float64."""

    @abstractmethod
    def products(
        self, dy: Array, x: Array, how: How, kept: Array, gate: Gate | None = None
    ) -> Array:
        """Sums of dy and of dy (x - center) of each channel, (2, C) in float64 without gaps; with a
        gate write dz, and sum that up in place of dy."""

    @abstractmethod
    def differentiate(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array, sums: Array, count: int
    ) -> None:
        """Write dx from such sums of `count` values, of which x holds some."""
