"""Activations with a bias in array expressions: as they are written, and tuned.

Tuned means that every pass goes into memory that is there, the result's own where it can.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend import Array


class Arrays(NamedTuple):
    """What a pass each way reads; y is that of the forward."""

    x: Array
    bias: Array
    dy: Array
    y: Array


class Expressions:
    """One kind on the arrays of one case."""

    def __init__(self, arrays: Arrays, kind: str, xp: Any) -> None:
        (self.x, self.bias, self.dy, self.y), self.kind, self.xp = arrays, kind, xp


class Idiomatic(Expressions):
    """A new array for every expression."""

    def forward(self) -> Array:
        xp, z = self.xp, self.x + self.bias
        if self.kind == "relu":
            return xp.maximum(z, 0)
        return xp.tanh(z) if self.kind == "tanh" else 1 / (1 + xp.exp(-z))

    def backward(self) -> tuple[Array, Array]:
        dy, y = self.dy, self.y
        if self.kind == "relu":
            dz = dy * (y > 0)
        else:
            dz = dy * (1 - y * y) if self.kind == "tanh" else dy * y * (1 - y)
        return dz, dz.sum(axis=0)


class Tuned(Expressions):
    """Every pass into arrays that were made before."""

    def __init__(self, arrays: Arrays, kind: str, xp: Any) -> None:
        super().__init__(arrays, kind, xp)
        self.out, self.sums = xp.empty_like(self.x), xp.empty_like(self.bias)
        self.mask = xp.empty(self.x.shape, bool)

    def forward(self) -> Array:
        xp, y = self.xp, self.out
        xp.add(self.x, self.bias, out=y)
        if self.kind == "relu":
            return xp.maximum(y, 0, out=y)
        if self.kind == "tanh":
            return xp.tanh(y, out=y)
        xp.negative(y, out=y)
        xp.exp(y, out=y)
        xp.add(y, 1, out=y)
        return xp.reciprocal(y, out=y)

    def backward(self) -> tuple[Array, Array]:
        xp, dy, y, dz = self.xp, self.dy, self.y, self.out
        if self.kind == "relu":
            xp.greater(y, 0, out=self.mask)
            xp.multiply(dy, self.mask, out=dz)
        elif self.kind == "tanh":
            xp.multiply(y, y, out=dz)
            xp.subtract(1, dz, out=dz)
            xp.multiply(dz, dy, out=dz)
        else:
            xp.subtract(1, y, out=dz)
            xp.multiply(dz, y, out=dz)
            xp.multiply(dz, dy, out=dz)
        return dz, xp.sum(dz, axis=0, out=self.sums)
