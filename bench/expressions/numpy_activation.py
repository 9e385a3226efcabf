"""Activations with a bias in array expressions: as they are written, and tuned.

Tuned means that every pass goes into memory that is there, the result's own where it can. A
backward is told y by what gives f' from it, else x and the bias.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any, NamedTuple

from ...backend import Array

LINEAR, CUBIC = sqrt(8 / pi), sqrt(8 / pi) * 0.044715
"""Of "gelu_tanh": z (1 + tanh(v / 2)) / 2 = z / (1 + exp(-v)), v = LINEAR z + CUBIC z^3."""


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
    """A new array for every expression; no powers, which NumPy is slow at."""

    def forward(self) -> Array:
        xp, z = self.xp, self.x + self.bias
        if self.kind == "relu":
            return xp.maximum(z, 0)
        if self.kind == "tanh":
            return xp.tanh(z)
        if self.kind == "silu":
            return z / (1 + xp.exp(-z))
        if self.kind == "gelu_tanh":
            return z / (1 + xp.exp(-(LINEAR * z + CUBIC * z * z * z)))
        return 1 / (1 + xp.exp(-z))

    def backward(self) -> tuple[Array, Array]:
        xp, dy, y = self.xp, self.dy, self.y
        if self.kind == "relu":
            dz = dy * (y > 0)
        elif self.kind == "silu":
            z = self.x + self.bias
            s = 1 / (1 + xp.exp(-z))
            dz = dy * s * (1 + z * (1 - s))
        elif self.kind == "gelu_tanh":
            z = self.x + self.bias
            s = 1 / (1 + xp.exp(-(LINEAR * z + CUBIC * z * z * z)))
            dz = dy * s * (1 + z * (1 - s) * (LINEAR + 3 * CUBIC * z * z))
        else:
            dz = dy * (1 - y * y) if self.kind == "tanh" else dy * y * (1 - y)
        return dz, dz.sum(axis=0)


class Tuned(Expressions):
    """Every pass into arrays that were made before."""

    def __init__(self, arrays: Arrays, kind: str, xp: Any) -> None:
        super().__init__(arrays, kind, xp)
        self.out, self.sums = xp.empty_like(self.x), xp.empty_like(self.bias)
        self.mask = xp.empty(self.x.shape, bool)
        if kind in ("silu", "gelu_tanh"):
            self.s, self.v = xp.empty_like(self.x), xp.empty_like(self.x)

    def forward(self) -> Array:
        xp, y = self.xp, self.out
        xp.add(self.x, self.bias, out=y)
        if self.kind == "relu":
            return xp.maximum(y, 0, out=y)
        if self.kind == "tanh":
            return xp.tanh(y, out=y)
        if self.kind == "sigmoid":
            return self._sigmoid(y, y)
        return xp.multiply(y, self._gate(y), out=y)

    def _sigmoid(self, v: Array, out: Array) -> Array:
        xp = self.xp
        xp.negative(v, out=out)
        xp.exp(out, out=out)
        xp.add(out, 1, out=out)
        return xp.reciprocal(out, out=out)

    def _gate(self, z: Array) -> Array:
        """What z is multiplied by: sigmoid(v); of "gelu_tanh" `self.v` holds v' then."""
        xp, s, v = self.xp, self.s, self.v
        if self.kind == "silu":
            return self._sigmoid(z, s)
        xp.multiply(z, z, out=v)
        xp.multiply(v, CUBIC, out=v)
        xp.add(v, LINEAR, out=s)
        xp.multiply(s, z, out=s)
        xp.multiply(v, 3, out=v)
        xp.add(v, LINEAR, out=v)
        return self._sigmoid(s, s)

    def backward(self) -> tuple[Array, Array]:
        xp, dy, y, dz = self.xp, self.dy, self.y, self.out
        if self.kind == "relu":
            xp.greater(y, 0, out=self.mask)
            xp.multiply(dy, self.mask, out=dz)
        elif self.kind == "tanh":
            xp.multiply(y, y, out=dz)
            xp.subtract(1, dz, out=dz)
            xp.multiply(dz, dy, out=dz)
        elif self.kind != "sigmoid":
            xp.add(self.x, self.bias, out=dz)
            s = self._gate(dz)
            if self.kind == "gelu_tanh":
                xp.multiply(dz, self.v, out=dz)
            xp.subtract(1, s, out=self.v)
            xp.multiply(dz, self.v, out=dz)
            xp.add(dz, 1, out=dz)
            xp.multiply(dz, s, out=dz)
            xp.multiply(dz, dy, out=dz)
        else:
            xp.subtract(1, y, out=dz)
            xp.multiply(dz, y, out=dz)
            xp.multiply(dz, dy, out=dz)
        return dz, xp.sum(dz, axis=0, out=self.sums)
