"""Norms over rows in array expressions: as a reader of the papers writes them, and tuned.

Tuned means that every pass goes into memory that is there. Both compute in the arrays' own
precision; `kernels`' own array engine is more careful (float64 sums) and slower, so it is the
reference for results and not for time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...backend import Array
from ..cases.row_norms import EPS, RowNormCase


class _Expressions:
    """The arrays of one case as (rows, columns, elements of a column), vectors along columns."""

    def __init__(self, arrays: dict[str, Array], case: RowNormCase, xp: Any) -> None:
        x, grouped = arrays["x"], case.kind == "group_norm"
        self.xp, self.shape, self.centered = xp, x.shape, case.kind != "rms_norm"
        if grouped:
            view = (x.shape[0], case.groups, case.columns // case.groups, -1)
        else:
            view = (x.size // case.columns, 1, case.columns, 1)
        self.x, self.dy = x.reshape(view), arrays["dy"].reshape(view)
        self.vectors = [arrays[name].reshape(1, *view[1:3], 1) for name in case.vectors]
        self.row, self.column = (2, 3), (0, 3)

    @property
    def gamma(self) -> Array:
        return self.vectors[0]

    def mean(self, array: Array) -> Array:
        return array.mean(axis=self.row, keepdims=True)

    def gradients(self, dx: Array, products: Array) -> Any:
        """dx, and the gradients of the vectors; `products` are dy xhat."""
        found = [dx.reshape(self.shape), products.sum(axis=self.column).reshape(-1)]
        if self.centered:
            found.append(self.dy.sum(axis=self.column).reshape(-1))
        return tuple(found)


class Idiomatic(_Expressions):
    """A new array for every expression."""

    def forward(self) -> Any:
        d = self.x - self.mean(self.x) if self.centered else self.x
        self.scale = 1 / self.xp.sqrt(self.mean(d * d) + EPS)
        self.xhat = d * self.scale
        y = self.gamma * self.xhat
        if self.centered:
            y = y + self.vectors[1]
        return y.reshape(self.shape)

    def backward(self) -> Any:
        g = self.dy * self.gamma
        dx = g - self.xhat * self.mean(g * self.xhat)
        if self.centered:
            dx = dx - self.mean(g)
        return self.gradients(dx * self.scale, self.dy * self.xhat)


class Tuned(_Expressions):
    """Every pass into arrays that were made before."""

    def __init__(self, arrays: dict[str, Array], case: RowNormCase, xp: Any) -> None:
        super().__init__(arrays, case, xp)
        self.y, self.xhat, self.dx, self.room = (xp.empty_like(self.x) for _ in range(4))

    def forward(self) -> Any:
        xp, y, xhat = self.xp, self.y, self.xhat
        d = xp.subtract(self.x, self.mean(self.x), out=xhat) if self.centered else self.x
        xp.multiply(d, d, out=y)
        self.scale = 1 / xp.sqrt(self.mean(y) + EPS)
        xp.multiply(d, self.scale, out=xhat)
        xp.multiply(xhat, self.gamma, out=y)
        if self.centered:
            xp.add(y, self.vectors[1], out=y)
        return y.reshape(self.shape)

    def backward(self) -> Any:
        """`room` holds products that are summed, of rows and then of columns."""
        xp, xhat, dx, room = self.xp, self.xhat, self.dx, self.room
        xp.multiply(self.dy, self.gamma, out=dx)
        xp.multiply(dx, xhat, out=room)
        along = self.mean(room)
        if self.centered:
            xp.subtract(dx, self.mean(dx), out=dx)
        xp.multiply(xhat, along, out=room)
        xp.subtract(dx, room, out=dx)
        xp.multiply(dx, self.scale, out=dx)
        xp.multiply(self.dy, xhat, out=room)
        return self.gradients(dx, room)


def numpy_row_norm(made: Idiomatic | Tuned, what: str) -> Callable[[], Any]:
    """The call of one operation; "forward+backward" gives y before the gradients."""
    if what == "forward+backward":
        return lambda: (made.forward(), *made.backward())
    if what == "backward":
        made.forward()
    call: Callable[[], Any] = getattr(made, what)
    return call
